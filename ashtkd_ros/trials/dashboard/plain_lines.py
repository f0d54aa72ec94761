# SPDX-License-Identifier: Apache-2.0
"""The dashboard without a terminal: a line a second at most, and one for whatever happens."""

from __future__ import annotations

import math
import time

from ashtkd_ros.trials.dashboard.alerts import alerts
from ashtkd_ros.trials.dashboard.panels import clock_text
from ashtkd_ros.trials.dashboard.state import DashboardState
from ashtkd_ros.trials.dashboard.tame_text import age, number


class PlainLines:
    """Tells of each thing once."""

    def __init__(self, state: DashboardState):
        self._state = state
        self._last, self._events = '', 0
        self._marks: dict[int, str] = {}
        self._alerts: set[str] = set()

    def new(self) -> list[str]:
        """Lines for what has changed since the last call."""
        lines = [*self._new_events(), *self._new_marks(), *self._new_alerts()]
        now = time.strftime('%H:%M:%S')
        if (present := self.present()) != self._last:
            self._last = present
            lines.append(f'{now} {present}')
        return lines

    def present(self) -> str:
        """All that matters right now in one line."""
        state = self._state
        if not state.node:
            return 'waiting for a vpr_node'
        node = state.node_status.value if state.node_status else None
        parts = [f'{state.node} {node.values.get("state", "") if node else "?"}'.rstrip()]
        parts += self._place()
        if node is not None:
            if math.isfinite(lost := node.number('lost')):
                parts.append(f'lost {number(lost, 3)}')
            rate, slow = node.number('places published Hz'), node.number('latency p95 ms')
            parts += [number(rate, 1, 'Hz'), f'p95 {number(slow, 0, "ms")}']
        if state.recorder is not None and not state.is_stale(state.recorder):
            recorder = state.recorder.value
            parts.append(f'{number(recorder.number("messages"))} messages recorded')
        return ', '.join(parts)

    def _place(self) -> list[str]:
        state = self._state
        if state.place is None:
            return ['no answer yet']
        parts = ['unknown place']
        if state.place.value:
            best = state.place.value[0]
            name = f' {state.name}' if state.name else ''
            parts = [f'place {best.place}{name}', f'confidence {number(best.confidence, 3)}']
        if state.is_stale(state.place):
            parts.append(f'{age(state.age(state.place))} OLD')
        elif state.place.value and state.pose is not None and not state.is_stale(state.pose):
            pose = state.pose.value
            parts.append(f'at {number(pose.x, 1)} {number(pose.y, 1)} m')
        return parts

    def _new_events(self) -> list[str]:
        fresh = self._state.events_heard - self._events
        self._events = self._state.events_heard
        entries = list(self._state.events)[-fresh:] if fresh else []
        return [f'{clock_text(e.stamp_ns)} event {e.kind}: {e.text}' for e in entries]

    def _new_marks(self) -> list[str]:
        marks = self._state.marks
        words = {mark.number: marks.word(mark) for mark in marks.kept}
        told, self._marks = self._marks, words
        return [
            f'{clock_text(m.clock_ns)} mark {m.kind} {m.text}: {words[m.number]}'
            for m in marks.kept
            if told.get(m.number) != words[m.number]
        ]

    def _new_alerts(self) -> list[str]:
        found = {alert.what: alert.text for alert in alerts(self._state)}
        told, self._alerts = self._alerts, set(found)
        now = time.strftime('%H:%M:%S')
        lines = [f'{now} ALERT {text}' for what, text in found.items() if what not in told]
        return lines + [f'{now} over: {what}' for what in sorted(told - set(found))]

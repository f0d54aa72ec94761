# SPDX-License-Identifier: Apache-2.0
"""What happened in a trial in order: what was told live, and what only the recording tells."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ashtkd_ros.text import one_line
from ashtkd_ros.trials.stretches import UNRECORDED, Stretch
from ashtkd_ros.trials.trial_clock import TrialClock
from ashtkd_ros.trials.trial_log import LogEntry
from ashtkd_ros.trials.vocabulary import (
    DISK_FULL,
    GOOD_NEWS,
    PROCESS_DIED,
    RECORDER_LOST,
)

_OF_THE_RECORDER = (PROCESS_DIED, RECORDER_LOST, DISK_FULL)
_SAME_S = 6.0  # so near to a live event, the recording tells of the same


@dataclass(frozen=True)
class Event:
    """`seconds`: since the trial began; `live`: told while it ran, not found in the recording."""

    seconds: float
    kind: str
    text: str
    live: bool = True
    values: dict[str, object] = field(default_factory=dict)

    @property
    def minute(self) -> float:
        """Since the trial began."""
        return self.seconds / 60.0

    @property
    def is_fault(self) -> bool:
        """Whether something went wrong."""
        return self.kind not in GOOD_NEWS


def timeline(
    clock: TrialClock,
    live: Sequence[LogEntry],
    found: Sequence[LogEntry],
    silences: Iterable[Stretch],
) -> list[Event]:
    """All events in order.

    `live`: told while the trial ran, some perhaps twice; `found`: in its recording. Of what was
    told live, the recording is not heard again.
    """
    events, seen = [], set()
    for entry in live:
        key = entry.kind, entry.monotonic_ns
        if key not in seen and clock.holds(entry):
            seen.add(key)
            events.append(_event(clock, entry, True))
    known = list(events)
    for entry in found:
        event = _event(clock, entry, False)
        if not any(_same(event, other) for other in known):
            events.append(event)
    for pause in silences:
        around = pause.start - _SAME_S, pause.end + _SAME_S
        told = any(
            e.kind in _OF_THE_RECORDER and around[0] <= e.seconds <= around[1] for e in known
        )
        if pause.what == UNRECORDED and not told:
            text = f'nothing was recorded for {pause.end - pause.start:.1f} s'
            events.append(Event(pause.start, RECORDER_LOST, text, False))
    return sorted(events, key=lambda event: event.seconds)


def _event(clock: TrialClock, entry: LogEntry, live: bool) -> Event:
    text = one_line(entry.text) or one_line(entry.kind)
    return Event(clock.of_entry(entry), one_line(entry.kind), text, live, dict(entry.values))


def _same(event: Event, other: Event) -> bool:
    return event.kind == other.kind and abs(event.seconds - other.seconds) <= _SAME_S

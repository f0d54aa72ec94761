# SPDX-License-Identifier: Apache-2.0
"""What is wrong right now, worst first."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from ashtkd_ros.text import counted
from ashtkd_ros.trials import vocabulary as words
from ashtkd_ros.trials.dashboard.state import ERROR, OK, STALE_S, DashboardState, Heard, Status
from ashtkd_ros.trials.dashboard.tame_text import age


@dataclass(frozen=True)
class Alert:
    """`what`: the part it is about, the same as long as it lasts; `bad`: not only a warning."""

    what: str
    text: str
    bad: bool = True


def alerts(state: DashboardState) -> list[Alert]:
    """The worst first: what is not recorded is lost for ever."""
    if state.has_ended:
        ended = Alert('trial', 'the trial has ended: nothing is recorded', bad=False)
        found = [*_marks(state), *_node(state), ended]
    else:
        found = [*_recorder(state), *_marks(state), *_node(state), *_watch(state)]
    return sorted(found, key=lambda alert: not alert.bad)


def _recorder(state: DashboardState) -> Iterator[Alert]:
    heard = state.recorder
    if heard is None:
        yield Alert('recorder', 'no recorder is heard: nothing is recorded', bad=False)
        return
    if state.is_stale(heard):
        text = f'RECORDER not heard for {age(state.age(heard))}'
        yield Alert('recorder', f'{text}: nothing may be recorded')
        return
    does = heard.value.values.get('state', words.RECORDING)
    if does != words.RECORDING:
        yield Alert('recorder', f'RECORDER: {does}{_reason(heard, does)}')
    elif heard.value.level != OK:
        yield Alert('recorder', f'recorder: {heard.value.text}', heard.value.level >= ERROR)
    if (lost := heard.value.number('lost')) > 0 and math.isfinite(lost):
        text = f'the recorder has lost {counted(int(lost), "message")}'
        yield Alert('lost messages', text, bad=False)
    if missing := heard.value.values.get('not heard yet'):
        yield Alert('topics', f'the recorder has not heard {missing} yet', bad=False)


def _reason(heard: Heard[Status], known: str) -> str:
    text = heard.value.text
    return f' ({text})' if text and text != known else ''


def _marks(state: DashboardState) -> Iterator[Alert]:
    if lost := state.marks.lost:
        last = f'{lost[-1].kind} {lost[-1].text}'.strip()
        text = f'{counted(len(lost), "mark")} NOT SAVED: nobody acknowledges "{last}"'
        yield Alert('marks', text)


def _node(state: DashboardState) -> Iterator[Alert]:
    if not state.node:
        return  # the screen says that it waits
    heard = state.node_status
    silent = min(state.age(heard), state.age(state.place))
    if math.isinf(silent):
        yield Alert('node', f'{state.node} is not heard yet', bad=False)
    elif silent > STALE_S:
        yield Alert('node', f'NODE {state.node} not heard for {age(silent)}')
    elif heard is not None and not state.is_stale(heard) and heard.value.level != OK:
        yield Alert('node', f'node: {heard.value.text}', heard.value.level >= ERROR)


def _watch(state: DashboardState) -> Iterator[Alert]:
    heard = state.watch
    if heard is None:
        text = 'no trial_watch is heard: marks are not saved'
        yield Alert('watch', text, bad=False)
    elif state.is_stale(heard):
        text = f'WATCH not heard for {age(state.age(heard))}: marks are not saved'
        yield Alert('watch', text)
    elif heard.value.level != OK:
        yield Alert('watch', f'watch: {heard.value.text}', heard.value.level >= ERROR)

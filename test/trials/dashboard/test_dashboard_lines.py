# SPDX-License-Identifier: Apache-2.0
"""The dashboard without a terminal: each thing is told once, in plain lines."""

from __future__ import annotations

import pytest

pytest.importorskip('rich', reason='rich is not installed: there is no dashboard')

from dashboard_helpers import HOSTILE, NODE, Clock, driving, hear_status

from ashtkd_ros.trials.dashboard.plain_lines import PlainLines
from ashtkd_ros.trials.dashboard.state import DashboardState
from ashtkd_ros.trials.trial_log import LogEntry


@pytest.fixture
def clock() -> Clock:
    return Clock()


def without_times(lines: list[str]) -> list[str]:
    assert all(line[2] == line[5] == ':' and line[8] == ' ' for line in lines)
    return [line[9:] for line in lines]


def test_a_line_says_all_that_matters(clock: Clock) -> None:
    started, present = without_times(PlainLines(driving(clock)).new())
    assert started == 'event started: the trial day has begun'
    assert present == (
        f'{NODE} active, place 12 Church door, confidence 0.870, at 40.0 0.0 m, 9.5 Hz, '
        'p95 31 ms, 12034 messages recorded'
    )


def test_what_has_not_changed_is_not_told_again(clock: Clock) -> None:
    state = driving(clock)
    lines = PlainLines(state)
    assert len(lines.new()) == 2
    assert lines.new() == []
    state.hear_place([])
    (changed,) = without_times(lines.new())
    assert 'unknown place' in changed


def test_events_marks_and_alerts_are_lines_of_their_own(clock: Clock) -> None:
    state = driving(clock)
    lines = PlainLines(state)
    lines.new()
    state.hear_event(LogEntry('camera stopped', 'no image for 3 s').to_json())
    state.marks.send('note', 'rain')
    assert without_times(lines.new()) == [
        'event camera stopped: no image for 3 s',
        'mark note rain: not saved yet',
    ]
    clock.seconds += 2.5
    state.hear_place([('12', 0.87)])
    told = without_times(lines.new())
    assert told[0] == 'mark note rain: NOT SAVED'
    assert told[1] == 'ALERT 1 mark NOT SAVED: nobody acknowledges "note rain"'
    state.hear_marked(LogEntry('note', 'rain').to_json())
    assert without_times(lines.new())[:2] == ['mark note rain: saved', 'over: marks']


def test_an_old_answer_is_called_old(clock: Clock) -> None:
    state = driving(clock)
    clock.seconds += 10
    present = PlainLines(state).present()
    assert 'place 12 Church door, confidence 0.870, 10 s OLD' in present
    assert ' at ' not in present and 'recorded' not in present


def test_waiting_is_one_line(clock: Clock) -> None:
    lines = PlainLines(DashboardState(clock))
    assert without_times(lines.new())[-1] == 'waiting for a vpr_node'
    clock.seconds += 60
    assert lines.new() == []


@pytest.mark.parametrize('text', HOSTILE, ids=range(len(HOSTILE)))
def test_every_line_is_one_line(text: str, clock: Clock) -> None:
    state = driving(clock)
    state.hear_name(text)
    state.hear_event(LogEntry('camera fault', text).to_json())
    hear_status(state, 'trial: watch', level=2, text=text)
    assert all(line.isprintable() and len(line) < 1000 for line in PlainLines(state).new())

# SPDX-License-Identifier: Apache-2.0
"""What the dashboard knows: ages, texts and numbers of any origin, marks, the time of a trial."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest

pytest.importorskip('rich', reason='rich is not installed: there is no dashboard')

from dashboard_helpers import HOSTILE, NODE, Clock, driving, hear_status
from rich.cells import cell_len

from ashtkd_ros.trials.dashboard.alerts import alerts
from ashtkd_ros.trials.dashboard.marks import LOST, SAVED, WAITING
from ashtkd_ros.trials.dashboard.state import DashboardState
from ashtkd_ros.trials.dashboard.tame_text import age, tame
from ashtkd_ros.trials.trial_log import LogEntry


@pytest.fixture
def clock() -> Clock:
    return Clock()


def told(state: DashboardState) -> dict[str, tuple[str, bool]]:
    return {alert.what: (alert.text, alert.bad) for alert in alerts(state)}


def test_all_is_well(clock: Clock) -> None:
    assert alerts(driving(clock)) == []


def test_everything_grows_old(clock: Clock) -> None:
    state = driving(clock)
    clock.seconds += 12
    assert all(map(state.is_stale, (state.place, state.pose, state.recorder, state.watch)))
    texts = told(state)
    assert texts['node'] == (f'NODE {NODE} not heard for 12 s', True)
    assert 'RECORDER not heard for 12 s' in texts['recorder'][0]
    assert 'WATCH not heard for 12 s' in texts['watch'][0]
    assert state.present_place() == 'place 12, 12 s old'


def test_another_recorder_does_not_hide_that_the_one_of_the_trial_is_silent(clock: Clock) -> None:
    state = driving(clock)
    for _ in range(5):
        clock.seconds += 1
        hear_status(state, 'trial: watch', bag='/trials/day')
        hear_status(state, 'trial: recorder', {'state': 'recording'}, bag='/home/me/bag')
    assert 'RECORDER not heard for 5.0 s' in told(state)['recorder'][0]
    hear_status(state, 'trial: recorder', {'state': 'recording'}, bag='/trials/day/bag_2')
    assert 'recorder' not in told(state)
    clock.seconds += 5  # without a watch nobody knows which one is of the trial
    hear_status(state, 'trial: recorder', {'state': 'recording'}, bag='/home/me/bag')
    assert 'recorder' not in told(state)


def test_another_node_is_another_story(clock: Clock) -> None:
    state = driving(clock)
    state.follow('/rear/vpr_node')
    assert (state.place, state.pose, state.places, state.name) == (None, None, None, '')
    hear_status(state, f'{NODE}: place recognition', {'state': 'active'})
    assert state.node_status is None
    assert state.recorder is not None


def test_a_name_belongs_to_its_place(clock: Clock) -> None:
    state = driving(clock)
    state.hear_place([('12', 0.9)])
    assert state.name == 'Church door'
    state.hear_place([('13', 0.9)])
    assert state.name == ''
    state.hear_name('Gate')
    state.hear_place([])
    assert (state.name, state.present_place()) == ('', 'unknown place')


def test_what_is_no_number_is_none(clock: Clock) -> None:
    state = driving(clock)
    for value in (math.nan, math.inf, -1.0, 7.0):
        state.hear_place([('1', value)])
        assert math.isnan(state.place.value[0].confidence)
    before = state.pose
    for pose in ((math.nan, 0, 0), (0, math.nan, 0), (0, 1e300, 0), (0, 0, math.nan)):
        state.hear_pose(*pose)
    assert state.pose is before
    state.hear_places(np.array([[0.0, 1.0], [math.nan, 0.0], [1e300, 0.0], [0.0, -math.inf]]))
    assert state.places.tolist() == [[0.0, 1.0]]
    hear_status(state, 'trial: recorder', {'messages': 'many', 'disk free MB': 'inf'})
    assert math.isnan(state.recorder.value.number('messages'))
    assert math.isnan(state.minutes_left)


@pytest.mark.parametrize('text', HOSTILE, ids=range(len(HOSTILE)))
def test_tame_texts_are_short_printable_and_stay_as_they_are(text: str) -> None:
    tamed = tame(text)
    assert len(tamed) <= 300 and cell_len(tamed) <= 600
    assert tamed.isprintable() and tamed == tame(tamed)
    assert not set(tamed) & {'\x1b', '\u202e', '\u200b', '\ufe0f', '\ud800'}
    assert '\u0301' * 3 not in tamed


def test_ages() -> None:
    spoken = [age(s) for s in (-1, 0.24, 12.4, 99, 240, 7200, 1e9, math.inf, math.nan)]
    expected = ['0.0 s', '0.2 s', '12 s', '99 s', '4 min', '2 h', 'days', 'never', 'never']
    assert spoken == expected


def test_a_mark_is_saved_when_the_watch_says_so(clock: Clock) -> None:
    state = driving(clock)
    first, second = state.marks.send('wrong', 'place 12'), state.marks.send('note', 'rain')
    assert state.marks.word(first) == WAITING and not state.marks.lost
    state.hear_marked(LogEntry('note', 'rain', values={'place': '12'}).to_json())
    assert state.marks.word(second) == SAVED
    clock.seconds += 2.1
    assert state.marks.word(first) == LOST
    assert told(state)['marks'] == (
        '1 mark NOT SAVED: nobody acknowledges "wrong place 12"',
        True,
    )
    state.hear_marked(LogEntry('wrong', 'place 12').to_json())  # better late than never
    assert state.marks.word(first) == SAVED and 'marks' not in told(state)


def test_marks_of_others_are_shown_too(clock: Clock) -> None:
    state = driving(clock)
    state.marks.send('note', 'mine')
    state.hear_marked(LogEntry('note', 'theirs').to_json())
    assert [(m.text, m.saved) for m in state.marks.kept] == [('mine', False), ('theirs', True)]


@pytest.mark.parametrize(
    'text', ['', '{}', '[1]', 'null', 'x' * 70_000, '{"kind": NaN}', '\ud800']
)
def test_a_damaged_entry_is_passed_over(text: str, clock: Clock) -> None:
    state = driving(clock)
    before = len(state.events)
    state.hear_event(text)
    state.hear_marked(text)
    assert (len(state.events), len(state.marks.kept)) == (before, 0)


def test_an_event_is_told_once_although_it_is_latched(clock: Clock) -> None:
    state = driving(clock)
    entry = LogEntry('camera stopped', 'no image for 3.0 s').to_json()
    state.hear_event(entry)
    state.hear_event(entry)
    assert [e.kind for e in state.events] == ['started', 'camera stopped']


@pytest.mark.parametrize(
    ('steady_s', 'system_s', 'elapsed', 'sure'),
    [(90, 90, 90, True), (90, 3600, 3600, False), (-5000, 90, 90, False)],
    ids=['same machine', 'clock jumped', 'other machine'],
)
def test_the_time_of_the_trial(steady_s, system_s, elapsed, sure, clock: Clock) -> None:
    state = DashboardState(clock)
    assert math.isnan(state.elapsed_s)
    began = time.time_ns() - system_s * 10**9, time.monotonic_ns() - steady_s * 10**9
    state.hear_event(LogEntry('started', '', *began).to_json())
    clock.seconds += 10
    assert state.elapsed_s == pytest.approx(elapsed + 10, abs=1.0)
    assert state.start_is_sure is sure


def test_after_the_end_nothing_is_missed(clock: Clock) -> None:
    state = driving(clock)
    clock.seconds += 60
    state.hear_event(LogEntry('ended', 'the trial has ended').to_json())
    clock.seconds += 600
    assert state.elapsed_s == pytest.approx(60, abs=1.0)
    assert told(state)['trial'] == ('the trial has ended: nothing is recorded', False)
    assert not {'recorder', 'watch'} & set(told(state))
    state.hear_event(LogEntry('started', 'another one').to_json())
    assert state.elapsed_s == pytest.approx(0, abs=1.0) and 'recorder' in told(state)


def test_how_long_the_disk_will_do(clock: Clock) -> None:
    state = DashboardState(clock)
    for second in range(31):
        clock.seconds += 1
        values = {'bytes': str(second * 2_000_000), 'disk free MB': '1200'}
        hear_status(state, 'trial: recorder', values)
    assert state.minutes_left == pytest.approx(10, rel=0.01)
    hear_status(state, 'trial: recorder', {'bytes': '0', 'disk free MB': '1200'})  # another bag
    assert math.isnan(state.minutes_left)


def test_the_worst_comes_first(clock: Clock) -> None:
    state = driving(clock)
    warned = {'state': 'recording', 'not heard yet': '/fix'}
    hear_status(state, 'trial: recorder', warned)
    hear_status(state, f'{NODE}: place recognition', level=2, text='no map')
    assert [(a.what, a.bad) for a in alerts(state)] == [('node', True), ('topics', False)]
    hear_status(state, 'trial: recorder', {'state': 'disk full'}, level=2, text='make room on it')
    assert [a.text for a in alerts(state)] == [
        'RECORDER: disk full (make room on it)',
        'node: no map',
    ]


def test_nothing_is_recorded_is_said(clock: Clock) -> None:
    assert [a.text for a in alerts(DashboardState(clock))] == [
        'no recorder is heard: nothing is recorded',
        'no trial_watch is heard: marks are not saved',
    ]

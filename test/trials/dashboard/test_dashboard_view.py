# SPDX-License-Identifier: Apache-2.0
"""The screen at every size: what is on it, that nothing breaks it, that what is old looks old."""

from __future__ import annotations

import math
import re

import pytest

pytest.importorskip('rich', reason='rich is not installed: there is no dashboard')

from dashboard_helpers import (
    HOSTILE,
    NODE,
    NODE_VALUES,
    RECORDER_VALUES,
    Clock,
    drawn,
    driving,
    hear_status,
    screen_text,
)

from ashtkd_ros.trials.dashboard.keys import Keys
from ashtkd_ros.trials.dashboard.state import DashboardState
from ashtkd_ros.trials.trial_log import LogEntry

SIZES = ((80, 24), (200, 50))
ESSENTIAL = (
    NODE,
    'active',
    'trial 0:00:0',
    'KNOWN  12  Church door',
    '0.870 (least 0.500)',
    'each image by itself',
    'x 40.0 y 0.0 m, 90°, 0.0 s ago',
    'images 10.0 Hz, answers 9.5 Hz',
    'p50 23 ms, p95 31 ms, dropped 7',
    'image 0.1 s ago, faults 3, bad 1',
    'OK  recording',
    '12034 messages, lost 0',
    '12.3 GB free',
    'map, 80 x 60 m',
    'started  the trial day has begun',
    'no alert',
    's start  w wrong  l landmark  n note  ? help  q quit',
)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.mark.parametrize('size', SIZES)
def test_all_that_matters_is_there_and_nothing_of_it_is_cut(size, clock: Clock) -> None:
    text = screen_text(driving(clock), *size)
    assert [words for words in ESSENTIAL if words not in text] == []
    assert '…' not in text


def test_a_large_screen_tells_more(clock: Clock) -> None:
    text = screen_text(driving(clock), 200, 50)
    assert '/trials/day/bag' in text and 'bag_0.mcap, 14 topics' in text
    small, large = (
        sum(0x2800 < ord(c) < 0x2900 for c in screen_text(driving(clock), *size)) for size in SIZES
    )
    assert large > 2 * small


def test_a_narrow_screen_has_what_matters(clock: Clock) -> None:
    text = screen_text(driving(clock), 40, 12)
    wanted = (NODE, 'KNOWN  12', '0.870', 'each image', 'OK  recording', 'marks: s w l n')
    assert [words for words in wanted if words not in text] == []


@pytest.mark.parametrize('width', [1, 2, 5, 20, 59, 60, 75, 76, 119, 120, 400])
def test_every_size_is_filled_and_never_exceeded(width: int, clock: Clock) -> None:
    state, keys = driving(clock), Keys(clock)
    for height in (1, 2, 3, 5, 12, 19, 20, 23, 24, 35, 36, 43, 44, 100):
        for keys.help, keys.typing in ((False, ''), (True, ''), (False, 'note')):
            assert drawn(state, width, height, keys)
            assert drawn(DashboardState(clock), width, height, keys)


@pytest.mark.parametrize('size', [*SIZES, (40, 12)])
@pytest.mark.parametrize('text', HOSTILE, ids=range(len(HOSTILE)))
def test_no_text_breaks_the_screen(text: str, size, clock: Clock) -> None:
    """`drawn` looks at the width of each line, and for control characters."""
    state, keys = driving(clock), Keys(clock)
    state.hear_place([(text, 0.5)] * 4)
    state.hear_name(text)
    hear_status(
        state, f'{NODE}: place recognition', dict.fromkeys(NODE_VALUES, text), level=2, text=text
    )
    values = dict.fromkeys([*RECORDER_VALUES, text], text)
    hear_status(state, 'trial: recorder', values, level=200, text=text, bag=text)
    hear_status(state, 'trial: watch', {text: text}, level=1, text=text)
    state.hear_event(LogEntry(text, text).to_json())
    state.hear_event(LogEntry('started', text, 2**62, -(2**62)).to_json())
    state.hear_marked(LogEntry('note', text, -1).to_json())
    list(keys.press(f'n{text}'))
    lines = drawn(state, *size, keys=keys)
    assert lines[-1].startswith('note: ') or keys.typing == ''
    assert not any('\x1b' in line for line in lines)


@pytest.mark.parametrize('value', ['nan', 'inf', '-inf', '1e308', '', 'rubbish'])
def test_no_number_breaks_the_screen(value: str, clock: Clock) -> None:
    state = driving(clock)
    numbers = dict.fromkeys([*NODE_VALUES, 'lost', 'jumps', 'unknown places'], value)
    texts = {'state': 'active', 'jumps': '0', 'last refusal': ''}
    hear_status(state, f'{NODE}: place recognition', {**numbers, **texts})
    texts = {'state': 'recording', 'file': 'bag', 'topics': '14'}
    hear_status(state, 'trial: recorder', {**dict.fromkeys(RECORDER_VALUES, value), **texts})
    state.hear_place([('12', math.nan)])
    state.hear_pose(9e6, -9e6, 1e9)
    for size in SIZES:
        text = screen_text(state, *size)
        assert not re.search(r'\bnan\b|\binf\b|rubbish', text)
        assert '…' not in text or value == '1e308'


def test_what_is_old_is_never_shown_as_if_it_were_now(clock: Clock) -> None:
    state = driving(clock)
    clock.seconds += 65
    text = screen_text(state)
    assert 'KNOWN' not in text and '65 s OLD' in text
    assert '65 s ago' in text  # the pose
    assert text.count('SILENT for 65 s') == 2  # recorder and watch
    assert 'image 65 s ago' in text
    assert f'NODE {NODE} not heard for 65 s' in text
    arrows = set('→↗↑↖←↙↓↘')
    assert '?' in ''.join(line[54:] for line in drawn(state)[1:17])
    assert arrows & set(screen_text(driving(clock))) and not arrows & set(text)


def test_an_unknown_place_says_why(clock: Clock) -> None:
    state = driving(clock)
    state.hear_place([])
    why = 'confidence 0.31 is below min_confidence 0.50'
    values = {**NODE_VALUES, 'last refusal': why, 'last confidence': '0.310'}
    hear_status(state, f'{NODE}: place recognition', values)
    text = screen_text(state, 200, 50)
    assert ' UNKNOWN ' in text and '12  Church' not in text
    assert why in text and '0.310 (least' in text
    assert not set('→↗↑↖←↙↓↘') & set(text)  # the last pose is not where the robot is


@pytest.mark.parametrize(('lost', 'word'), [('0.020', 'follows'), ('0.830', 'LOST')])
def test_the_state_of_a_sequence(lost: str, word: str, clock: Clock) -> None:
    state = driving(clock)
    sequence = {'last image alone': '9, confidence 0.610', 'lost': lost, 'jumps': '3'}
    hear_status(state, f'{NODE}: place recognition', {**NODE_VALUES, **sequence})
    text = screen_text(state)
    assert f'sequence   {word}, lost {lost}, jumps 3' in text
    assert 'one image  9, confidence 0.610' in text


def test_a_mark_that_nobody_saves_is_loud(clock: Clock) -> None:
    state = driving(clock)
    state.marks.send('landmark', 'fountain')
    assert 'not saved yet  mark landmark fountain' in screen_text(state)
    clock.seconds += 2.5
    for size in ((80, 24), (200, 50), (40, 12)):
        text = screen_text(state, *size)
        assert '! 1 mark NOT SAVED' in text and 'NOT SAVED  mark' in text
    state.hear_marked(LogEntry('landmark', 'fountain').to_json())
    assert 'saved  mark landmark fountain' in screen_text(state)


def test_alerts_that_have_no_room_are_counted(clock: Clock) -> None:
    state = driving(clock)
    clock.seconds += 12
    *_, first, last, _ = drawn(state)
    assert first.startswith('! RECORDER not heard') and last.startswith('! (1 more) NODE')
    assert drawn(state, 40, 12)[-3].startswith('! (2 more) RECORDER')


def test_the_end_of_a_long_line_can_be_seen_while_it_is_typed(clock: Clock) -> None:
    keys = Keys(clock)
    list(keys.press('n' + 'long ' * 30 + '東京 end'))
    for size in ((80, 24), (40, 12)):
        prompt = drawn(driving(clock), *size, keys=keys)[-1]
        assert prompt.startswith('note: ') and '東京 end' in prompt


def test_help_tells_every_key_and_leaves_the_place(clock: Clock) -> None:
    state, keys = driving(clock), Keys(clock)
    list(keys.press('?'))
    for size in SIZES:
        text = screen_text(state, *size, keys=keys)
        assert 'take back what is being typed' in text and 'q    quit' in text
        assert 'Church door' in text


def test_before_anything_is_heard(clock: Clock) -> None:
    text = screen_text(DashboardState(clock))
    assert 'waiting for a vpr_node' in text and 'no trial' in text
    assert 'NO ANSWER YET' in text and 'no map heard yet' in text
    assert 'no recorder is heard: nothing is recorded' in text

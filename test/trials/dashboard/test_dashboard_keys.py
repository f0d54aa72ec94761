# SPDX-License-Identifier: Apache-2.0
"""Keys become marks; what is typed can be taken back; odd input does nothing."""

from __future__ import annotations

import pytest

pytest.importorskip('rich', reason='rich is not installed: there is no dashboard')

from dashboard_helpers import HOSTILE, Clock

from ashtkd_ros.trials.dashboard.keys import Keys


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def keys(clock: Clock) -> Keys:
    return Keys(clock)


@pytest.mark.parametrize(
    ('typed', 'marks'),
    [
        ('s', [('start', '')]),
        ('w', [('wrong', '')]),
        ('lfountain\r', [('landmark', 'fountain')]),
        ('n swn q?\n', [('note', 'swn q?')]),
        ('nab\x7fc\x08d\r', [('note', 'ad')]),
        ('nrubbish\x15rain\r', [('note', 'rain')]),
        ('nHöhe 東京\r', [('note', 'Höhe 東京')]),
        ('nrain\x1b', []),
        ('n   \r', []),
        ('n\r', []),
        ('x\x1b\r\x00\x7f', []),
        ('\x1b[A\x1b[1;5C\x1bOP', []),
        ('nup\x1b[A\x1b[3~ down\r', [('note', 'up down')]),
        ('sw', [('start', ''), ('wrong', '')]),
    ],
)
def test_what_keys_do(typed: str, marks: list, keys: Keys) -> None:
    assert list(keys.press(typed)) == marks
    assert keys.typing == ''


def test_one_key_at_a_time_does_the_same(keys: Keys) -> None:
    done = [action for key in 'lgate\rq' for action in keys.press(key)]
    assert done == [('landmark', 'gate'), ('quit', '')]


def test_a_key_that_is_held_down_is_one_mark(keys: Keys, clock: Clock) -> None:
    marks = 0
    for _ in range(60):
        marks += len(list(keys.press('w')))
        clock.seconds += 0.03
    assert marks == 1
    clock.seconds += 1.1
    assert list(keys.press('w')) == [('wrong', '')]


def test_help_ends_with_any_key(keys: Keys) -> None:
    shown = []
    for key in '???x?n':
        list(keys.press(key))
        shown.append(keys.help)
    assert shown == [True, False] * 3
    assert keys.typing == 'note'


@pytest.mark.parametrize('text', HOSTILE, ids=range(len(HOSTILE)))
def test_texts_are_tame_and_short(text: str, keys: Keys) -> None:
    for kind, said in keys.press(f'n{text}\r'):
        assert kind in ('note', 'quit', 'wrong', 'start', 'landmark')
        assert len(said) <= 300 and said.isprintable()

# SPDX-License-Identifier: Apache-2.0
"""Keys from a terminal, and frames on it: only what has changed is written."""

from __future__ import annotations

import os
import pty
import re
import termios
import time
from collections.abc import Iterator

import pytest

pytest.importorskip('rich', reason='rich is not installed: there is no dashboard')

from rich.console import Console, Group
from rich.text import Text

from ashtkd_ros.trials.dashboard.terminal import Keyboard, Screen, single_keys

SIZE = (20, 4)


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """The operator's end of a terminal, and the program's."""
    ends = pty.openpty()
    yield ends
    for end in ends:
        os.close(end)


@pytest.fixture
def written(terminal) -> Iterator:
    """A screen on the terminal, and what it has written since the last call."""
    operator, program = terminal
    with open(os.dup(program), 'w', encoding='utf-8') as file:
        screen = Screen(Console(file=file, force_terminal=True))

        def read() -> str:
            return Keyboard(operator).read(0.2)

        yield screen, read


def frame(*lines: str) -> Group:
    return Group(*map(Text, lines))


def test_only_what_has_changed_is_written(written) -> None:
    screen, read = written
    screen.draw(frame('place 1', 'same'), SIZE)
    first = read()
    assert 'place 1' in first and 'same' in first and '\x1b[2J' in first
    screen.draw(frame('place 1', 'same'), SIZE)
    assert read() == ''
    screen.draw(frame('place 2', 'same'), SIZE)
    changed = read()
    assert 'place 2' in changed and 'same' not in changed and '\x1b[2J' not in changed


def test_another_size_is_drawn_anew(written) -> None:
    screen, read = written
    screen.draw(frame('one'), SIZE)
    read()
    screen.draw(frame('one'), (30, 5))
    again = read()
    assert 'one' in again and '\x1b[2J' in again


def test_a_frame_never_goes_beyond_its_size(written) -> None:
    screen, read = written
    screen.draw(frame(*('x' * 50 for _ in range(9))), SIZE)
    text = re.sub(r'\x1b\[[0-9;?]*[A-Za-z]', '', read())
    assert '\n' not in text and len(text) == SIZE[0] * SIZE[1]


def test_a_terminal_that_takes_nothing_holds_up_nothing(written) -> None:
    screen, _ = written
    began = time.monotonic()
    for number in range(2000):
        screen.draw(frame(*(f'{number} {row}' for row in range(4))), SIZE)
    assert time.monotonic() - began < 30


def test_what_the_encoding_lacks_is_replaced(terminal) -> None:
    operator, program = terminal
    with open(os.dup(program), 'w', encoding='ascii') as file:
        screen = Screen(Console(file=file, force_terminal=True))
        assert screen.ascii_only
        screen.draw(frame('██· 東'), SIZE)
    assert '##. ?' in Keyboard(operator).read(1.0)


def test_keys_come_at_once_and_the_terminal_is_put_back(terminal) -> None:
    operator, program = terminal
    before = termios.tcgetattr(program)
    keyboard = Keyboard(program)
    with pytest.raises(RuntimeError), single_keys(program):
        os.write(operator, 'nHö\x13\x1a'.encode())  # Ctrl-S and Ctrl-Z are keys like others
        assert keyboard.read(5.0) == 'nHö\x13\x1a'
        os.write(operator, '東'.encode()[:2])
        assert keyboard.read(5.0) == ''
        os.write(operator, '東'.encode()[2:])
        assert keyboard.read(5.0) == '東'
        raise RuntimeError
    assert termios.tcgetattr(program) == before


def test_a_terminal_that_is_gone_gives_no_keys_and_does_not_spin() -> None:
    operator, program = pty.openpty()
    os.close(operator)
    keyboard = Keyboard(program)
    assert keyboard.read(1.0) == ''
    began = time.monotonic()
    assert keyboard.read(0.3) == ''
    assert time.monotonic() - began >= 0.3
    os.close(program)


def test_no_terminal_no_keys() -> None:
    assert Keyboard(None).read(0.01) == ''

# SPDX-License-Identifier: Apache-2.0
"""vpr_dashboard as a process: in a terminal, which it leaves as it was, and without one."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip('rclpy', reason='rclpy cannot be imported')
pytest.importorskip('rich', reason='rich is not installed: there is no dashboard')

from ros_helpers import Process, environment, until
from terminal_helpers import NORMAL, OWN, Terminal
from trial_fakes import FakeNode, FakeTrial

pytest_plugins = ['ros_fixtures']
pytestmark = pytest.mark.ros
MODULE = 'ashtkd_ros.ros.trial.dashboard'


class Drive:
    """A node and a trial that are alive while a test waits for something."""

    def __init__(self) -> None:
        self.front, self.trial = FakeNode(), FakeTrial()
        self.front.load_map(40)

    def until(self, condition: Callable[[], object], what: str, step=lambda: None) -> None:
        def live() -> None:
            self.trial.beat()
            self.front.beat()
            self.front.answer()
            step()

        until(condition, what, live)

    def sees(self, terminal: Terminal, *words: str) -> None:
        """Until the terminal shows all of them."""

        def shown() -> bool:
            terminal.look()
            assert terminal.process.poll() is None, terminal.raw[-2000:]
            return all(word in terminal.text for word in words)

        self.until(shown, f'{words} on\n{terminal.text}')

    def close(self) -> None:
        self.front.close()
        self.trial.close()


@pytest.fixture
def drive(ros) -> Iterator[Drive]:
    drive = Drive()
    yield drive
    drive.close()


@pytest.fixture
def start(ros, tmp_path: Path) -> Iterator[Callable[..., Terminal]]:
    """Starts the dashboard in a terminal; what a failed test leaves behind is killed."""
    terminals = []

    def started(*arguments: object, **options) -> Terminal:
        terminals.append(Terminal(tmp_path / f'{len(terminals)}', MODULE, *arguments, **options))
        return terminals[-1]

    yield started
    for terminal in terminals:
        terminal.close()


def test_an_operator_at_work(drive: Drive, start) -> None:
    terminal = start()
    drive.sees(terminal, 'KNOWN  12  Gate', '/front/vpr_node active', 'map, 39 x 78 m')
    drive.sees(terminal, 'OK  recording', '12034 messages', 'x 1.5 y 0.0 m', '→')
    assert terminal.screen == OWN and not terminal.cursor
    terminal.type('w')
    drive.sees(terminal, 'saved  mark wrong place 12')
    terminal.type('lfoun')
    drive.sees(terminal, 'landmark: foun')
    drive.trial.happen('camera stopped', 'while a text is typed')
    drive.sees(terminal, 'camera stopped  while a text is typed', 'landmark: foun')
    terminal.type('tain Höhe\r')
    drive.sees(terminal, 'saved  mark landmark fountain Höhe', 's start')
    drive.trial.acknowledges = False
    terminal.type('nrain\r')
    drive.sees(terminal, 'not saved yet  mark note rain')
    drive.sees(terminal, '! 1 mark NOT SAVED')
    drive.until(lambda: '\a' in terminal.raw, 'the bell, which follows', terminal.look)
    assert drive.trial.marks == ['wrong place 12', 'landmark fountain Höhe', 'note rain']
    terminal.type('q')
    assert terminal.wait() == 0
    assert terminal.is_as_before


def test_the_window_is_pulled_larger_and_smaller(drive: Drive, start) -> None:
    terminal = start()
    drive.sees(terminal, 'KNOWN', 'map, 39')
    terminal.resize(200, 50)
    drive.sees(terminal, 'bag_0.mcap', 'each image by itself')
    assert any(line[100:].strip() for line in terminal.text.splitlines()[1:40])
    terminal.resize(40, 12)
    drive.sees(terminal, 'KNOWN  12', 'marks: s w l n')


def end_by_signal(terminal: Terminal) -> None:
    terminal.process.send_signal(signal.SIGTERM)


@pytest.mark.parametrize(
    'end', [end_by_signal, lambda t: t.type('\x03'), lambda t: t.type('n text\x03')]
)
def test_a_signal_leaves_the_terminal_as_it_was(end, drive: Drive, start) -> None:
    terminal = start()
    drive.sees(terminal, 'KNOWN')
    assert not terminal.is_as_before
    end(terminal)
    assert terminal.wait() == 130
    assert terminal.is_as_before and 'Traceback' not in terminal.raw


def test_an_error_is_one_line_on_the_screen_of_before(drive: Drive, start) -> None:
    rear, terminal = FakeNode('/rear'), start()
    drive.until(lambda: terminal.process.poll() is not None, 'the end', rear.beat)
    rear.close()
    assert terminal.wait() == 1 and terminal.is_as_before
    last = terminal.raw.rpartition('\x1b[?1049l')[2]
    last = re.sub(r'\x1b\[[0-9;?]*[A-Za-z]', '', last)
    assert last.splitlines() == [
        'error: there are /front/vpr_node and /rear/vpr_node; name one of them by --node'
    ]


def test_a_node_that_dies_is_shown_and_found_again(drive: Drive, start) -> None:
    terminal = start('--node', '/front/vpr_node')
    drive.sees(terminal, 'KNOWN', 'map, 39')
    drive.front.close()

    def silent() -> bool:
        terminal.look()
        drive.trial.beat()
        return 'NODE /front/vpr_node not heard for' in terminal.text

    until(silent, 'the alert', lambda: None)
    assert ' OLD ' in terminal.text and 'KNOWN' not in terminal.text
    drive.front = FakeNode()
    drive.front.load_map(20)
    drive.sees(terminal, 'KNOWN', 'map, 19', 'no alert')


def test_no_colour_where_none_is_wanted(drive: Drive, start) -> None:
    terminal = start(variables={'NO_COLOR': '1'})
    drive.sees(terminal, 'KNOWN')
    codes = ';'.join(re.findall(r'\x1b\[([0-9;]*)m', terminal.raw)).split(';')
    assert not [c for c in codes if c[:1] in ('3', '4', '9') and len(c) > 1]


@pytest.mark.parametrize(
    ('arguments', 'term'), [((), 'dumb'), (('--plain',), 'xterm')], ids=['dumb', 'plain']
)
def test_plain_lines_and_keys_by_line(arguments, term: str, drive: Drive, start) -> None:
    terminal = start(*arguments, variables={'TERM': term})

    def printed(words: str) -> Callable[[], bool]:
        return lambda: words in terminal.raw

    place = '/front/vpr_node active, place 12 Gate, confidence 0.870'
    drive.until(printed(place), 'a line', terminal.look)
    terminal.type('n rain again\n')
    drive.until(printed('mark note rain again: saved'), 'the mark', terminal.look)
    terminal.type('hello\n')
    drive.until(printed('type one key and Enter'), 'advice', terminal.look)
    terminal.type('q\n')
    assert terminal.wait() == 0
    assert '\x1b' not in terminal.raw and terminal.screen == NORMAL
    assert drive.trial.marks == ['note rain again']


def test_into_a_file_without_keys(drive: Drive, tmp_path: Path) -> None:
    process = Process(tmp_path, MODULE)
    drive.until(lambda: 'place 12 Gate' in process.stdout, 'a line')
    assert process.stop(signal.SIGTERM)[0] == 130
    lines = process.stdout.splitlines()
    assert all(re.match(r'\d\d:\d\d:\d\d \S', line) and line.isprintable() for line in lines)
    assert process.stderr == 'interrupted\n'


def test_a_reader_that_has_had_enough(drive: Drive, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, '-m', MODULE],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(tmp_path),
    )
    process.stdout.readline()
    process.stdout.close()
    drive.until(lambda: process.poll() is not None, 'the end')
    assert (process.wait(), process.stderr.read()) == (0, b'')
    process.stderr.close()


def test_wrong_arguments_are_one_line(capsys) -> None:
    from ashtkd_ros.ros.trial.dashboard import main

    with pytest.raises(SystemExit) as error:
        main(['--nodes'])
    assert error.value.code == 2
    assert 'unrecognized arguments' in capsys.readouterr().err.splitlines()[-1]

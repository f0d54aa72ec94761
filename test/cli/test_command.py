# SPDX-License-Identifier: Apache-2.0
"""How a command ends: SIGTERM as Ctrl-C, with status 130 and nothing half done left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ashtkd_ros.cli.command import run_command

WRITING = """
import sys, time
from pathlib import Path
from ashtkd_ros.cli.command import run_command
from ashtkd_ros.files.writing import whole_file, whole_folder

def command():
    with whole_folder(Path('bag')) as bag, whole_file(Path('report.html')) as report:
        bag.mkdir()
        (bag / 'half.mcap').touch()
        report.touch()
        print('there', flush=True)
        time.sleep(60)

run_command(command)
"""


def status_of(command) -> int:
    with pytest.raises(SystemExit) as ended:
        run_command(command)
    return ended.value.code


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_nothing_half_done(number: int, tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[2]
    with subprocess.Popen(
        [sys.executable, '-c', WRITING],
        cwd=tmp_path,
        env={**os.environ, 'PYTHONPATH': os.pathsep.join([str(root), *sys.path])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        first = process.stdout.readline()
        assert first == 'there\n', (process.communicate(timeout=60), process.returncode)
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (130, 'interrupted\n')
    assert list(tmp_path.iterdir()) == []


def test_sigterm_is_as_before_when_the_command_has_ended(capsys) -> None:
    def command() -> int:
        signal.raise_signal(signal.SIGTERM)
        return 0

    before = signal.getsignal(signal.SIGTERM)
    assert status_of(command) == 130
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_handler_that_is_there_stays() -> None:
    received: list[int] = []

    def command() -> int:
        signal.raise_signal(signal.SIGTERM)
        return len(received)

    before = signal.signal(signal.SIGTERM, lambda number, _: received.append(number))
    try:
        assert status_of(command) == 1
    finally:
        signal.signal(signal.SIGTERM, before)

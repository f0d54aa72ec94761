# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C in the first second of a command, amid its imports, leaves no traceback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest
from conftest import ROOT

from ashtkd_ros.entry import COMMANDS

PATIENCE_S = 60.0
DELAYS_S = (0.0, 0.05, 0.15, 0.3, 0.6)
# As an installed command is started.
STARTED = """
import sys
from ashtkd_ros.entry import main
sys.argv = sys.argv[1:]
main()
"""
CALLS = {  # none of them ends by itself within a second
    'build_map': [ROOT / 'test' / 'data' / 'town' / 'day', '-o', 'map'],
    'evaluate': ['none', ROOT / 'test' / 'data' / 'town' / 'dusk'],
    'vpr_node': ['--ros-args', '-p', 'on_start_failure:=stay'],
    'vpr_trial': ['--trials-folder', 'trials', '--check', 'false', '--record', 'false'],
    'replay': [ROOT / 'test' / 'data' / 'town' / 'day'],
}


def start(folder: Path, name: str, *arguments: object) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, '-c', STARTED, f'/bin/{name}', *map(str, arguments)],
        cwd=folder,
        env={**os.environ, 'PYTHONPATH': os.pathsep.join([str(ROOT), *sys.path])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def heeds(process: subprocess.Popen, number: int) -> bool:
    """Whether it catches a signal; Python itself catches SIGINT alone."""
    status = Path(f'/proc/{process.pid}/status').read_text()
    return bool(int(status.split('SigCgt:')[1].split()[0], 16) & 1 << (number - 1))


@pytest.mark.parametrize('name', CALLS)
def test_a_signal_in_the_first_second_leaves_no_traceback(name: str, tmp_path: Path) -> None:
    if COMMANDS[name].startswith('ashtkd_ros.ros.') and not find_spec('rclpy'):
        pytest.skip('rclpy cannot be imported')
    statuses = set()
    for delay in DELAYS_S:
        for number in (signal.SIGINT, signal.SIGTERM) if delay == 0.05 else (signal.SIGINT,):
            with start(tmp_path, name, *CALLS[name]) as process:
                end = time.monotonic() + PATIENCE_S
                while not heeds(process, signal.SIGTERM):
                    assert process.poll() is None and time.monotonic() < end
                time.sleep(delay)
                process.send_signal(number)
                _, said = process.communicate(timeout=PATIENCE_S)
                statuses.add(process.returncode)
                assert 'Traceback' not in said and len(said.splitlines()) < 4, said
    assert 130 in statuses and statuses <= {130, 0, 1}, statuses


def test_a_name_that_is_no_command(tmp_path: Path) -> None:
    process = start(tmp_path, 'vpr_nod')
    assert process.communicate(timeout=PATIENCE_S)[1].startswith('error: "vpr_nod" is no command')
    assert process.returncode == 1


def test_each_command_is_there() -> None:
    assert all(find_spec(module) for module in COMMANDS.values())


def test_the_module_runs_a_command_by_its_name(tmp_path: Path) -> None:
    command = [sys.executable, '-m', 'ashtkd_ros.entry', 'map_info', 'none']
    environment = {**os.environ, 'PYTHONPATH': os.pathsep.join([str(ROOT), *sys.path])}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.startswith('error: none: no such map')


def test_a_link_of_another_name_runs_the_command(tmp_path: Path) -> None:
    (tmp_path / 'map_info').touch()
    (tmp_path / 'about').symlink_to('map_info')
    command = [sys.executable, '-c', STARTED, str(tmp_path / 'about'), 'none']
    environment = {**os.environ, 'PYTHONPATH': os.pathsep.join([str(ROOT), *sys.path])}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.startswith('error: none: no such map')


@pytest.mark.parametrize('closed', ['>&-', '2>&-', '<&- >&- 2>&-'])
@pytest.mark.parametrize('name', ['none', 'day'])
def test_closed_streams_are_nowhere(tmp_path: Path, closed: str, name: str) -> None:
    (tmp_path / 'day').symlink_to(ROOT / 'test' / 'data' / 'town' / 'day')
    command = f'exec "$0" -m ashtkd_ros.entry build_map {name} --dry-run -o map {closed}'
    environment = {**os.environ, 'PYTHONPATH': os.pathsep.join([str(ROOT), *sys.path])}
    done = subprocess.run(
        ['bash', '-c', command, sys.executable],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == (name == 'none')
    output, errors = done.stdout, done.stderr
    assert (
        output.startswith('day: 117 images') if name == 'day' and closed == '2>&-' else not output
    )
    is_told = name == 'none' and closed == '>&-'
    assert errors.startswith('error: none: no such') if is_told else not errors


def test_what_is_opened_does_not_take_the_place_of_a_closed_stream() -> None:
    text = """
import os
from ashtkd_ros.cli.standard_streams import open_standard_streams
os.close(2)
open_standard_streams()
print(os.path.samefile('/proc/self/fd/2', '/dev/null'), os.get_inheritable(2))
"""
    environment = {**os.environ, 'PYTHONPATH': os.pathsep.join([str(ROOT), *sys.path])}
    said = subprocess.check_output([sys.executable, '-c', text], env=environment, text=True)
    assert said == 'True True\n'

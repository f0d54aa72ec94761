# SPDX-License-Identifier: Apache-2.0
"""build_map --workers: Ray's workers make the bytes of one process, also if they are killed."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from bag_helpers import write_bag
from conftest import ROOT, write_tiny_model
from test_build_map import last_line
from test_commands import call
from test_mapping import drive, snapshot

from ashtkd_ros.mapping import fleet

LONGEST_S = 120.0
needs_ray = pytest.mark.skipif(
    subprocess.run([sys.executable, '-c', 'import ray'], stderr=subprocess.DEVNULL).returncode,
    reason='ray is not installed: no workers',
)
PLAIN = 'import sys; from ashtkd_ros.commands.build_map import main; main(sys.argv[1:])'
DEADLY = f"""
import os
from ashtkd_ros.mapping import fleet
fleet.build_part = lambda part: os.kill(os.getpid(), 9)
{PLAIN}
"""
# A worker says who it is when it has its first place, and then waits for its end or for a file.
WORKER = """
import os, sys, time
from pathlib import Path
from ashtkd_ros.commands import build_map
from ashtkd_ros.mapping import fleet
def build_part(part, folder=Path(os.environ['TEST_FOLDER'])):
    from ashtkd_ros.mapping import journal, parts
    journal._FLUSH_S, add = -1.0, journal.Journal.add
    def slowly(self, *entry):
        add(self, *entry)
        if self.count == 2 and not (folder / 'go').exists():
            (folder / f'{part.out.name}.pid').write_text(str(os.getpid()))
            while not (folder / 'go').exists():
                time.sleep(0.01)
    journal.Journal.add = slowly
    try:
        return parts.build_part(part)
    finally:
        journal.Journal.add = add
fleet.build_part = build_part
build_map.main(sys.argv[1:])
"""


@pytest.fixture(scope='module')
def command(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The arguments for a map of two bags and a folder."""
    folder = tmp_path_factory.mktemp('sources')
    model = write_tiny_model(folder / 'tiny.onnx', grid=(2, 4))
    bags = [
        write_bag(folder / n, records=drive(f'{n}r' * 4, start, poses=False))
        for n, start in (('g', 100.0), ('b', 900.0))
    ]
    names = [str(path) for path in (*bags, ROOT / 'test' / 'data' / 'town' / 'dusk')]
    return [*names, '--model', str(model), '--max-blur', '1', '--keyframes', 'all']


@pytest.fixture(scope='module')
def whole(command: list[str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The map of one process."""
    out = tmp_path_factory.mktemp('one') / 'map'
    assert call('build_map', *command, '-o', out) == 0
    return snapshot(out)


@pytest.fixture
def started(tmp_path: Path, command: list[str]) -> Iterator[Callable[[], subprocess.Popen]]:
    """Starts builds with two workers that wait, see WORKER, to the map `map`."""
    processes = []

    def start() -> subprocess.Popen:
        arguments = [*command, '-o', str(tmp_path / 'map'), '--workers', '2']
        processes.append(
            subprocess.Popen(
                [sys.executable, '-c', WORKER, *arguments],
                cwd=ROOT,
                env={**os.environ, 'TEST_FOLDER': str(tmp_path)},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        return processes[-1]

    yield start
    for process in processes:
        if process.poll() is None:
            process.terminate()
        process.communicate(timeout=LONGEST_S)


def when_there(path: Path) -> Path:
    """The path, once it is there and not empty."""
    end = time.monotonic() + LONGEST_S
    while not (path.is_file() and path.stat().st_size):
        assert time.monotonic() < end, f'{path} does not come'
        time.sleep(0.02)
    return path


def is_running(pid: int) -> bool:
    try:
        return 'Z' not in Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0]
    except FileNotFoundError:
        return False


def build_alone(code: str, *arguments: object) -> subprocess.CompletedProcess:
    """A build in a process of its own, since Ray leaves handlers of signals behind."""
    return subprocess.run(
        [sys.executable, '-c', code, *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=LONGEST_S,
    )


@needs_ray
def test_two_workers_make_the_bytes_of_one_and_nothing_stays(
    tmp_path: Path, command: list[str], whole: dict[str, bytes]
):
    out = tmp_path / 'maps' / 'map'
    done = build_alone(PLAIN, *command, '-o', out, '--workers', 2)
    assert (done.returncode, done.stderr.count('ray')) == (0, 0), done.stderr
    assert done.stdout.startswith(f'{out}: 133 places') and 'ray' not in done.stdout
    assert snapshot(out) == whole
    assert [p.name for p in out.parent.iterdir()] == ['map']


@needs_ray
def test_workers_that_are_killed_are_replaced(
    tmp_path: Path, started: Callable, whole: dict[str, bytes]
):
    build = started()
    killed = [int(when_there(tmp_path / f'{n}.pid').read_text()) for n in '01']
    (tmp_path / 'go').touch()
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    out, err = build.communicate(timeout=LONGEST_S)
    assert build.returncode == 0, err
    assert snapshot(tmp_path / 'map') == whole
    assert 'worker died' not in out + err


@needs_ray
@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_build_that_is_stopped_takes_its_workers_along_and_goes_on(
    tmp_path: Path, started: Callable, whole: dict[str, bytes], number: signal.Signals
):
    build = started()
    workers = [int(when_there(tmp_path / f'{n}.pid').read_text()) for n in '01']
    build.send_signal(number)
    _, err = build.communicate(timeout=LONGEST_S)
    if number != signal.SIGKILL:
        assert (build.returncode, err.splitlines()[-1]) == (130, 'interrupted')
    end = time.monotonic() + 30.0
    while any(map(is_running, workers)):
        assert time.monotonic() < end
        time.sleep(0.05)
    tables = tmp_path.glob('.map.building/parts/.*.building/places.jsonl')
    assert sorted(table.read_bytes().count(b'\n') for table in tables) == [2, 2]
    if number != signal.SIGKILL:  # what goes on from these tables is tested once
        return
    (tmp_path / 'go').touch()
    again = started()
    _, err = again.communicate(timeout=LONGEST_S)
    assert again.returncode == 0, err
    assert snapshot(tmp_path / 'map') == whole
    assert not (tmp_path / '.map.building').exists()


@needs_ray
def test_a_damaged_source_is_the_line_that_it_is_without_workers(
    tmp_path: Path, command: list[str], capsys: pytest.CaptureFixture
):
    folder = tmp_path / 'walk'
    shutil.copytree(ROOT / 'test' / 'data' / 'town' / 'dusk', folder)
    os.truncate(folder / 'images' / '0007.jpg', 300)
    arguments = [*command[:2], folder, *command[3:], '-o', tmp_path / 'map']
    assert call('build_map', *arguments) == 1
    line = last_line(capsys)
    assert str(folder / 'images' / '0007.jpg') in line
    done = build_alone(PLAIN, *arguments, '--workers', 2)
    assert (done.returncode, done.stderr.splitlines()[-1]) == (1, line)


@needs_ray
def test_workers_that_die_again_and_again_are_one_line(tmp_path: Path, command: list[str]):
    done = build_alone(DEADLY, *command, '-o', tmp_path / 'map', '--workers', 1)
    line = done.stderr.splitlines()[-1]
    assert done.returncode == 1 and not (tmp_path / 'map').exists()
    assert line.startswith(f'error: {command[0]}: its worker died') and '3 retries' in line


# --- doors


def test_without_ray_one_line_says_how_to_get_it(
    tmp_path: Path, command: list[str], capsys, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, 'ray', None)
    assert call('build_map', *command, '-o', tmp_path / 'map', '--workers', 2) == 1
    assert 'pip install ray, or in a checkout pip install ".[fleet]"' in last_line(capsys)
    assert call('build_map', *command, '-o', tmp_path / 'map', '--workers', 2, '--dry-run') == 0


@needs_ray
@pytest.mark.parametrize(
    ('address', 'words'),
    [
        ('rubbish', 'is not HOST:PORT'),
        ('127.0.0.1:99999', 'is not HOST:PORT'),
        ('ray://127.0.0.1:1', 'is not HOST:PORT'),
        ('nowhere.invalid:6379', 'nothing answers ('),
        ('127.0.0.1:9', 'nothing answers (Connection refused); start one with "ray start'),
    ],
)
def test_an_address_without_a_cluster_is_one_line(
    tmp_path: Path, command: list[str], capsys, address: str, words: str
):
    arguments = [*command, '-o', tmp_path / 'map', '--ray-address', address]
    assert call('build_map', *arguments) == 1
    assert words in last_line(capsys)


@needs_ray
def test_what_answers_and_is_no_cluster_is_told_in_bounded_time(
    tmp_path: Path, command: list[str], capsys, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(fleet, '_ANSWER_S', 3.0)
    with socket.create_server(('127.0.0.1', 0)) as silent:
        address = f'127.0.0.1:{silent.getsockname()[1]}'
        started = time.monotonic()
        arguments = [*command, '-o', tmp_path / 'map', '--ray-address', address]
        assert call('build_map', *arguments) == 1
    assert time.monotonic() - started < 30.0
    assert re.search(r'no Ray cluster answers \(no answer in 3 s\)', last_line(capsys))

# SPDX-License-Identifier: Apache-2.0
"""A save that fails (full disk, kill, no right) leaves the old map as it was."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from conftest import ROOT, checksums, line_of, places_along_x, unit_rows

from ashtkd_ros.errors import VprError
from ashtkd_ros.maps import replacement
from ashtkd_ros.maps.place_map import PlaceMap

# A process that holds a map of argv[2] places like the fixture's and saves it to argv[1].
PROCESS = """
import os, resource, signal, sys, time
from pathlib import Path
from types import SimpleNamespace
from conftest import places_along_x, unit_rows
from ashtkd_ros.maps import replacement
from ashtkd_ros.maps import place_map
from ashtkd_ros.network.embedder import Preprocessing
from ashtkd_ros.errors import VprError
network = SimpleNamespace(
    dimensions=4, name='fake', hash='0' * 64, confidence={},
    preprocessing=Preprocessing((6, 8), (0.0,) * 3, (1.0,) * 3, 'RGB'))
folder = Path(sys.argv[1])
def make(count):
    places = places_along_x(range(count))
    return place_map.PlaceMap.build(unit_rows(count, 4, seed=count), places, network)
"""


def run_process(code: str, folder: Path, *prefix: str, **options) -> subprocess.CompletedProcess:
    return subprocess.run(
        [*prefix, sys.executable, '-c', PROCESS + code, str(folder)],
        env=process_environment(),
        capture_output=True,
        text=True,
        timeout=60,
        **options,
    )


def process_environment() -> dict[str, str]:
    paths = [str(ROOT), str(ROOT / 'test'), os.environ.get('PYTHONPATH', '')]
    return {**os.environ, 'PYTHONPATH': os.pathsep.join(paths), 'OMP_NUM_THREADS': '1'}


def test_a_folder_that_is_no_map_is_not_overwritten(built: PlaceMap, tmp_path: Path):
    (tmp_path / 'photos').mkdir()
    (tmp_path / 'photos' / 'a.jpg').write_bytes(b'precious')
    with pytest.raises(VprError) as error:
        built.save(tmp_path / 'photos')
    assert 'is not a map' in line_of(error)
    assert (tmp_path / 'photos' / 'a.jpg').read_bytes() == b'precious'
    assert [p.name for p in tmp_path.iterdir()] == ['photos']


def test_a_file_in_the_way_is_kept(built: PlaceMap, tmp_path: Path):
    (tmp_path / 'map').write_text('a file')
    with pytest.raises(VprError) as error:
        built.save(tmp_path / 'map')
    assert 'exists and is not a map' in line_of(error)
    assert (tmp_path / 'map').read_text() == 'a file'


@pytest.mark.parametrize('call', [1, 2, 3])
def test_a_full_disk_leaves_the_old_map(
    saved: Path, fake_network, monkeypatch: pytest.MonkeyPatch, call: int
):
    before, calls = checksums(saved), []

    def full(_: int) -> None:
        calls.append(1)
        if len(calls) == call:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(replacement.os, 'fsync', full)
    new = PlaceMap.build(unit_rows(2, 4), places_along_x([1, 2]), fake_network)
    with pytest.raises(VprError) as error:
        new.save(saved)
    assert 'No space left on device' in line_of(error)
    assert checksums(saved) == before and len(PlaceMap.load(saved).places) == 6
    assert [p.name for p in saved.parent.iterdir()] == ['map']
    calls[:] = [1] * 3
    new.save(saved)  # room again
    assert len(PlaceMap.load(saved).places) == 2


def test_a_limit_on_the_size_of_files_leaves_the_old_map(saved: Path):
    before = checksums(saved)
    code = """
big = make(2000)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    big.save(folder)
except VprError as error:
    print(error)
"""
    done = run_process(code, saved)
    assert done.returncode == 0, done.stderr
    assert 'could not be written' in done.stdout and done.stdout.count('\n') == 1
    assert checksums(saved) == before and [p.name for p in saved.parent.iterdir()] == ['map']


def test_a_really_full_disk_leaves_the_old_map(tmp_path: Path):
    """On a file system of 128 KiB, mounted where only the test's own process sees it."""
    private = ['unshare', '--map-root-user', '--mount']
    mount = 'mount -t tmpfs -o size=128k tmpfs "$0" && exec "$@"'
    disk = tmp_path / 'disk'
    disk.mkdir()
    prefix = [*private, 'sh', '-c', mount, str(disk)]
    if (
        not shutil.which('unshare')
        or subprocess.run([*prefix, 'true'], capture_output=True).returncode
    ):
        pytest.skip('no file system can be mounted here')
    code = """
make(3).save(folder)
try:
    make(9000).save(folder)
except VprError as error:
    print(error)
print(len(place_map.PlaceMap.load(folder).places), [p.name for p in folder.parent.iterdir()])
make(5).save(folder)
print(len(place_map.PlaceMap.load(folder).places))
"""
    done = run_process(code, disk / 'map', *prefix)
    assert done.returncode == 0, done.stderr
    message, after, at_last = done.stdout.splitlines()
    assert 'No space left on device' in message
    assert (after, at_last) == ("3 ['map']", '5')


@pytest.mark.parametrize('moment', ['os.fsync', 'replacement._put_in_place'])
def test_a_kill_in_the_middle_leaves_the_old_map(saved: Path, built: PlaceMap, moment: str):
    before = checksums(saved)
    code = f"""
def stop(*_):
    print('there', flush=True)
    time.sleep(60)
new = make(50)
{moment} = stop
new.save(folder)
"""
    process = subprocess.Popen(
        [sys.executable, '-c', PROCESS + code, str(saved)],
        env=process_environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout.readline() == 'there\n'
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert checksums(saved) == before and len(PlaceMap.load(saved).places) == 6
    built.save(saved)  # what the dead process left is not in the way
    assert len(PlaceMap.load(saved).places) == 6


def test_leftovers_of_a_killed_save_are_cleared_away(built: PlaceMap, saved: Path):
    left = saved.parent / '.map.0123456789abcdef.new'
    left.mkdir()
    (left / 'index.faiss').write_bytes(b'half')
    built.save(saved)
    assert [p.name for p in saved.parent.iterdir()] == ['map']
    assert PlaceMap.load(saved).places


# --- file systems without an atomic exchange


def other(fake_network, count: int = 2) -> PlaceMap:
    return PlaceMap.build(unit_rows(count, 4, seed=9), places_along_x(range(count)), fake_network)


class NoExchange:
    """A C library whose file system cannot exchange two folders."""

    def renameat2(self, *_) -> int:
        return -1


def test_without_exchange_the_map_is_replaced_all_the_same(
    saved: Path, fake_network, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(replacement.ctypes, 'CDLL', lambda *_, **__: NoExchange())
    PlaceMap.build(unit_rows(2, 4), places_along_x([1, 2]), fake_network).save(saved)
    assert len(PlaceMap.load(saved).places) == 2
    assert [p.name for p in saved.parent.iterdir()] == ['map']


class Killed(BaseException):
    """As a kill: nothing of the process goes on."""


def killed_between_the_renames(
    folder: Path, new: PlaceMap, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Save as a process that is killed when the old map is aside and the new one not in place."""
    rename = os.rename

    def kill(source, target) -> None:
        if str(source).endswith('.new'):
            raise Killed
        rename(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(replacement.ctypes, 'CDLL', lambda *_, **__: NoExchange())
        patch.setattr(replacement.os, 'rename', kill)
        patch.setattr(replacement, 'remove_map', lambda *_: None)
        patch.setattr(replacement.os, 'unlink', lambda *_: None)
        with pytest.raises(Killed):
            new.save(folder)
    assert not folder.exists() and len(list(folder.parent.glob('.map.*'))) == 4


@pytest.mark.parametrize('next_one', ['load', 'save'])
def test_a_kill_between_two_renames_is_mended_by_the_next_load_or_save(
    saved: Path, fake_network, monkeypatch: pytest.MonkeyPatch, next_one: str
):
    (saved / 'mine.txt').write_text('precious')
    before = checksums(saved)
    killed_between_the_renames(saved, other(fake_network), monkeypatch)
    if next_one == 'load':
        assert len(PlaceMap.load(saved).places) == 6 and checksums(saved) == before
    other(fake_network, 3).save(saved)
    assert len(PlaceMap.load(saved).places) == 3
    assert (saved / 'mine.txt').read_text() == 'precious'
    assert [p.name for p in saved.parent.iterdir()] == ['map']


def test_a_load_between_the_renames_of_a_living_save_waits(
    saved: Path, fake_network, monkeypatch: pytest.MonkeyPatch
):
    rename, between, loaded = os.rename, threading.Event(), []

    def slow(source, target) -> None:
        if str(source).endswith('.new'):
            between.set()
            threading.Event().wait(0.5)
        rename(source, target)

    monkeypatch.setattr(replacement.ctypes, 'CDLL', lambda *_, **__: NoExchange())
    monkeypatch.setattr(replacement.os, 'rename', slow)

    def load() -> None:
        between.wait(10)
        loaded.append(len(PlaceMap.load(saved).places))

    thread = threading.Thread(target=load)
    thread.start()
    other(fake_network).save(saved)
    thread.join()
    assert loaded == [2]


def test_a_rename_that_fails_leaves_the_old_map_and_the_users_files(
    saved: Path, fake_network, monkeypatch: pytest.MonkeyPatch
):
    (saved / 'mine.txt').write_text('precious')
    before, rename = checksums(saved), os.rename

    def failing(source, target) -> None:
        if str(source).endswith('.new'):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        rename(source, target)

    monkeypatch.setattr(replacement.ctypes, 'CDLL', lambda *_, **__: NoExchange())
    monkeypatch.setattr(replacement.os, 'rename', failing)
    with pytest.raises(VprError) as error:
        other(fake_network).save(saved)
    assert 'what was there before is untouched' in line_of(error)
    assert checksums(saved) == before and [p.name for p in saved.parent.iterdir()] == ['map']

# SPDX-License-Identifier: Apache-2.0
"""What killed nodes leave in /dev/shm goes at the next start; what anybody uses stays."""

from __future__ import annotations

import fcntl
import mmap
import os
import random
import signal
import time
from pathlib import Path

import pytest

pytest.importorskip('rclpy', reason='rclpy cannot be imported')

from ros_helpers import NodeProcess, Peer

from ashtkd_ros.ros.node import shared_memory
from ashtkd_ros.ros.node.shared_memory import clean_up

pytest_plugins = ['ros_fixtures']
SHM = Path('/dev/shm')


@pytest.fixture
def shm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as /dev/shm is, in which nothing is too young."""
    monkeypatch.setattr(shared_memory, '_YOUNG_S', -1.0)
    folder = tmp_path / 'shm'
    folder.mkdir()
    return folder


def segment(folder: Path, name: str, lock: str = '_el') -> list[Path]:
    files = [folder / name, folder / f'{name}{lock}']
    for file in files:
        file.write_bytes(b'' if file.name.endswith(lock) else b'x' * 100)
    return files


CASES = ('dead', 'locked', 'shared', 'mapped', 'linked', 'symlink', 'other user', 'folder')
# Names that Fast DDS does not give, and one of its own of which nothing tells whether it is used.
OTHERS = ('fastrtps_1', 'fastrtps_x_el', 'fastrtps_port7000_el', 'fastrtps_port7000', 'other_el')
OTHERS += ('fastrtps_00000000000fffff',)


def put_to_use(case: str, data: Path, lock: Path) -> object:
    """Make a segment one that must stay; what keeps it so."""
    if case in ('locked', 'shared'):
        opened = lock.open('rb')
        fcntl.flock(opened, fcntl.LOCK_EX if case == 'locked' else fcntl.LOCK_SH)
        return opened
    if case == 'mapped':
        with data.open('rb+') as file:
            return mmap.mmap(file.fileno(), 0)
    if case == 'linked':
        os.link(data, data.with_name(f'linked_{data.name}'))
    elif case == 'symlink':
        lock.unlink()
        lock.symlink_to('/dev/null')
    elif case == 'other user':
        os.chown(data, 12345, 12345)
    elif case == 'folder':
        data.unlink()
        data.mkdir()
    return None


def test_the_dead_go_and_all_else_stays(shm: Path) -> None:
    rng, held, dead = random.Random(1), [], set()
    cases = [case for case in CASES if case != 'other user' or not os.getuid()]
    for number in range(120):
        case = rng.choice(cases)
        name = rng.choice((f'fastrtps_{number:016x}', f'fastdds_{number:016x}'))
        files = segment(shm, name, rng.choice(('_el', '_sl')))
        held.append(put_to_use(case, *files))
        dead |= set(files) if case == 'dead' else set()
    for name in OTHERS:
        (shm / name).write_bytes(b'x')
    kept = set(shm.iterdir()) - dead
    files, size = clean_up(shm)
    assert files == len(dead) > 10
    assert size == 100 * sum(not path.name.endswith(('_el', '_sl')) for path in dead)
    assert set(shm.iterdir()) == kept
    assert clean_up(shm) == (0, 0)
    assert clean_up(shm / 'nowhere') == (0, 0)


def test_what_is_new_stays_a_moment(shm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_memory, '_YOUNG_S', 0.5)
    segment(shm, 'fastrtps_0123456789abcdef')
    assert clean_up(shm) == (0, 0)
    time.sleep(0.6)
    assert clean_up(shm) == (2, 100)


def mapped_by(pid: int) -> set[Path]:
    """A process's files of Fast DDS in /dev/shm, its locks as well."""
    lines = Path(f'/proc/{pid}/maps').read_text().splitlines()
    data = {Path(line.split()[-1]) for line in lines if '/dev/shm/fast' in line}
    links = (Path(f'/proc/{pid}/fd') / name for name in os.listdir(f'/proc/{pid}/fd'))
    targets = {Path(os.readlink(link)) for link in links if link.is_symlink()}
    return data | {path for path in targets if path.parent == SHM and 'fast' in path.name}


def own(pid: int) -> set[Path]:
    """Those that the process itself keeps alive: it holds their locks."""
    files = mapped_by(pid)
    locks = {path for path in files if path.name.endswith(('_el', '_sl'))}
    return locks | {
        p for p in files if any(p.with_name(p.name + e) in locks for e in ('_el', '_sl'))
    }


@pytest.mark.ros
def test_a_node_cleans_up_after_killed_ones_and_harms_no_other(start_node, peer: Peer, town_map):
    def start() -> NodeProcess:
        return start_node(map_path=town_map, num_threads=1, autostart=False)

    killed, stopped = start(), start()
    peer.until(lambda: peer.node.count_publishers('/diagnostics') == 2, 'both nodes')
    peer.diagnostics.clear()
    peer.until(lambda: len(peer.diagnostics) > 4, 'both nodes at work')
    if not mapped_by(killed.pid):
        pytest.skip('this middleware has no shared memory in /dev/shm')
    stopped.process.send_signal(signal.SIGSTOP)
    living = {path.name for pid in (stopped.pid, os.getpid()) for path in mapped_by(pid)}
    # What the living have opened of it goes at a later start.
    left = {p for p in mapped_by(killed.pid) if p.name.removesuffix('_el') not in living}
    left = {p for p in left if 'port' not in p.name}  # which are used again
    numbers = {path: path.stat().st_ino for path in left}
    theirs, mine = (own(pid) for pid in (stopped.pid, os.getpid()))
    killed.process.kill()
    killed.wait()
    assert left and all(path.exists() for path in left)
    time.sleep(1.2)
    third = start()

    def there() -> list[str]:
        entries = (e for e in os.scandir(SHM) if Path(e.path) in left)
        return [e.name for e in entries if e.inode() == numbers[Path(e.path)]]

    peer.until(lambda: not there(), 'what was left to go')
    assert [path for path in theirs | mine if not path.exists()] == []
    stopped.process.send_signal(signal.SIGCONT)
    peer.diagnostics.clear()
    peer.until(lambda: len(peer.diagnostics) > 4, 'both nodes')
    stopped.end()
    third.end()

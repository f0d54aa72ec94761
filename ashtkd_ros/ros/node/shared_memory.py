# SPDX-License-Identifier: Apache-2.0
"""Removes shared memory of Fast DDS that killed nodes of this user have left in /dev/shm.

A living process holds a lock (flock) on the file beside its segment, or has the segment mapped.
Files of another user, and files that are locked, mapped, new or named in another way, stay. Ports
(52 kB) stay too: they have few names, Fast DDS uses them again, and one that has just begun to
listen looks like a dead one. Other middlewares, such as Cyclone DDS with iceoryx, clean up through
their own daemon.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import stat
import time
from pathlib import Path

_FOLDER = Path('/dev/shm')
# Fast DDS 2 (Humble, Jazzy) and 3 (Kilted)
_NAME = re.compile(r'((?:fastrtps|fastdds)_[0-9a-f]{16})(?:_el|_sl|)')
_LOCKS = ('_el', '_sl')
_YOUNG_S = 1.0  # a file is created a moment before it is locked


def clean_up(folder: Path = _FOLDER) -> tuple[int, int]:
    """Remove files that nobody uses any more. Returns the numbers of removed files and bytes."""
    try:
        names = set(os.listdir(folder))
    except OSError:
        return 0, 0
    bases = sorted({match[1] for match in map(_NAME.fullmatch, names) if match})
    dead = [base for base in bases if _is_dead(folder, base, names)]
    if not dead:
        return 0, 0
    mapped, files, size = _mapped(), 0, 0
    for base in dead:
        sizes = _remove(folder, base, names, mapped)
        files, size = files + len(sizes), size + sum(sizes)
    return files, size


def _files(base: str, names: set[str]) -> list[str]:
    """The files of a segment, its locks last."""
    wanted = [base, *(base + lock for lock in _LOCKS)]
    return [name for name in wanted if name in names]


def _is_dead(folder: Path, base: str, names: set[str]) -> bool:
    with contextlib.ExitStack() as held:
        return _lock(held, folder, base, names)


def _lock(held: contextlib.ExitStack, folder: Path, base: str, names: set[str]) -> bool:
    """Take all locks of a segment; whether it is this user's, old, and nobody held a lock."""
    files = _files(base, names)
    if not any(name.endswith(_LOCKS) for name in files):
        return False  # without a lock nobody can tell whether it is in use
    try:
        for name in files:
            status = os.lstat(folder / name)
            ours = stat.S_ISREG(status.st_mode) and status.st_uid == os.getuid()
            if not ours or status.st_nlink != 1 or time.time() - status.st_ctime < _YOUNG_S:
                return False
            if not name.endswith(_LOCKS):
                continue
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            handle = os.open(folder / name, flags)
            held.callback(os.close, handle)
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not os.path.samestat(os.fstat(handle), os.lstat(folder / name)):
                return False
    except OSError:  # locked, or gone meanwhile
        return False
    return True


def _remove(folder: Path, base: str, names: set[str], mapped: set[int]) -> list[int]:
    """Remove the files of a segment while they are locked; the sizes of the removed ones."""
    sizes = []
    with contextlib.ExitStack() as held, contextlib.suppress(OSError):
        if not _lock(held, folder, base, names):
            return sizes
        statuses = {name: os.lstat(folder / name) for name in _files(base, names)}
        if any(status.st_ino in mapped for status in statuses.values()):
            return sizes
        for name, status in statuses.items():
            os.unlink(folder / name)
            sizes.append(status.st_size)
    return sizes


def _mapped() -> set[int]:
    """Inode numbers of the files that processes have mapped, as far as this user may see."""
    inodes = set()
    for process in Path('/proc').iterdir():
        if not process.name.isdecimal():
            continue
        with contextlib.suppress(OSError, ValueError):
            for line in (process / 'maps').read_bytes().splitlines():
                words = line.split(None, 5)
                if len(words) == 6:
                    inodes.add(int(words[4]))
    return inodes

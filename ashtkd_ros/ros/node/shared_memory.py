# SPDX-License-Identifier: Apache-2.0
"""Fast DDS's shared memory that killed nodes of this user have left in /dev/shm: taken away.

Whoever lives holds a lock (flock) on the file beside his segment, or has it mapped. What is of
another user, locked, mapped, new, or named otherwise is not touched. Ports (52 kB) are left: their
names are few, Fast DDS uses them again, and one that just begins to listen looks like a dead one.
Other middlewares (Cyclone DDS with iceoryx) clean up through a daemon of theirs.
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
_YOUNG_S = 1.0  # a file is made a moment before it is locked


def clean_up(folder: Path = _FOLDER) -> tuple[int, int]:
    """Remove what nobody uses any more; numbers of files and of bytes that are gone."""
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
        gone = _remove(folder, base, names, mapped)
        files, size = files + len(gone), size + sum(gone)
    return files, size


def _files(base: str, names: set[str]) -> list[str]:
    """What belongs to a segment, the locks last."""
    wanted = [base, *(base + lock for lock in _LOCKS)]
    return [name for name in wanted if name in names]


def _is_dead(folder: Path, base: str, names: set[str]) -> bool:
    with contextlib.ExitStack() as held:
        return _lock(held, folder, base, names)


def _lock(held: contextlib.ExitStack, folder: Path, base: str, names: set[str]) -> bool:
    """Hold all locks of a segment; whether all of it is this user's, old, and unlocked."""
    files = _files(base, names)
    if not any(name.endswith(_LOCKS) for name in files):
        return False  # nothing tells whether it is in use
    try:
        for name in files:
            found = os.lstat(folder / name)
            ours = stat.S_ISREG(found.st_mode) and found.st_uid == os.getuid()
            if not ours or found.st_nlink != 1 or time.time() - found.st_ctime < _YOUNG_S:
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
    """Sizes of the files that are gone; they are locked until then."""
    gone = []
    with contextlib.ExitStack() as held, contextlib.suppress(OSError):
        if not _lock(held, folder, base, names):
            return gone
        found = {name: os.lstat(folder / name) for name in _files(base, names)}
        if any(status.st_ino in mapped for status in found.values()):
            return gone
        for name, status in found.items():
            os.unlink(folder / name)
            gone.append(status.st_size)
    return gone


def _mapped() -> set[int]:
    """Numbers of the files that any process has mapped, as far as this user may know."""
    found = set()
    for process in Path('/proc').iterdir():
        if not process.name.isdecimal():
            continue
        with contextlib.suppress(OSError, ValueError):
            for line in (process / 'maps').read_bytes().splitlines():
                words = line.split(None, 5)
                if len(words) == 6:
                    found.add(int(words[4]))
    return found

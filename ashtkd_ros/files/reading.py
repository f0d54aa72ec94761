# SPDX-License-Identifier: Apache-2.0
"""Reading of files of any origin: within limits, and without waiting for a pipe or a device."""

from __future__ import annotations

import contextlib
import mmap
import os
import select
import stat
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ashtkd_ros.text import reason_of

_PART = 2**22  # bytes that are read at a time
_NOTHING = 'it has nothing to read now'


def open_regular(path: str | os.PathLike, dir_fd: int | None = None) -> int:
    """File descriptor of a regular file, for reading; OSError for any other kind.

    It never waits for a FIFO or a device. `dir_fd`: descriptor of the folder that `path` is in.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=dir_fd)
    about = os.fstat(handle)
    if not stat.S_ISREG(about.st_mode):
        os.close(handle)
        raise OSError(0, 'it is not a regular file')
    if not about.st_size and not _is_ready(handle):
        os.close(handle)
        raise OSError(0, _NOTHING)
    return handle


def _is_ready(handle: int) -> bool:
    """Whether reading would return at once; some files of /proc would wait for a writer."""
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    return bool(poll.poll(0))


def read_regular(path: str | os.PathLike, limit: int, dir_fd: int | None = None) -> bytes:
    """All bytes of a regular file; OSError for any other kind, or for more than `limit` bytes."""
    with open(open_regular(path, dir_fd), 'rb') as file:
        size = os.fstat(file.fileno()).st_size
        data = file.read(size + 2**16) if size <= limit else b''  # a file of /proc says 0
    if data is None:  # see `_is_ready`
        raise OSError(0, _NOTHING)
    if max(size, len(data)) > limit:
        raise OSError(0, f'it holds more than {limit} bytes')
    return data


def read_pages(
    path: str | os.PathLike, limit: int, dir_fd: int | None, seen: Callable[[memoryview], object]
) -> mmap.mmap:
    """As `read_regular`, in pages of memory of its own, some of which can be given back.

    `seen` is called in another thread with each part, in order, while the next one is read.
    """
    with open(open_regular(path, dir_fd), 'rb') as file, ThreadPoolExecutor(1) as helper:
        size = os.fstat(file.fileno()).st_size
        if not 0 < size <= limit:
            raise OSError(0, f'it holds more than {limit} bytes' if size else 'it is empty')
        pages = memory_pages(size)
        calls = []
        for first in range(0, size, _PART):
            part = memoryview(pages)[first : first + _PART]
            if file.readinto(part) != len(part):
                raise OSError(0, 'it is cut off')
            calls.append(helper.submit(seen, part))
        for call in calls:
            call.result()
    return pages


def memory_pages(size: int) -> mmap.mmap:
    """Bytes of memory, large pages where the system has them, some of which can be given back."""
    # Shared pages, the default, would not go back before all of them do.
    pages = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, 'MADV_HUGEPAGE'):
        with contextlib.suppress(OSError):  # a system may be built without
            pages.madvise(mmap.MADV_HUGEPAGE)
    return pages


def inside(folder: Path, name: str) -> Path | None:
    """The path of `name` in a folder; None where it leads out of the folder, also by links."""
    try:
        root = Path(folder).resolve()
        found = (root / name).resolve()
    except (OSError, ValueError, RuntimeError):  # a loop of links, a zero byte
        return None
    return found if found.is_relative_to(root) else None


def read_text(path: str | os.PathLike, limit: int = 2**28) -> str:
    """UTF-8 text of a regular file, without a byte order mark; OSError or ValueError.

    `limit`: the most bytes that are read. Line ends stay as they are.
    """
    return read_regular(path, limit).decode('utf-8-sig')


def is_file(path: str | os.PathLike) -> bool:
    """Whether a regular file is there.

    False also without the right to look, for a loop of links, and for a name that is too long or
    holds a zero byte.
    """
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except (OSError, ValueError):
        return False


def is_folder(path: str | os.PathLike) -> bool:
    """Whether a folder is there; False also where `is_file` cannot look."""
    try:
        return stat.S_ISDIR(os.stat(path).st_mode)
    except (OSError, ValueError):
        return False


def why_missing(path: str | os.PathLike) -> str:
    """Why a path cannot be read, in brackets; empty where nothing like it is there."""
    try:
        os.stat(path)
    except FileNotFoundError:
        return _other_spelling(os.fsdecode(path))
    except (OSError, ValueError) as error:
        return f' ({reason_of(error)})'
    return ' (it is of another kind)'


def _other_spelling(path: str) -> str:
    """What is there by other case, accents as one character or two, or / for a backslash."""
    folder, name = os.path.split(path.replace('\\', '/'))
    with contextlib.suppress(OSError, ValueError):
        for other in sorted(os.listdir(folder or '.')):
            if _plain(other) == _plain(name):
                return f' (there is {os.path.join(folder, other)})'
    return ''


def _plain(name: str) -> str:
    return unicodedata.normalize('NFC', name).casefold()

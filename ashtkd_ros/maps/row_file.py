# SPDX-License-Identifier: Apache-2.0
"""Rows of a large array in a file, of which only what is asked for is read.

The file is read by position. If it were mapped into memory, a map that somebody truncates would
kill the process, and every page that was ever read would count as its memory.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path

import numpy as np

from ashtkd_ros.errors import VprError
from ashtkd_ros.files.checksums import sha256_of_parts
from ashtkd_ros.files.npy import HEADER_BYTES, npy_header
from ashtkd_ros.text import reason_of

_BLOCK = 2**19  # bytes that are read at a time, or one row if that has more
_AHEAD = 4096  # bytes of a row from which on the disk is told of all rows before the first is read


class RowFile:
    """`count` rows of `shape` and `kind` in an open file, in C order from byte `start` on.

    `handle`: an open descriptor of the file, which is closed with this object. Threads may share
    it.
    """

    def __init__(
        self,
        path: Path,
        handle: int,
        count: int,
        shape: tuple[int, ...],
        kind: str,
        start: int = 0,
    ):
        self.path, self.shape, self.kind, self.start = path, shape, np.dtype(kind), start
        self.row_bytes = self.kind.itemsize * int(np.prod(shape))
        self.handle, self._count = handle, count
        weakref.finalize(self, os.close, handle).atexit = False  # a thread may still be reading
        self._before = self._state()

    def __len__(self) -> int:
        return self._count

    def expect_random(self) -> None:
        """From now on rows are read here and there: the system reads nothing around them."""
        os.posix_fadvise(self.handle, 0, 0, os.POSIX_FADV_RANDOM)

    def rows(self, ids: np.ndarray) -> np.ndarray:
        """The rows of K ids, each from 0 to len - 1: an array (K, *shape) of the caller's own.

        VprError where they cannot be read, and where the file has changed since it was opened.
        """
        rows = np.empty((len(ids), *self.shape), self.kind)
        try:
            self._fill(rows, ids.tolist())
            self.check_unchanged()
        except OSError as error:
            raise VprError(
                f'{self.path}: cannot be read any more ({reason_of(error)}); load the map again, '
                'or rebuild it'
            ) from error
        return rows

    def _fill(self, rows: np.ndarray, ids: list[int]) -> None:
        view, size, handle, start = bytes_of(rows), self.row_bytes, self.handle, self.start
        if size >= _AHEAD:  # a disk serves many at once; one after the other they take longer
            for i in ids:
                os.posix_fadvise(handle, start + i * size, size, os.POSIX_FADV_WILLNEED)
        at = 0
        for i in ids:
            row, where = view[at : at + size], start + i * size
            count = os.preadv(handle, [row], where)
            if count != size:
                _read_on(handle, row, where, count)
            at += size

    def check_unchanged(self) -> None:
        """OSError where somebody has written to the file since it was opened."""
        if self._state() != self._before:
            raise OSError(0, 'it has been changed')

    def _state(self) -> tuple[int, int]:
        about = os.fstat(self.handle)
        return about.st_size, about.st_mtime_ns


def bytes_of(array: np.ndarray) -> memoryview:
    """The bytes of an array in C order, to be filled."""
    return memoryview(array.reshape(-1).view(np.uint8))


def read_exactly(handle: int, into: np.ndarray, start: int) -> None:
    """Fill an array from byte `start` of a file on; OSError where the file ends before."""
    view = bytes_of(into)
    if len(view):
        _read_on(handle, view, start, os.preadv(handle, [view], start))


def _read_on(handle: int, view: memoryview, start: int, done: int) -> None:
    """Go on where a read has given only the first `done` bytes, at least one."""
    count = done
    while done < len(view):
        if not count:
            raise OSError(0, 'it is cut off')
        count = os.preadv(handle, [view[done:]], start + done)
        done += count


def check_npy(
    file: RowFile,
    what: str,
    sha256: str,
    first_bad: Callable[[np.ndarray], int | None],
    unsound: str,
) -> None:
    """Check all of a file of numpy, a block at a time; VprError where it is not as map.yaml says.

    `what`: its rows, for the user; `first_bad`: the first of rows (k, *shape) that is not sound;
    `unsound`: what is said of one, with {} for its number.
    """
    try:
        why = _fault(file, what, sha256, first_bad, unsound)
        file.check_unchanged()
    except OSError as error:
        raise unreadable(file.path, error) from error
    if why:
        raise VprError(f'{file.path}: {why}; rebuild the map')


def unreadable(path: Path, error: OSError) -> VprError:
    """What the user is told of a file of a map that cannot be read."""
    return VprError(f'{path}: cannot be read ({reason_of(error)}); rebuild the map')


def _fault(
    file: RowFile,
    what: str,
    sha256: str,
    first_bad: Callable[[np.ndarray], int | None],
    unsound: str,
) -> str:
    found, wanted = os.fstat(file.handle).st_size, HEADER_BYTES + len(file) * file.row_bytes
    if found != wanted:
        return (
            f'has {found} bytes, but {what}, as map.yaml has them, take {wanted}: it is cut off, '
            'or of another map'
        )
    header, bad = np.empty(HEADER_BYTES, np.int8), []
    read_exactly(file.handle, header, 0)
    if sha256_of_parts(chain([header], _parts(file, first_bad, bad))) != sha256:
        return 'is damaged, its checksum differs from map.yaml'
    if header.tobytes() != npy_header(file.kind.str, (len(file), *file.shape)):
        return f'is not an {file.kind} array of {what}'
    return unsound.format(bad[0]) if bad else ''


def _parts(
    file: RowFile, first_bad: Callable[[np.ndarray], int | None], unsound: list[int]
) -> Iterator[np.ndarray]:
    """All rows in order, a block at a time, in one array that each block fills anew.

    The first row of a block that is not sound is added to `unsound`: another thread looks for it
    while the block is in use here. OSError.
    """
    block = np.empty((max(1, _BLOCK // file.row_bytes), *file.shape), file.kind)
    with ThreadPoolExecutor(1) as helper:
        for first in range(0, len(file), len(block)):
            part = block[: len(file) - first]
            read_exactly(file.handle, part, HEADER_BYTES + first * file.row_bytes)
            looking = helper.submit(first_bad, part)
            yield part
            bad = looking.result()
            if bad is not None:
                unsound.append(first + bad)

# SPDX-License-Identifier: Apache-2.0
"""Rows of a large array in a file, of which only what is asked for is read.

The file is read by position. If it were mapped into memory, a map that somebody truncates would
kill the process, and every page that was ever read would count as its memory.
"""

from __future__ import annotations

import contextlib
import os
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path

import numpy as np

from ashtkd_ros.errors import VprError
from ashtkd_ros.files.checksums import sha256_begun
from ashtkd_ros.text import reason_of

_BLOCK = 2**19  # bytes that are checked at a time, or one row if that has more


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

    def expect(self, ids: np.ndarray) -> None:
        """Ask the disk for rows that are read next: it serves many at once sooner than in turn."""
        with contextlib.suppress(OSError):  # who reads them is told
            for start in (self.start + ids * self.row_bytes).tolist():
                os.posix_fadvise(self.handle, start, self.row_bytes, os.POSIX_FADV_WILLNEED)

    def rows(self, ids: np.ndarray) -> np.ndarray:
        """The rows of K ids, each from 0 to len - 1: an array (K, *shape) of the caller's own.

        VprError where they cannot be read, and where the file has changed since it was opened.
        """
        if not len(ids):
            return np.empty((0, *self.shape), self.kind)
        try:
            data = self._read(ids)
            self.check_unchanged()
        except OSError as error:
            raise VprError(
                f'{self.path}: cannot be read any more ({reason_of(error)}); load the map again, '
                'or rebuild it'
            ) from error
        return np.frombuffer(data, self.kind).reshape(len(ids), *self.shape)

    def _read(self, ids: np.ndarray) -> bytearray:
        """The bytes of at least one row; those that follow each other are read at once."""
        first = np.append(0, np.flatnonzero(ids[1:] != ids[:-1] + 1) + 1)  # of each such run
        sizes = (np.diff(first, append=len(ids)) * self.row_bytes).tolist()
        starts = (self.start + ids[first] * self.row_bytes).tolist()
        data = bytearray().join(map(os.pread, repeat(self.handle), sizes, starts))
        if len(data) != len(ids) * self.row_bytes:  # a read may give less than was asked for
            data, done = bytearray(len(ids) * self.row_bytes), 0
            for start, size in zip(starts, sizes, strict=True):
                read_exactly(self.handle, memoryview(data)[done : done + size], start)
                done += size
        return data

    def check_unchanged(self) -> None:
        """OSError where somebody has written to the file since it was opened."""
        if self._state() != self._before:
            raise OSError(0, 'it has been changed')

    def _state(self) -> tuple[int, int]:
        about = os.fstat(self.handle)
        return about.st_size, about.st_mtime_ns


def read_exactly(handle: int, into: memoryview, start: int) -> None:
    """Fill bytes from byte `start` of a file on; OSError where the file ends before."""
    done = 0
    while done < len(into):
        count = os.preadv(handle, [into[done:]], start + done)
        if not count:
            raise OSError(0, 'it is cut off')
        done += count


@dataclass(frozen=True)
class Expected:
    """What map.yaml says of a file of rows.

    `what`: its rows, for the user; `header`: the bytes before them; `first_bad`: the first of rows
    (k, *shape) that is not sound; `unsound`: what is said of one, with {} for its number.
    """

    what: str
    header: bytes
    sha256: str
    first_bad: Callable[[np.ndarray], int | None]
    unsound: str


def check_rows(
    file: RowFile, expected: Expected, room: Callable[[], np.ndarray] | None = None
) -> np.ndarray | None:
    """Check all of a file, a block at a time; VprError where it is not as expected.

    `room`: makes an array (N, *shape) of the file's kind, if the file has the right size; it is
    filled with all rows and returned.
    """
    rows = None
    try:
        why = _wrong_size(file, expected)
        if not why:
            rows = None if room is None else room()
            why = _fault(file, expected, rows)
        file.check_unchanged()
    except OSError as error:
        raise unreadable(file.path, error) from error
    if why:
        raise VprError(f'{file.path}: {why}; rebuild the map')
    return rows


def unreadable(path: Path, error: OSError) -> VprError:
    """What the user is told of a file of a map that cannot be read."""
    return VprError(f'{path}: cannot be read ({reason_of(error)}); rebuild the map')


def _wrong_size(file: RowFile, expected: Expected) -> str:
    found, wanted = os.fstat(file.handle).st_size, file.start + len(file) * file.row_bytes
    if found == wanted:
        return ''
    return (
        f'has {found} bytes, but {expected.what}, as map.yaml has them, take {wanted}: it is cut '
        'off, or of another map'
    )


def _fault(file: RowFile, expected: Expected, into: np.ndarray | None) -> str:
    header = bytearray(file.start)
    read_exactly(file.handle, memoryview(header), 0)
    digest = sha256_begun(header)
    bad = _check_blocks(file, into, digest.update, expected.first_bad)
    if digest.hexdigest() != expected.sha256:
        return 'is damaged, its checksum differs from map.yaml'
    if header != expected.header:
        return f'is not an {file.kind} array of {expected.what}'
    return '' if bad is None else expected.unsound.format(bad)


def _check_blocks(
    file: RowFile,
    into: np.ndarray | None,
    update: Callable[[memoryview], None],
    first_bad: Callable[[np.ndarray], int | None],
) -> int | None:
    """Read all rows, a block at a time, while two other threads hash and check the one before.

    `into`: an array of all rows that is filled. The first row that is not sound, or None. OSError.
    Only the thread of the caller waits for the disk: the others always end.
    """
    step = max(1, _BLOCK // file.row_bytes)
    spare = np.empty((2, step if into is None else 0, *file.shape), file.kind)
    unsound: list[int] = []
    with ThreadPoolExecutor(2) as helpers:
        hashed = looked = None
        for first in range(0, len(file), step):
            if into is None:
                rows = spare[first // step % 2, : len(file) - first]
            else:
                rows = into[first : first + step]
            view = memoryview(rows.reshape(-1).view(np.uint8))
            read_exactly(file.handle, view, file.start + first * file.row_bytes)
            if hashed is not None:
                hashed.result()
                unsound += looked.result()
            hashed = helpers.submit(update, view)
            looked = helpers.submit(_unsound, first_bad, rows, first)
        unsound += looked.result()
    return unsound[0] if unsound else None


def _unsound(
    first_bad: Callable[[np.ndarray], int | None], rows: np.ndarray, first: int
) -> list[int]:
    """The number of the first row that is not sound, if there is one; `first`: of the rows."""
    bad = first_bad(rows)
    return [] if bad is None else [first + bad]

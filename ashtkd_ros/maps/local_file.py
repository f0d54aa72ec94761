# SPDX-License-Identifier: Apache-2.0
"""local.npy of a map: the local features of its places, of which only what is asked for is read.

An array of int8 (N, P, L) as numpy stores it, behind a header that has always the same length.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ashtkd_ros.errors import VprError
from ashtkd_ros.files.npy import HEADER_BYTES, npy_header
from ashtkd_ros.files.reading import open_regular
from ashtkd_ros.maps.row_file import Expected, RowFile, check_rows, unreadable
from ashtkd_ros.network.local_features import LocalShape, first_not_unit_int8

LOCAL_FILE = 'local.npy'
_BLOCK = 2**18  # bytes that are read at a time, or one place if that has more


class LocalFeatures:
    """Local features of N places in memory, int8 (N, P, L): rows of length 1 times 127, rounded.

    `shape`: of one place's features.
    """

    def __init__(self, array: np.ndarray, shape: LocalShape):
        self.shape, self._array = shape, array

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the P positions, which are in row-major order."""
        return self.shape.grid

    @property
    def channels(self) -> int:
        """Numbers L of each position."""
        return self.shape.channels

    def __len__(self) -> int:
        return len(self._array)

    def rows(self, ids: Sequence[int] | np.ndarray) -> np.ndarray:
        """The features of K places by their ids, int8 (K, P, L), an array of the caller's own.

        VprError for an id that the map does not have, and where they cannot be read.
        """
        return self._array[self._checked(ids)]

    def parts(self, ids: Sequence[int] | np.ndarray, size: int) -> Iterator[np.ndarray]:
        """What `rows` gives, `size` places at a time; the disk reads the others meanwhile.

        The first ones are asked for alone: a virtual disk may only answer when it has read all
        that it was asked for.
        """
        wanted = self._checked(ids)
        self.expect(wanted[:size])
        for start in range(0, len(wanted), size):
            rows = self.rows(wanted[start : start + size])
            if not start:
                self.expect(wanted[size:])
            yield rows

    def blocks(self) -> Iterator[np.ndarray]:
        """All features in order, int8 (k, P, L) with as many places as fit the memory well."""
        step = max(1, _BLOCK // self.shape.size)
        for start in range(0, len(self), step):
            yield self.rows(range(start, min(start + step, len(self))))

    def expect(self, ids: np.ndarray) -> None:
        """These rows, int64 (K,), are read next: a disk may begin; nobody waits for it."""

    def _checked(self, ids: Sequence[int] | np.ndarray) -> np.ndarray:
        places = np.asarray(ids, np.int64).reshape(-1)
        if len(places) and not (places.min() >= 0 and places.max() < len(self)):
            raise VprError(f'place {places.tolist()} is not among the {len(self)} of the map')
        return places


class LocalFile(LocalFeatures):
    """Local features in a file that stays open: int8 (N, P, L) in C order from byte `start` on.

    `handle`: an open descriptor of the file, which is closed with this object. Threads may share
    it, see `RowFile`.
    """

    def __init__(self, path: Path, handle: int, count: int, shape: LocalShape, start: int = 0):
        self.shape = shape
        sizes = (shape.positions, shape.channels)
        self.file = RowFile(path, handle, count, sizes, '|i1', start)

    @property
    def path(self) -> Path:
        """Where the file was when it was opened."""
        return self.file.path

    def __len__(self) -> int:
        return len(self.file)

    def rows(self, ids: Sequence[int] | np.ndarray) -> np.ndarray:
        """As in memory; also VprError where the file has changed since it was opened."""
        return self.file.rows(self._checked(ids))

    def expect(self, ids: np.ndarray) -> None:
        """See LocalFeatures."""
        self.file.expect(ids)


def local_header(count: int, shape: LocalShape) -> bytes:
    """The bytes before the numbers of `count` places."""
    return npy_header('|i1', (count, shape.positions, shape.channels))


def write_local(path: Path, local: LocalFeatures) -> None:
    """Write local.npy, a block at a time. OSError; VprError where `local` cannot be read."""
    with path.open('wb') as file:
        file.write(local_header(len(local), local.shape))
        for block in local.blocks():
            file.write(block)


def open_local(
    folder: Path, folder_handle: int, count: int, shape: LocalShape, sha256: str
) -> LocalFile:
    """local.npy of an open folder, once all of it is checked, a block at a time.

    `count`, `shape` and `sha256`: what map.yaml says. VprError where the file says anything else.
    """
    path = folder / LOCAL_FILE
    try:
        handle = open_regular(LOCAL_FILE, dir_fd=folder_handle)
    except OSError as error:
        raise unreadable(path, error) from error
    local = LocalFile(path, handle, count, shape, HEADER_BYTES)

    def first_bad(part: np.ndarray) -> int | None:
        bad = first_not_unit_int8(part.reshape(-1, shape.channels))
        return None if bad is None else bad // shape.positions

    unsound = 'has features of place {} that are not of length 1'
    what, header = f'{count} places of {shape} numbers', local_header(count, shape)
    check_rows(local.file, Expected(what, header, sha256, first_bad, unsound))
    local.file.expect_random()
    return local

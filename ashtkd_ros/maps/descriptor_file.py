# SPDX-License-Identifier: Apache-2.0
"""descriptors.npy of a map with a compressed index: the descriptors themselves, on the disk.

An array of float16 (N, D) as numpy stores it, behind a header that has always the same length. By
float16 a similarity changes by less than 2^-11, 0.0005.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import faiss
import numpy as np

from ashtkd_ros.files.npy import HEADER_BYTES, npy_header
from ashtkd_ros.files.reading import memory_pages, open_regular
from ashtkd_ros.maps.index_kinds import viewed
from ashtkd_ros.maps.row_file import Expected, RowFile, check_rows, unreadable
from ashtkd_ros.network.descriptors import first_not_unit

DESCRIPTORS = 'descriptors.npy'
_KIND = '<f2'
_MANY = 2**16  # numbers
_BEFORE = 128  # bytes of memory before descriptors that are held, with what FAISS has there


class ArrayRows:
    """Descriptors float32 (N, D) in memory or mapped, given as the file will have them."""

    def __init__(self, array: np.ndarray):
        self._array = array

    def __len__(self) -> int:
        return len(self._array)

    def rows(self, ids: np.ndarray) -> np.ndarray:
        """int64 (K,) → float16 (K, D)."""
        return self._array[ids].astype(_KIND)


class HeldRows:
    """Descriptors float16 (N, D) in memory, where FAISS compares them as well."""

    def __init__(self, count: int, size: int):
        head = _head_of_halves(count, size)
        self._pages = memory_pages(_BEFORE + 2 * count * size)
        self._pages[_BEFORE - len(head) : _BEFORE] = head
        self._bytes = np.frombuffer(self._pages, np.uint8)[_BEFORE - len(head) :]
        self.array = self._bytes[len(head) :].view(_KIND).reshape(count, size)

    def __len__(self) -> int:
        return len(self.array)

    def rows(self, ids: np.ndarray) -> np.ndarray:
        """int64 (K,) → float16 (K, D)."""
        return self.array[ids]

    def halves(self) -> faiss.Index:
        """An index that compares them where they are; this object must live as long."""
        return viewed(self._bytes)


def as_float32(rows: np.ndarray) -> np.ndarray:
    """float16 as float32, the same numbers: many are looked up, in half the time numpy takes."""
    if rows.size < _MANY:  # the table is not in the processor's cache
        return rows.astype(np.float32)
    return _numbers().take(rows.view(np.uint16))


def halves_of(rows: np.ndarray) -> faiss.IndexScalarQuantizer:
    """float32 (N, D) as float16, for FAISS to compare."""
    index = _halves(rows.shape[1])
    index.add(rows)
    return index


def best_of_halves(rows: np.ndarray, query: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Similarities float32 (k,) of the `k` best of float16 (N, D), and where they are, int64 (k,).

    FAISS compares float16 in a tenth of the time that numpy takes to make them float32.
    """
    index = _halves(rows.shape[1])
    faiss.copy_array_to_vector(rows.view(np.uint8).reshape(-1), index.codes)
    index.ntotal = len(rows)
    similarities, at = index.search(query[None], k)
    return similarities[0], at[0]


def _halves(size: int) -> faiss.IndexScalarQuantizer:
    return faiss.IndexScalarQuantizer(
        size, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
    )


def _head_of_halves(count: int, size: int) -> bytes:
    """What FAISS writes before the numbers of an index of `count` rows as float16."""
    empty = faiss.serialize_index(_halves(size)).tobytes()
    rows, numbers = struct.pack('<q', count), struct.pack('<Q', 2 * count * size)
    return empty[:8] + rows + empty[16:-8] + numbers  # instead of the zeros of an empty one


@cache
def _numbers() -> np.ndarray:
    """float32 (65536,): the number that the bits of each float16 stand for."""
    return np.arange(2**16, dtype=np.uint16).view(np.float16).astype(np.float32)


def header_of(count: int, size: int) -> bytes:
    """The bytes before the numbers of `count` descriptors of `size` numbers."""
    return npy_header(_KIND, (count, size))


def write_descriptors(path: Path, count: int, size: int, blocks: Iterator[np.ndarray]) -> None:
    """Write descriptors.npy of `count` rows, a block at a time. OSError, VprError of `blocks`."""
    with path.open('wb') as file:
        file.write(header_of(count, size))
        for block in blocks:
            file.write(block.astype(_KIND).tobytes())


def open_descriptors(
    folder: Path, folder_handle: int, count: int, size: int, sha256: str, keep: bool = False
) -> RowFile | HeldRows:
    """descriptors.npy of an open folder, once all of it is checked, a block at a time.

    `count`, `size` and `sha256`: what map.yaml says; `keep`: hold all of it in memory. VprError
    where the file says anything else.
    """
    path = folder / DESCRIPTORS
    try:
        handle = open_regular(DESCRIPTORS, dir_fd=folder_handle)
    except OSError as error:
        raise unreadable(path, error) from error
    file = RowFile(path, handle, count, (size,), _KIND, HEADER_BYTES)
    expected = Expected(
        f'{count} descriptors of {size} numbers',
        header_of(count, size),
        sha256,
        lambda rows: first_not_unit(as_float32(rows)),
        'has in row {} a descriptor that is not of length 1',
    )
    if not keep:
        check_rows(file, expected)
        return file
    held: list[HeldRows] = []

    def room() -> np.ndarray:
        held.append(HeldRows(count, size))
        return held[0].array

    check_rows(file, expected, room)
    return held[0]

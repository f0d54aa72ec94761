# SPDX-License-Identifier: Apache-2.0
"""The files of a map's descriptors: index.faiss, and descriptors.npy beside a compressed one."""

from __future__ import annotations

import struct
from pathlib import Path

import faiss
import numpy as np

from ashtkd_ros.errors import VprError
from ashtkd_ros.files.reading import open_regular
from ashtkd_ros.maps.description import Description
from ashtkd_ros.maps.descriptor_file import (
    DESCRIPTORS,
    ArrayRows,
    as_float32,
    open_descriptors,
    write_descriptors,
)
from ashtkd_ros.maps.descriptor_index import CompressedIndex, DescriptorIndex, FlatIndex
from ashtkd_ros.maps.folder import INDEX
from ashtkd_ros.maps.index_choice import IndexOptions, choose
from ashtkd_ros.maps.index_kinds import (
    FLAT,
    FLOAT16,
    SAMPLE,
    estimated_bytes,
    make,
    turned_size,
    turning,
)
from ashtkd_ros.maps.index_layout import check_layout
from ashtkd_ros.maps.index_note import IndexNote
from ashtkd_ros.maps.index_recall import fit_shortlist
from ashtkd_ros.maps.map_files import read_checked_pages
from ashtkd_ros.maps.row_file import Expected, RowFile, check_rows, unreadable
from ashtkd_ros.network.descriptors import first_not_unit
from ashtkd_ros.sampling import thin

# Of a flat index as FAISS writes it: kind, dimensions, places, two unused numbers, whether it is
# trained, metric, count of numbers that follow
_HEADER = struct.Struct('<4siqqqBiQ')
_BUILD_BLOCK = 16_384  # descriptors that are indexed at a time
_GENEROUS, _SMALL = 1.25, 2**17  # an index file may be larger than estimated, times and bytes


def build_index(rows: np.ndarray, options: IndexOptions | None = None) -> DescriptorIndex:
    """An index of float32 (N, D) descriptors of length 1; flat without `options`.

    A compressed one keeps `rows`, which may be mapped, until the map is loaded again. VprError
    where the options ask for what is not possible.
    """
    count, size = rows.shape
    kind, why = (FLAT, '') if options is None else choose(count, size, options)
    if kind == FLAT:
        array = np.array(rows, np.float32, order='C')
        return FlatIndex(array, None if options is None else IndexNote(why))
    exact, turn = ArrayRows(rows), turning(size)

    def turned(ids: np.ndarray) -> np.ndarray:
        found = as_float32(exact.rows(ids))
        bad = first_not_unit(found)
        if bad is not None:
            raise VprError(
                f'the descriptor of place {ids[bad]} is not of length 1 as float16, so no map can '
                'be made; export the network with tools.training.export'
            )
        return found @ turn

    blocks = (
        turned(np.arange(first, min(first + _BUILD_BLOCK, count)))
        for first in range(0, count, _BUILD_BLOCK)
    )
    data = make(kind, turned_size(size), turned(thin(count, SAMPLE)), blocks)
    check_layout(kind, data, count, turned_size(size))
    index = CompressedIndex(kind, data, exact, size, IndexNote(why, shortlist=1))
    fit_shortlist(index, why)
    return index


def write_index(folder: Path, index: DescriptorIndex) -> list[str]:
    """Write the files of an index; their names. OSError, and RuntimeError of FAISS."""
    # FAISS itself could not write to paths that are not UTF-8.
    if isinstance(index, FlatIndex):
        with (folder / INDEX).open('wb') as file:
            file.write(flat_header(len(index), index.d))
            file.write(index.array)
        return [INDEX]
    (folder / INDEX).write_bytes(index.data())
    write_descriptors(folder / DESCRIPTORS, len(index), index.d, index.blocks())
    return [INDEX, DESCRIPTORS]


def read_index(folder: Path, handle: int, description: Description) -> DescriptorIndex:
    """The index in an open folder, checked; VprError names the file that is not sound."""
    count, size = description.places, description.descriptor_size
    kind, note = description.index
    if kind == FLAT:
        sha256 = description.sha256.get(INDEX, '')
        return FlatIndex(_read_flat(folder / INDEX, handle, count, size, sha256), note)
    limit = int(_GENEROUS * estimated_bytes(kind, count, size)) + _SMALL
    data = read_checked_pages(folder, handle, INDEX, description, limit)
    try:
        codes = check_layout(kind, data, count, turned_size(size))
    except ValueError as error:
        raise VprError(
            f'{folder / INDEX}: is not an index of kind {kind} of {count} places, as map.yaml '
            f'says: {error}; rebuild the map'
        ) from error
    sha256 = description.sha256[DESCRIPTORS]
    exact = open_descriptors(folder, handle, count, size, sha256, keep=kind == FLOAT16)
    return CompressedIndex(kind, data, exact, size, note, codes)


def flat_header(count: int, size: int) -> bytes:
    """The bytes before the numbers of a flat index of `count` descriptors of `size` numbers."""
    metric, unused = faiss.METRIC_INNER_PRODUCT, 2**20
    return _HEADER.pack(b'IxFI', size, count, unused, unused, 1, metric, count * size)


def _read_flat(path: Path, folder_handle: int, count: int, size: int, sha256: str) -> np.ndarray:
    """The descriptors in a flat index, float32 (count, size); VprError where it is not sound."""
    try:
        handle = open_regular(INDEX, dir_fd=folder_handle)
    except OSError as error:
        raise unreadable(path, error) from error
    header = flat_header(count, size)
    file = RowFile(path, handle, count, (size,), '<f4', len(header))
    expected = Expected(
        f'{count} descriptors of {size} numbers',
        header,
        sha256,
        first_not_unit,
        'has in row {} a descriptor that is not of length 1',
    )
    return check_rows(file, expected, lambda: np.empty((count, size), '<f4'))

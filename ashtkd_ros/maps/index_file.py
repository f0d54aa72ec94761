# SPDX-License-Identifier: Apache-2.0
"""index.faiss of a map: its descriptors, as FAISS stores a flat index of inner products."""

from __future__ import annotations

import struct
from pathlib import Path

import faiss
import numpy as np

from ashtkd_ros.errors import VprError
from ashtkd_ros.network.descriptors import first_not_unit

# kind, dimensions, places, two unused numbers, trained, metric, count of numbers that follow
_HEADER = struct.Struct('<4siqqqBiQ')


def write_index(index: faiss.IndexFlatIP) -> bytes:
    """The bytes of index.faiss."""
    return faiss.serialize_index(index).tobytes()


def index_size(places: int, dimensions: int) -> int:
    """How many bytes index.faiss has."""
    return _HEADER.size + 4 * places * dimensions


def read_index(path: Path, data: bytes, dimensions: int) -> faiss.IndexFlatIP:
    """The index in `data`; VprError that names `path` where it is not one of `dimensions` numbers.

    All bytes are checked before FAISS sees them.
    """
    try:
        kind, d, count, _, _, trained, metric, numbers = _HEADER.unpack_from(data)
    except struct.error as error:
        raise VprError(f'{path}: is not an index; rebuild the map') from error
    if kind != b'IxFI' or metric != faiss.METRIC_INNER_PRODUCT or trained != 1:
        raise VprError(f'{path}: is not an inner-product index; rebuild the map')
    if not (d == dimensions and count > 0 and numbers == d * count):
        raise VprError(
            f'{path}: has {count} rows of {d} numbers, but map.yaml says {dimensions} numbers; '
            'rebuild the map'
        )
    if len(data) != index_size(count, d):
        raise VprError(f'{path}: is not an index, its length is wrong; rebuild the map')
    rows = np.frombuffer(data, '<f4', offset=_HEADER.size).reshape(count, d)
    bad = first_not_unit(rows)
    if bad is not None:
        raise VprError(f'{path}: the descriptor in row {bad} is not of length 1; rebuild the map')
    return faiss.deserialize_index(np.frombuffer(data, np.uint8))

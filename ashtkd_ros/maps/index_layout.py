# SPDX-License-Identifier: Apache-2.0
"""The bytes of FAISS indexes, checked number by number before FAISS sees them.

FAISS believes what it reads: a wrong size or link would end the process at a later search. So each
kind of index that a map may hold has its layout here; whatever differs from it is refused.
"""

from __future__ import annotations

import mmap
import struct

import faiss
import numpy as np

_IP, _L2 = faiss.METRIC_INNER_PRODUCT, faiss.METRIC_L2
_LARGEST = 1e4  # of the numbers that stand for descriptors, whose own are at most 1
_MOST_LEVELS = 30  # of a graph

SUBSPACES, BITS = 64, 4  # of a product quantizer: at most so many parts, of so many bits
FINE_BITS = 8  # of the parts of a finer one
_FINE = 8  # numbers that are a part of it
LINKS = 16  # of a node of a graph, twice as many on the ground level
_BLOCK = 32  # codes that FAISS compares at a time
_CODES = b'IPfs'  # what an index of product codes begins with


class _Reader:
    """Takes what a layout names from the front of bytes; ValueError where they differ."""

    def __init__(self, data: bytes | mmap.mmap):
        self._data, self.at = data, 0

    def take(self, layout: str) -> tuple:
        """Numbers of a `struct` layout."""
        fields = struct.Struct(f'<{layout}')
        if self.at + fields.size > len(self._data):
            raise ValueError('it is cut off')
        values = fields.unpack_from(self._data, self.at)
        self.at += fields.size
        return values

    def expect(self, layout: str, *values: object) -> None:
        """Numbers that must be these."""
        if self.take(layout) != values:
            raise ValueError('it is of another kind or size')

    def array(self, kind: str, count: int) -> np.ndarray:
        """An array of `count` numbers, behind its length."""
        self.expect('Q', count)
        size = np.dtype(kind).itemsize * count
        if self.at + size > len(self._data):
            raise ValueError('it is cut off')
        found = np.frombuffer(self._data, kind, count, self.at)
        self.at += size
        return found

    def floats(self, count: int) -> None:
        """An array of `count` sensible float32."""
        numbers = self.array('<f4', count)
        if not (np.abs(numbers) <= _LARGEST).all():  # NaN as well
            raise ValueError('it has numbers that are not finite or too large')

    def header(self, fourcc: bytes, count: int, size: int, metric: int = _IP) -> None:
        """What all indexes of float32 begin with; two of its numbers are unused."""
        self.expect('4siq', fourcc, size, count)
        self.take('qq')
        self.expect('Bi', 1, metric)

    def end(self) -> None:
        """Nothing may follow."""
        if self.at != len(self._data):
            raise ValueError('it is longer than it should be')


def check_layout(kind: str, data: bytes | mmap.mmap, count: int, size: int) -> slice | None:
    """ValueError where `data` is not an index of `kind` with `count` rows of `size` numbers.

    `size`: that of the turned descriptors, see `index_kinds.turning`. Of sq8 and pq it returns
    where the index of product codes lies, behind which the finer ones begin; None of a pq of
    version 0.9.2 or before, which has none.
    """
    reader, codes = _Reader(data), None
    if kind == 'binary':
        reader.expect(
            '4siiqBi', b'IBxF', 8 * bytes_of_bits(size), bytes_of_bits(size), count, 1, _L2
        )
        reader.array('u1', count * bytes_of_bits(size))
    elif kind == 'fp16' or (kind == 'pq' and data[:4] == _CODES):
        _product_codes(reader, count, size)
    elif kind in ('pq', 'sq8'):
        reader.header(b'IxRF', count, size)
        first = reader.at
        _product_codes(reader, count, size)
        codes = slice(first, reader.at)
        (_scalar_codes if kind == 'sq8' else _fine_codes)(reader, count, size)
        if not 1 <= reader.take('f')[0] <= _LARGEST:
            raise ValueError('its shortlist has no sensible length')
    elif kind == 'hnsw':
        reader.header(b'IHNs', count, size)
        _graph(reader, count)
        _scalar_codes(reader, count, size)
    else:
        raise ValueError(f'{kind} is no kind of index')
    reader.end()
    return codes


def bytes_of_bits(size: int) -> int:
    """Bytes that hold `size` bits."""
    return -(-size // 8)


def parts_of(size: int) -> int:
    """Parts that a product quantizer makes of descriptors of `size` numbers."""
    return min(SUBSPACES, size)


def fine_parts_of(size: int) -> int:
    """Parts of the finer product quantizer of such descriptors, a byte each."""
    return size // _FINE if size % _FINE == 0 else size


def _fine_codes(reader: _Reader, count: int, size: int) -> None:
    parts = fine_parts_of(size)
    reader.header(b'IxPq', count, size)
    reader.expect('QQQ', size, parts, FINE_BITS)
    reader.floats(2**FINE_BITS * size)
    reader.array('u1', count * parts)
    reader.expect('iB', 0, 0)  # all of them are compared, as they are
    reader.take('i')  # of no use to that


def _product_codes(reader: _Reader, count: int, size: int) -> None:
    parts = parts_of(size)
    reader.header(_CODES, count, size)
    reader.expect('QQQ', size, parts, BITS)
    reader.floats(2**BITS * size)
    reader.expect('iii', 0, _BLOCK, 0)
    rows, even = -(-count // _BLOCK) * _BLOCK, parts + parts % 2
    reader.expect('QQ', rows, even)
    reader.array('u1', rows * even // 2)


def _scalar_codes(reader: _Reader, count: int, size: int) -> None:
    reader.header(b'IxSQ', count, size)
    reader.expect('i', faiss.ScalarQuantizer.QT_8bit)
    reader.take('if')  # how it was trained, which does not matter any more
    reader.expect('QQ', size, size)
    reader.floats(2 * size)
    reader.array('u1', count * size)


def _graph(reader: _Reader, count: int) -> None:
    """A graph whose links all lead to nodes that are there, on the level of the link."""
    fresh = faiss.HNSW(LINKS)
    chances = faiss.vector_to_array(fresh.assign_probas)
    ends = faiss.vector_to_array(fresh.cum_nneighbor_per_level)
    if reader.array('<f8', len(chances)).tobytes() != chances.astype('<f8').tobytes():
        raise ValueError('its graph is of another kind')
    if reader.array('<i4', len(ends)).tolist() != ends.tolist():
        raise ValueError('its graph is of another kind')
    levels = reader.array('<i4', count)
    most = int(levels.max())
    if not (levels.min() >= 1 and most < min(len(ends), _MOST_LEVELS)):
        raise ValueError('its graph has levels that cannot be')
    offsets = reader.array('<u8', count + 1)
    if not np.array_equal(offsets, np.append(0, np.cumsum(ends[levels].astype(np.uint64)))):
        raise ValueError('its graph has links out of place')
    links = reader.array('<i4', int(offsets[-1]))
    entry, top = reader.take('ii')
    if not (top == most - 1 and 0 <= entry < count and levels[entry] == most):
        raise ValueError('its graph has no way in')
    if not all(1 <= n <= 2**24 for n in reader.take('ii')):  # efConstruction, efSearch
        raise ValueError('its graph is searched to no sensible depth')
    reader.take('i')  # unused since long ago
    _check_links(links, levels, offsets[:-1].astype(np.int64), ends)


def _check_links(
    links: np.ndarray, levels: np.ndarray, offsets: np.ndarray, ends: np.ndarray
) -> None:
    if not (links.min() >= -1 and links.max() < len(levels)):
        raise ValueError('its graph has links that lead nowhere')
    for level in range(1, int(levels.max())):
        nodes = offsets[levels > level]
        linked = links[nodes[:, None] + np.arange(ends[level], ends[level + 1])]
        if (levels[linked[linked >= 0]] <= level).any():
            raise ValueError('its graph has links that lead off their level')

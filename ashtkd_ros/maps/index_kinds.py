# SPDX-License-Identifier: Apache-2.0
"""The kinds of compressed indexes: how each is made, how large it is, how it is asked.

All kinds see descriptors turned by one fixed rotation, which spreads what they tell evenly over
the numbers; inner products stay as they are.
"""

from __future__ import annotations

import contextlib
import mmap
from collections.abc import Iterable
from functools import cache

import faiss
import numpy as np

from ashtkd_ros.maps.index_layout import (
    BITS,
    FINE_BITS,
    LINKS,
    SUBSPACES,
    bytes_of_bits,
    fine_parts_of,
    parts_of,
)
from ashtkd_ros.maps.large_pages import hold_in_large_pages

FLAT = 'flat'
FLOAT16 = 'fp16'
COMPRESSED = (FLOAT16, 'sq8', 'pq', 'hnsw', 'binary')
KINDS = (FLAT, *COMPRESSED)
SAMPLE = 65_536  # rows that an index is trained with, at most
RESCORED = 80  # candidates that SQ8 and PQ leave, of which the descriptors are read, at least
FEW, BY_SIGNS = 128, 4096  # of more than FEW candidates the binary kind first looks at so many
COPIED = 2**24, 2**27  # bytes of a flat index that has a copy as float16, from and to
_TRAINING_ROWS = 2**BITS * 39  # so many rows FAISS wants, at least
_FINE_ROWS = 64  # rows for each centre of the finer product quantizer: with fewer it takes longer
VIEWS = hasattr(faiss, 'ZeroCopyIOReader')  # since FAISS 1.11
_BUILD_DEPTH = 80  # nodes of a graph that are looked at for the links of a new one
_GRAPH_BYTES = 8 + 4 + 4 * LINKS * (2 + 1 / (LINKS - 1))  # of a node: links, offset, level


def turned_size(size: int) -> int:
    """How many numbers turned descriptors of `size` have: such that all parts have as many."""
    parts = min(SUBSPACES, size)
    return parts * -(-size // parts)


@cache
def turning(size: int) -> np.ndarray:
    """Orthonormal rows, float32 (size, turned size): the same ones for ever, on all machines.

    All maps share one array, which cannot be written to.

    The numbers of RandomState never change, and a QR decomposition with a positive diagonal is
    unique.
    """
    wide = turned_size(size)
    q, r = np.linalg.qr(np.random.RandomState(0).standard_normal((wide, wide)))
    turn = np.ascontiguousarray((q * np.sign(np.diag(r)))[:size], np.float32)
    turn.flags.writeable = False
    return turn


def estimated_bytes(kind: str, count: int, size: int) -> int:
    """Memory of an index for `count` places with descriptors of `size` numbers, nearly."""
    wide, floats = turned_size(size), 4 * size
    coded, turn = -(-parts_of(wide) // 2), floats * wide
    copied = COPIED[0] <= floats * count <= COPIED[1]
    a_place = {
        FLAT: floats + 2 * size * copied,
        FLOAT16: coded + 2 * size,
        'pq': coded + fine_parts_of(wide),
        'sq8': coded + wide,
        'hnsw': wide + _GRAPH_BYTES,
        'binary': bytes_of_bits(wide),
    }
    extra = {FLAT: 0, 'binary': turn}.get(kind, turn + 4 * (2**BITS + 2) * wide)
    extra += 4 * 2**FINE_BITS * wide * (kind == 'pq')
    return int(a_place[kind] * count + extra)


def make(kind: str, size: int, sample: np.ndarray, blocks: Iterable[np.ndarray]) -> bytes:
    """The bytes of a compressed index; the same rows give the same bytes.

    `size`: of turned descriptors; `sample`: some of them, float32 (S, size), to be trained with;
    `blocks`: all of them in order, float32 (k, size) each.
    """
    with OneThread():
        if kind == 'binary':
            bits = faiss.IndexBinaryFlat(8 * bytes_of_bits(size))
            for block in blocks:
                bits.add(signs(block))
            return serialized(kind, bits)
        index, parts = _empty(kind, size)
        least = 2**FINE_BITS * _FINE_ROWS if kind == 'pq' else _TRAINING_ROWS
        index.train(np.resize(sample, (max(len(sample), least), size)))
        for block in blocks:
            index.add(block)
        del parts
        return serialized(kind, index)


def _empty(kind: str, size: int) -> tuple[faiss.Index, list[faiss.Index]]:
    """An index without rows, and its parts, which must live as long."""
    metric, bits8 = faiss.METRIC_INNER_PRODUCT, faiss.ScalarQuantizer.QT_8bit
    if kind == 'hnsw':
        graph = faiss.IndexHNSWSQ(size, bits8, LINKS, metric)
        graph.hnsw.efConstruction = _BUILD_DEPTH
        return graph, []
    codes = faiss.IndexPQFastScan(size, parts_of(size), BITS, metric)
    if kind == FLOAT16:
        return codes, []
    if kind == 'pq':
        refined = faiss.IndexPQ(size, fine_parts_of(size), FINE_BITS, metric)
        refined.pq.cp.max_points_per_centroid = _FINE_ROWS
    else:
        refined = faiss.IndexScalarQuantizer(size, bits8, metric)
    return faiss.IndexRefine(codes, refined), [codes, refined]


def serialized(kind: str, index: faiss.Index | faiss.IndexBinary) -> bytes:
    """The bytes of an index."""
    write = faiss.serialize_index_binary if kind == 'binary' else faiss.serialize_index
    return write(index).tobytes()


def opened(
    kind: str, data: bytes | mmap.mmap, codes: slice | None
) -> tuple[faiss.Index | faiss.IndexBinary, tuple]:
    """The index in bytes that `check_layout` has passed, and what must live as long.

    `codes`: what that returned, where the bytes are pages that this index may keep and give back:
    so one of two levels never takes its memory more than once. Else None.
    """
    array = np.frombuffer(data, np.uint8)
    if codes is not None and VIEWS:
        return _viewed(data, array, codes)
    if kind == 'binary':
        bits = faiss.deserialize_index_binary(array)
        bits.use_heap = False  # counts distances: of 4096 candidates that takes half as long
        hold_in_large_pages(bits)
        return bits, ()
    index = faiss.deserialize_index(array)
    hold_in_large_pages(index)
    return index, ()


def _viewed(pages: mmap.mmap, array: np.ndarray, codes: slice) -> tuple[faiss.IndexRefine, tuple]:
    """An index of two levels whose finer numbers stay where they were read; the rest is copied."""
    product = faiss.deserialize_index(array[codes])
    hold_in_large_pages(product)
    finer = viewed(array[codes.stop :])
    pages.madvise(mmap.MADV_DONTNEED, 0, codes.stop // mmap.PAGESIZE * mmap.PAGESIZE)
    return faiss.IndexRefine(product, finer), (product, finer, array)


def viewed(data: np.ndarray) -> faiss.Index:
    """The index in uint8 bytes that it reads where they are; they must live as long."""
    return faiss.read_index(faiss.ZeroCopyIOReader(faiss.swig_ptr(data), len(data)))


def set_shortlist(kind: str, index: faiss.Index, length: int) -> None:
    """Let an index look at `length` candidates, or more where more are asked for."""
    if kind == 'hnsw':
        index.hnsw.efSearch = length
    elif isinstance(index, faiss.IndexRefine):
        index.k_factor = max(1.0, length / RESCORED)


def candidates(kind: str, index: faiss.Index, turned: np.ndarray, count: int) -> np.ndarray:
    """int64 (B, count): rows that may be the most similar ones; -1 where there are no more."""
    if kind != 'binary':
        return index.search(turned, count)[1]
    most = count if count <= FEW else min(max(count, BY_SIGNS), index.ntotal)
    found = index.search(signs(turned), most)[1]
    if most > count:
        pairs = zip(turned, found, strict=True)
        with OneThread():
            found = np.stack([_likeliest(index, *pair, count) for pair in pairs])
    return found


def _likeliest(
    index: faiss.IndexBinaryFlat, turned: np.ndarray, ids: np.ndarray, count: int
) -> np.ndarray:
    """The `count` of these rows whose signs have the largest inner product with the numbers."""
    width = index.code_size
    codes = faiss.rev_swig_ptr(index.xb.data(), index.ntotal * width).reshape(-1, width)
    # a byte of eight signs as the code of a product quantizer, which FAISS compares quickest
    quantizer = faiss.IndexPQ(8 * width, width, 8, faiss.METRIC_INNER_PRODUCT)
    faiss.copy_array_to_vector(_bits(width), quantizer.pq.centroids)
    faiss.copy_array_to_vector(codes[ids].ravel(), quantizer.codes)
    quantizer.is_trained, quantizer.ntotal = True, len(ids)
    numbers = np.pad(turned, (0, 8 * width - len(turned)))
    return ids[quantizer.search(numbers[None], count)[1][0]]


@cache
def _bits(width: int) -> np.ndarray:
    """float32 (width * 256 * 8,): for each of `width` bytes the bits of each value."""
    bits = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1)
    return np.tile(bits.astype(np.float32).ravel(), width)


def signs(rows: np.ndarray) -> np.ndarray:
    """float32 (N, D) → uint8 (N, D / 8, rounded up): a bit a number, 1 where it is positive."""
    return np.packbits(rows > 0, axis=1)


class OneThread:
    """FAISS works in one thread, for this thread of ours alone: OpenMP keeps the number by thread.

    More threads would wait for each other, and take CPU meanwhile, longer than the work takes.
    """

    def __enter__(self) -> None:
        self._before = faiss.omp_get_max_threads()
        faiss.omp_set_num_threads(1)

    def __exit__(self, *_: object) -> None:
        faiss.omp_set_num_threads(self._before)


def threads_for(queries: int) -> contextlib.AbstractContextManager:
    """The threads of FAISS for so many queries: one for one, all for more."""
    return OneThread() if queries == 1 else contextlib.nullcontext()

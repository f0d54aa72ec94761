# SPDX-License-Identifier: Apache-2.0
"""The descriptors of a map, searched by one of several kinds of index behind one interface.

Whatever the kind, similarities are inner products with the descriptors themselves, so that margins
and confidences mean the same: a compressed index only names candidates, of which the descriptors
are then read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from mmap import mmap
from typing import Protocol

import faiss
import numpy as np

from ashtkd_ros.errors import VprError
from ashtkd_ros.maps.descriptor_file import HeldRows, as_float32, best_of_halves, halves_of
from ashtkd_ros.maps.index_kinds import (
    FLAT,
    FLOAT16,
    RESCORED,
    VIEWS,
    OneThread,
    candidates,
    estimated_bytes,
    opened,
    serialized,
    set_shortlist,
    threads_for,
    turning,
)
from ashtkd_ros.maps.index_note import IndexNote

_BLOCK = 2**23  # bytes of float32 descriptors that are in memory at a time
_SPARE = 16  # candidates that SQ8 leaves beyond those that are asked for, at least
# How much the similarity of a query of length 1 may change where both are rounded to float16
_ROUNDED = 2.0**-10
_HEAP = 100  # from so many places on FAISS orders those that are equally similar in another way
_LONGEST_PAUSE = 127
_QUERIES = 256  # whose candidates are in memory at a time


class Rows(Protocol):
    """Descriptors by their row: in memory, or in a file."""

    def __len__(self) -> int: ...

    def rows(self, ids: np.ndarray) -> np.ndarray:
        """int64 (K,), each from 0 to len - 1 → float16 (K, D), the caller's own."""


class DescriptorIndex:
    """Descriptors of N places, float32 (N, D) of length 1.

    `kind`: one of `index_kinds.KINDS`; `note`: why it was chosen, and how well it finds what exact
    search finds, None where nobody chose.
    """

    kind: str
    d: int
    memory_bytes: int
    note: IndexNote | None

    def __len__(self) -> int:
        raise NotImplementedError

    def search(self, descriptors: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """float32 (B, D) → similarities float32 (B, k) and rows int64 (B, k), best first.

        `k`: at most N. The similarities are exact. For one descriptor FAISS uses one thread.
        VprError where the descriptors cannot be read.
        """
        raise NotImplementedError

    def rows(self, ids: Sequence[int] | np.ndarray) -> np.ndarray:
        """The descriptors of K places by their rows, float32 (K, D), an array of the caller's own.

        VprError for a row that the map does not have, and where they cannot be read.
        """
        raise NotImplementedError

    def blocks(self) -> Iterator[np.ndarray]:
        """All descriptors in order, float32 (k, D) with as many as fit the memory well."""
        step = max(1, _BLOCK // (4 * self.d))
        for first in range(0, len(self), step):
            yield self.rows(np.arange(first, min(first + step, len(self))))

    @property
    def explained(self) -> str:
        """The kind, why it was chosen, and what it costs, in a line."""
        said = '' if self.note is None else f', {self.note}'
        each = self.memory_bytes / len(self)
        size = f'{self.memory_bytes / 1e6:.1f} MB in memory, {each:.0f} bytes a place'
        return f'{self.kind}, {size}{said}'

    def _checked(self, ids: Sequence[int] | np.ndarray) -> np.ndarray:
        wanted = np.asarray(ids, np.int64).reshape(-1)
        if len(wanted) and not (wanted.min() >= 0 and wanted.max() < len(self)):
            raise VprError(f'place {wanted.tolist()} is not among the {len(self)} of the map')
        return wanted


class FlatIndex(DescriptorIndex):
    """All descriptors in memory, all compared: exact.

    `array`: float32 (N, D) in C order. numpy has the system use large pages for it, which FAISS
    does not: that alone makes a search faster than by an index of FAISS. Of an array that no cache
    of a processor holds there is a copy as float16, half as much to read: it names candidates, and
    where the rounding could hide another one all are compared after all. Of a crowded map, where
    that is so again and again, the copy is asked ever more rarely.
    """

    kind = FLAT

    def __init__(self, array: np.ndarray, note: IndexNote | None = None):
        self.array, self.note, self.d = array, note, array.shape[1]
        self.memory_bytes = estimated_bytes(FLAT, *array.shape)
        self._halves = halves_of(array) if self.memory_bytes > array.nbytes else None
        self._pause, self._left = 0, 0  # searches without the copy after its last failure

    def __len__(self) -> int:
        return len(self.array)

    def search(self, descriptors: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """See `DescriptorIndex.search`."""
        with threads_for(len(descriptors)):
            fits = len(descriptors) == 1 and k < _HEAP and k + _SPARE < len(self)
            if self._halves is not None and fits:
                found = self._by_halves(descriptors, k) if self._left <= 0 else None
                self._learn(found is not None)
                if found is not None:
                    return found
            return faiss.knn(descriptors, self.array, k, metric=faiss.METRIC_INNER_PRODUCT)

    def _learn(self, found: bool) -> None:
        if self._left > 0:
            self._left -= 1
        else:
            self._pause = 0 if found else min(2 * self._pause + 1, _LONGEST_PAUSE)
            self._left = self._pause

    def _by_halves(self, query: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray] | None:
        """The best `k` of float32 (1, D); None where a place beyond the candidates may be one."""
        rounded, ids = self._halves.search(query, k + _SPARE)
        ids = np.sort(ids[0])
        with np.errstate(invalid='ignore', over='ignore'):
            highest = rounded[0, -1] + _ROUNDED * np.linalg.norm(query.astype(np.float64))
        if not np.isfinite(highest) or ids[0] < 0:  # `highest`: of all others, at most
            return None
        similarities, at = faiss.knn(query, self.array[ids], k, metric=faiss.METRIC_INNER_PRODUCT)
        return (similarities, ids[at]) if similarities[0, -1] > highest else None

    def rows(self, ids: Sequence[int] | np.ndarray) -> np.ndarray:
        """See `DescriptorIndex.rows`."""
        return self.array[self._checked(ids)]


class CompressedIndex(DescriptorIndex):
    """A compressed index in memory names candidates; their descriptors are read and compared.

    `data`, `codes`: see `index_kinds.opened`; `exact`: the descriptors, each of which is read
    only when it is a candidate. Those that are held in memory FAISS compares by itself.
    """

    def __init__(
        self,
        kind: str,
        data: bytes | mmap,
        exact: Rows,
        size: int,
        note: IndexNote,
        codes: slice | None = None,
    ):
        self.kind, self.d, self.exact = kind, size, exact
        self.index, self._parts = opened(kind, data, codes)
        self._turning = turning(size)
        held = 2 * size * len(exact) if kind == FLOAT16 else 0
        self.memory_bytes = len(data) + self._turning.nbytes + held
        self._refined: faiss.IndexRefine | None = None
        if isinstance(exact, HeldRows) and VIEWS:
            self._refined, self._held = _refined(self.index, self._turning, exact)
        self.note = note

    @property
    def note(self) -> IndexNote:
        """See `DescriptorIndex`; its shortlist is how many candidates are looked at."""
        return self._note

    @note.setter
    def note(self, note: IndexNote) -> None:
        self._note = note
        set_shortlist(self.kind, self.index, note.shortlist)

    def __len__(self) -> int:
        return len(self.exact)

    def data(self) -> bytes:
        """The bytes of the compressed index."""
        return serialized(self.kind, self.index)

    def search(self, descriptors: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """See `DescriptorIndex.search`."""
        if len(descriptors) <= _QUERIES:
            return self._search(descriptors, k)
        firsts = range(0, len(descriptors), _QUERIES)
        found = [self._search(descriptors[first : first + _QUERIES], k) for first in firsts]
        similarities, rows = (np.concatenate(blocks) for blocks in zip(*found, strict=True))
        return similarities, rows

    def _search(self, descriptors: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The same, for as few queries as their candidates fit the memory."""
        if self._refined is not None:
            similarities, found = self._compared_by_faiss(descriptors, k)
            # FAISS leaves out a place that each part of its code makes the least likely one.
            if (found >= 0).all():
                return similarities, found
        if isinstance(self.index, faiss.IndexRefine):
            count = max(k + _SPARE, RESCORED)
        else:
            count = max(2 * k, self._note.shortlist)
        count = min(count, len(self))
        with np.errstate(invalid='ignore', over='ignore'):  # queries may not be finite
            with threads_for(len(descriptors)):
                turned = descriptors @ self._turning
                found = candidates(self.kind, self.index, turned, count)
            with OneThread():
                return self._compared(descriptors, k, found)

    def _compared_by_faiss(self, descriptors: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        looked = min(max(2 * k, self._note.shortlist), len(self))
        asked = faiss.IndexRefineSearchParameters(k_factor=looked / k)
        with threads_for(len(descriptors)):
            return self._refined.search(descriptors, k, params=asked)

    def _compared(
        self, descriptors: np.ndarray, k: int, found: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """The best `k` of the candidates of each query."""
        similarities = np.empty((len(descriptors), k), np.float32)
        rows = np.empty((len(descriptors), k), np.int64)
        for at, (query, ids) in enumerate(zip(descriptors, found, strict=True)):
            ids = self._filled(np.sort(ids))
            similarities[at], best = best_of_halves(self.exact.rows(ids), query, k)
            rows[at] = np.where(best < 0, -1, ids[best])  # of a query that is not finite
        return similarities, rows

    def _filled(self, ids: np.ndarray) -> np.ndarray:
        """Sorted rows, of which a graph may find too few; then others take their part."""
        if ids[0] >= 0:
            return ids
        known = ids[ids >= 0]
        others = np.setdiff1d(np.arange(min(len(self), 2 * len(ids))), known)
        return np.sort(np.append(known, others[: len(ids) - len(known)]))

    def rows(self, ids: Sequence[int] | np.ndarray) -> np.ndarray:
        """See `DescriptorIndex.rows`."""
        return as_float32(self.exact.rows(self._checked(ids)))


def _refined(
    codes: faiss.Index, turning: np.ndarray, exact: HeldRows
) -> tuple[faiss.IndexRefine, tuple]:
    """Codes that name candidates, held descriptors that decide; and what must live as long."""
    size, wide = turning.shape
    turn = faiss.LinearTransform(size, wide, False)
    faiss.copy_array_to_vector(np.ascontiguousarray(turning.T).ravel(), turn.A)
    turn.is_trained = True
    turned, halves = faiss.IndexPreTransform(turn, codes), exact.halves()
    return faiss.IndexRefine(turned, halves), (turn, turned, halves)

# SPDX-License-Identifier: Apache-2.0
"""The descriptors of a map, searched by one of several kinds of index behind one interface.

Whatever the kind, similarities are inner products with the descriptors themselves, so that margins
and confidences mean the same: a compressed index only names candidates, of which the descriptors
are then read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import faiss
import numpy as np

from ashtkd_ros.errors import VprError
from ashtkd_ros.maps.descriptor_file import as_float32
from ashtkd_ros.maps.index_kinds import (
    FLAT,
    RESCORED,
    candidates,
    opened,
    serialized,
    set_shortlist,
    threads_for,
    turning,
)
from ashtkd_ros.maps.index_note import IndexNote

_BLOCK = 2**23  # bytes of float32 descriptors that are in memory at a time
_SPARE = 16  # candidates that SQ8 leaves beyond those that are asked for, at least


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
    does not: that alone makes a search faster than by an index of FAISS.
    """

    kind = FLAT

    def __init__(self, array: np.ndarray, note: IndexNote | None = None):
        self.array, self.note, self.d = array, note, array.shape[1]
        self.memory_bytes = array.nbytes

    def __len__(self) -> int:
        return len(self.array)

    def search(self, descriptors: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """See `DescriptorIndex.search`."""
        with threads_for(len(descriptors)):
            return faiss.knn(descriptors, self.array, k, metric=faiss.METRIC_INNER_PRODUCT)

    def rows(self, ids: Sequence[int] | np.ndarray) -> np.ndarray:
        """See `DescriptorIndex.rows`."""
        return self.array[self._checked(ids)]


class CompressedIndex(DescriptorIndex):
    """A compressed index in memory names candidates; their descriptors are read and compared.

    `data`: bytes of the index that `check_layout` has passed; `exact`: the descriptors, each of
    which is read only when it is a candidate.
    """

    def __init__(self, kind: str, data: bytes, exact: Rows, size: int, note: IndexNote):
        self.kind, self.d, self.exact = kind, size, exact
        self.index, self._turning = opened(kind, data), turning(size)
        self.memory_bytes = len(data) + self._turning.nbytes
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
        if self.kind == 'sq8':
            count = max(k + _SPARE, RESCORED)
        else:
            count = max(2 * k, self._note.shortlist)
        count = min(count, len(self))
        # Queries may not be finite.
        with np.errstate(invalid='ignore', over='ignore'), threads_for(len(descriptors)):
            return self._compared(descriptors, k, count)

    def _compared(
        self, descriptors: np.ndarray, k: int, count: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """The best `k` of `count` candidates of each query."""
        found = candidates(self.kind, self.index, descriptors @ self._turning, count)
        similarities = np.empty((len(descriptors), k), np.float32)
        rows = np.empty((len(descriptors), k), np.int64)
        for at, (query, ids) in enumerate(zip(descriptors, found, strict=True)):
            ids = self._filled(np.sort(ids))
            exact = as_float32(self.exact.rows(ids)) @ query
            best = np.argsort(-exact, kind='stable')[:k]
            similarities[at], rows[at] = exact[best], ids[best]
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

# SPDX-License-Identifier: Apache-2.0
"""The pictures of a map that are most like an image: of the whole map, and within a prior."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from ashtkd_ros.errors import VprError
from ashtkd_ros.maps.place_map import PlaceMap
from ashtkd_ros.recognition.place_grid import PlaceGrid
from ashtkd_ros.recognition.prior import Prior, PriorUse

_MOST = 1.01  # highest similarity of vectors of length 1, with rounding errors
_BLOCK = 2**12  # rows whose similarities are computed at a time
_EXACT, _DEEPER = 2**15, 16  # rows of a prior, above which a deeper search comes first


@dataclass(frozen=True)
class Ranked:
    """K rows of the map, the most similar first.

    `answers`: bool (K,), which may be answers, the others are their rivals; `verified`: the ranks
    of those that are verified; `use`: what a prior has meant, None without one.
    """

    rows: list[int]
    similarities: list[float]
    answers: np.ndarray
    verified: list[int]
    use: PriorUse | None = None


class CandidateSearch:
    """Searches one map, `place_map`."""

    def __init__(self, place_map: PlaceMap):
        self._map = place_map

    def __call__(
        self,
        descriptor: np.ndarray,
        depth: int,
        top: int,
        hidden: Collection[int] = (),
        prior: Prior | None = None,
    ) -> Ranked:
        """The `depth` most similar rows, of which `top` are verified.

        `hidden`: rows that the map is to lack. With a prior the best rows within it come beside
        the best of the whole map, and half of those that are verified are of either kind, as far
        as there are so many. VprError for a descriptor that is none.
        """
        rows, similarities = self._nearest(descriptor, depth + len(hidden))
        if hidden:
            kept = [k for k, row in enumerate(rows) if row not in hidden][:depth]
            rows, similarities = [rows[k] for k in kept], [similarities[k] for k in kept]
        every = np.ones(len(rows), bool)
        plain = Ranked(rows, similarities, every, list(range(len(rows)))[:top])
        if prior is None:
            return plain
        if not self._map.places.posed.any():
            none = np.zeros(0, np.int64)
            return replace(plain, use=PriorUse(prior, none, 'the map has no poses'))
        return self._within(descriptor, depth, top, hidden, prior, plain)

    def _within(
        self,
        descriptor: np.ndarray,
        depth: int,
        top: int,
        hidden: Collection[int],
        prior: Prior,
        plain: Ranked,
    ) -> Ranked:
        """The best rows within the prior among the best of the map, `plain`."""
        inside = self._grid.within(prior.x, prior.y, prior.radius_m)
        if hidden:
            inside = np.setdiff1d(inside, np.fromiter(hidden, np.int64))
        use = PriorUse(prior, inside)
        if not len(inside):
            return replace(plain, verified=[], use=use)
        found = self._best_of(inside, descriptor, depth, use)
        found |= dict(zip(plain.rows, plain.similarities, strict=True))
        rows = sorted(found, key=lambda row: -found[row])
        answers = use.holds(rows)
        ours, others = (np.flatnonzero(of).tolist() for of in (answers, ~answers))
        rivals = min(len(others), max(top // 2, top - len(ours)))
        verified = sorted(ours[: top - rivals] + others[:rivals])
        use = replace(use, beyond=not answers[0])
        return Ranked(rows, [found[row] for row in rows], answers, verified, use)

    @cached_property
    def _grid(self) -> PlaceGrid:
        return PlaceGrid(self._map.places)

    def _best_of(
        self, inside: np.ndarray, descriptor: np.ndarray, depth: int, use: PriorUse
    ) -> dict[int, float]:
        """The similarities of the `depth` best of the rows `inside`."""
        if len(inside) > _EXACT:
            rows, similarities = self._nearest(descriptor, _DEEPER * depth)
            kept = np.flatnonzero(use.holds(rows))[:depth].tolist()
            if len(kept) == depth:
                return {rows[k]: similarities[k] for k in kept}
        similarities = np.concatenate(
            [
                self._map.similarities(descriptor, inside[start : start + _BLOCK])
                for start in range(0, len(inside), _BLOCK)
            ]
        )
        best = np.argsort(-similarities, kind='stable')[:depth]
        return dict(zip(inside[best].tolist(), similarities[best].tolist(), strict=True))

    def _nearest(self, descriptor: np.ndarray, count: int) -> tuple[list[int], list[float]]:
        rows, similarities = (found.tolist() for found in self._map.search(descriptor, count))
        # For a query that is not finite, FAISS gives place -1, NaN, or any number.
        if rows[0] < 0 or not all(-_MOST <= s <= _MOST for s in similarities):
            raise VprError(
                'the descriptor does not have length 1, so it fits no place; check the network'
            )
        return rows, similarities

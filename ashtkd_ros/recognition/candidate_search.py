# SPDX-License-Identifier: Apache-2.0
"""The pictures of a map that are most like an image: of the whole map, and within a prior."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from ashtkd_ros.errors import VprError
from ashtkd_ros.maps.place_map import PlaceMap
from ashtkd_ros.recognition.place_grid import PlaceGrid
from ashtkd_ros.recognition.prior import Prior, PriorUse

_MOST = 1.01  # highest similarity of vectors of length 1, with rounding errors
_BLOCK = 2**12  # rows whose similarities are computed at a time
_EXACT, _DEEPER = 2**12, 16  # rows of a prior, above which the map is searched deeper


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
        use = None if prior is None else self._use(prior, hidden)
        within = use is not None and not use.ignored and len(use.rows) > 0
        deeper = depth * _DEEPER if within and len(use.rows) > _EXACT else depth
        rows, similarities = self._nearest(descriptor, deeper + len(hidden))
        if hidden:
            kept = [k for k, row in enumerate(rows) if row not in hidden][:deeper]
            rows, similarities = [rows[k] for k in kept], [similarities[k] for k in kept]
        found = dict(zip(rows, similarities, strict=True))
        if within:
            return self._within(descriptor, depth, top, found, use)
        verified = list(range(len(rows)))[: 0 if use is not None and use.nowhere else top]
        return Ranked(rows, similarities, np.ones(len(rows), bool), verified, use)

    def _use(self, prior: Prior, hidden: Collection[int]) -> PriorUse:
        if not self._map.places.posed.any():
            return PriorUse(prior, np.zeros(0, np.int64), 'the map has no poses')
        inside = self._grid.within(prior.x, prior.y, prior.radius_m)
        if hidden:
            inside = np.setdiff1d(inside, np.fromiter(hidden, np.int64))
        return PriorUse(prior, inside)

    def _within(
        self,
        descriptor: np.ndarray,
        depth: int,
        top: int,
        found: Mapping[int, float],
        use: PriorUse,
    ) -> Ranked:
        """The best rows within the prior among the best of the map: `found`, best first."""
        similarity = {row: found[row] for row in list(found)[:depth]}
        near = [row for row, holds in zip(found, use.holds([*found]), strict=True) if holds]
        if len(near) >= min(depth, len(use.rows)):
            similarity |= {row: found[row] for row in near[:depth]}
        else:
            similarity = self._best_of(use.rows, descriptor, depth) | similarity
        rows = sorted(similarity, key=lambda row: -similarity[row])
        answers = use.holds(rows)
        ours, others = (np.flatnonzero(of).tolist() for of in (answers, ~answers))
        rivals = min(len(others), max(top // 2, top - len(ours)))
        verified = sorted(ours[: top - rivals] + others[:rivals])
        use = replace(use, beyond=not answers[0])
        return Ranked(rows, [similarity[row] for row in rows], answers, verified, use)

    @cached_property
    def _grid(self) -> PlaceGrid:
        return PlaceGrid(self._map.places)

    def _best_of(self, rows: np.ndarray, descriptor: np.ndarray, depth: int) -> dict[int, float]:
        """The similarities of the `depth` best of the rows."""
        similarities = np.concatenate(
            [
                self._map.descriptors(rows[start : start + _BLOCK]) @ descriptor
                for start in range(0, len(rows), _BLOCK)
            ]
        )
        best = np.argsort(-similarities, kind='stable')[:depth]
        return dict(zip(rows[best].tolist(), similarities[best].tolist(), strict=True))

    def _nearest(self, descriptor: np.ndarray, count: int) -> tuple[list[int], list[float]]:
        rows, similarities = (found.tolist() for found in self._map.search(descriptor, count))
        # For a query that is not finite, FAISS gives place -1, NaN, or any number.
        if rows[0] < 0 or not all(-_MOST <= s <= _MOST for s in similarities):
            raise VprError(
                'the descriptor does not have length 1, so it fits no place; check the network'
            )
        return rows, similarities

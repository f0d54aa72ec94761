# SPDX-License-Identifier: Apache-2.0
"""Descriptor → candidates with a confidence each."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ashtkd_ros.errors import VprError
from ashtkd_ros.maps.place_map import Place, PlaceMap
from ashtkd_ros.network.confidence import check_coefficients, probability

_MOST = 1.01  # a similarity of vectors of length 1, and what rounding adds


@dataclass(frozen=True)
class Candidate:
    """A place of the map that may be the query's.

    `similarity`: inner product of the descriptors in [-1, 1]; `margin`: similarity above that of
    the best candidate elsewhere; `confidence`: probability that the place is right, [0, 1].
    """

    place: Place
    similarity: float
    margin: float
    confidence: float


@dataclass(frozen=True)
class MatcherConfig:
    """`top_k`: candidates returned. Two places are neighbours, and so no rivals, within
    `neighbour_m` metres, or without poses within `neighbour_frames` frames of one route."""

    top_k: int = 5
    neighbour_m: float = 10.0
    neighbour_frames: int = 5


class Matcher:
    """Top-k search in a map; confidence = sigmoid(a * similarity + b * margin + c).

    a, b, c come with the model (fitted by tools.training.calibrate on training revisits) through
    the map; without them the confidence is the similarity itself, cut to [0, 1].
    """

    # Rivals are looked for among this many candidates; deeper ones change no margin that matters.
    _DEPTH = 64

    def __init__(self, place_map: PlaceMap, config: MatcherConfig | None = None):
        self.map, self.config = place_map, config or MatcherConfig()
        try:
            self._coefficients = check_coefficients(place_map.info.calibration)
        except ValueError as error:
            raise VprError(f'{error}; export the model or build the map anew') from error
        poses = [p.pose for p in place_map.places]
        self._positions = None
        if all(pose is not None for pose in poses):
            self._positions = [(pose.x, pose.y, pose.z) for pose in poses]
        self._orders = [(p.traverse, p.order) for p in place_map.places]

    def match(self, descriptor: np.ndarray, top_k: int | None = None) -> list[Candidate]:
        """float32 (D,) of length 1 → at most `top_k` candidates, most similar first."""
        count = top_k or self.config.top_k
        ids, similarities = self.map.search(descriptor, max(self._DEPTH, count))
        ids, similarities = ids.tolist(), similarities.tolist()
        # FAISS answers a query that is no vector with place -1, NaN, or any number at all
        if ids[0] < 0 or not all(-_MOST <= s <= _MOST for s in similarities):
            raise VprError(
                'the descriptor is not of length 1: no place is like it; check the network'
            )
        found: list[Candidate] = []
        for i, similarity in zip(ids[:count], similarities, strict=False):
            margin = similarity - self._rival(i, ids, similarities)
            confidence = probability(similarity, margin, self._coefficients)
            if found:  # a less similar place is not the more probable one, whoever its rivals are
                confidence = min(confidence, found[-1].confidence)
            found.append(Candidate(self.map.places[i], similarity, margin, confidence))
        return found

    def _rival(self, i: int, ids: list[int], similarities: list[float]) -> float:
        """Best similarity elsewhere than at place i; the worst of all where all are near."""
        # Plain Python: it ends after a few places, and numpy's calls would take ten times as long.
        elsewhere = (s for j, s in zip(ids, similarities, strict=True) if not self._near(i, j))
        return next(elsewhere, similarities[-1])

    def _near(self, i: int, j: int) -> bool:
        if self._positions is None:
            (route, at), (other, there) = self._orders[i], self._orders[j]
            return route == other and abs(at - there) <= self.config.neighbour_frames
        return math.dist(self._positions[i], self._positions[j]) <= self.config.neighbour_m

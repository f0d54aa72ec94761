# SPDX-License-Identifier: Apache-2.0
"""From a descriptor to candidate places, each with its confidence."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ashtkd_ros.errors import VprError
from ashtkd_ros.maps.place_map import Place, PlaceMap
from ashtkd_ros.network.confidence import check_coefficients, probability

_MOST = 1.01  # highest similarity of vectors of length 1, with rounding errors


@dataclass(frozen=True)
class Candidate:
    """A place of the map at which the query may have been taken.

    `similarity`: inner product of the descriptors, in [-1, 1]; `margin`: similarity minus that of
    the best candidate elsewhere; `confidence`: probability that the place is right, in [0, 1].
    """

    place: Place
    similarity: float
    margin: float
    confidence: float


@dataclass(frozen=True)
class MatcherConfig:
    """How candidates are chosen.

    `top_k`: number of candidates. Two places are neighbours, and so no rivals for the margin, if
    they are within `neighbour_m` metres, or without poses within `neighbour_frames` frames of one
    traverse.
    """

    top_k: int = 5
    neighbour_m: float = 10.0
    neighbour_frames: int = 5


class Matcher:
    """Top-k search in a map; confidence = sigmoid(a * similarity + b * margin + c).

    The map has a, b and c from its model; tools.training.calibrate fits them on revisited places
    of the training data. Without them the confidence is the similarity, limited to [0, 1].
    """

    # Rivals are searched among so many candidates; later ones change no margin that matters.
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
        # For a query that is not finite, FAISS gives place -1, NaN, or any number.
        if ids[0] < 0 or not all(-_MOST <= s <= _MOST for s in similarities):
            raise VprError(
                'the descriptor does not have length 1, so it fits no place; check the network'
            )
        candidates: list[Candidate] = []
        for i, similarity in zip(ids[:count], similarities, strict=False):
            margin = similarity - self._rival(i, ids, similarities)
            confidence = probability(similarity, margin, self._coefficients)
            if candidates:  # a less similar place is never more probable, whatever its rivals are
                confidence = min(confidence, candidates[-1].confidence)
            candidates.append(Candidate(self.map.places[i], similarity, margin, confidence))
        return candidates

    def _rival(self, i: int, ids: list[int], similarities: list[float]) -> float:
        """The best similarity of places not near place i; the worst of all if all are near."""
        # Plain Python ends after a few places; the calls of numpy would take ten times as long.
        elsewhere = (s for j, s in zip(ids, similarities, strict=True) if not self._near(i, j))
        return next(elsewhere, similarities[-1])

    def _near(self, i: int, j: int) -> bool:
        if self._positions is None:
            (route, at), (other, there) = self._orders[i], self._orders[j]
            return route == other and abs(at - there) <= self.config.neighbour_frames
        return math.dist(self._positions[i], self._positions[j]) <= self.config.neighbour_m

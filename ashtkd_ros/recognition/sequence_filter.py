# SPDX-License-Identifier: Apache-2.0
"""Step 3, follow: a discrete Bayes filter over the places of a map and "lost".

A state is a place and a velocity in places a frame; only the most probable places are kept (a
sparse beam), so that a frame takes as long in a large map as in a small one. Each frame's
candidates are evidence, weighed by how probable it is that the best one is right.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ashtkd_ros.maps.places import Place
from ashtkd_ros.network.confidence import ON_THE_MAP
from ashtkd_ros.recognition.matcher import MatcherConfig
from ashtkd_ros.recognition.place_graph import PlaceGraph

_VELOCITIES = np.array([-8, -4, -2, -1, -0.5, -0.2, 0, 0.2, 0.5, 1, 2, 3, 4, 8])
_SWITCH, _STRAY = 0.05, 0.05  # chance of another velocity; of a place too few, and too many
_JUMP, _LOSE, _FIND = 0.01, 0.01, 0.1  # to anywhere; to being lost; from being lost to anywhere
_CROSS = 0.1  # to the same spot on another traverse
_INDEPENDENT = 0.7  # exponent of the likelihood: images in a row resemble each other
_FRESH, _STANDING = 0.3, 0.05  # places an image that count wholly; share of none
_MISSED = 0.2  # share of the images of a place that look like one of none
_SHARPNESS, _DESCRIPTOR_SHARPNESS = 1.5, 30.0  # of scores; of similarities alone
_MOST = 0.97  # trust in one frame: images of one place are not independent
_SAME = 0.02  # 1 - similarity to the last image that counted; below, nothing new is seen
# Of a camera that stands still only noise differs: up to so much, and by as much from the image
# before as, nearly, from one that is `_STEPS` back. One that moves leaves the latter behind.
_NOISE, _STEPS, _GROWS = 0.1, 3, 1.3
_DOUBTED = 3  # repetitions of an image that say otherwise than what is believed
_LONGER = 3.0  # times the pause before that a pause may last
_FARTHEST = 20.0  # places that odometry may tell at once
_BEAM, _PRUNED = 200, 1e-4  # places that are kept at most; probability of those that are not
_TINY, _NOTHING = 1e-12, 1e-6  # probabilities: the least, and of states that are given up


@dataclass(frozen=True)
class Evidence:
    """What one image says.

    `stamp`: seconds; `descriptor`: float32 (D,); `rows`: int (K,), candidates in the map;
    `scores`: float (K,), of the verification, or, where nothing was verified, similarities of
    descriptors; `confidence`: that the best one is right, [0, 1]. `moved_m`: metres forward since
    the last image, None without odometry. `empty`: whether the image shows nothing.
    """

    stamp: float
    descriptor: np.ndarray
    rows: np.ndarray
    scores: np.ndarray
    confidence: float
    verified: bool = True
    moved_m: float | None = None
    empty: bool = False

    @property
    def shares(self) -> np.ndarray:
        """How the candidates share an image, float (K,): a softmax of their scores."""
        sharpness = _SHARPNESS if self.verified else _DESCRIPTOR_SHARPNESS
        weights = np.exp(sharpness * (self.scores - self.scores.max()))
        return weights / weights.sum()


@dataclass(frozen=True)
class Belief:
    """Probabilities after an image: of the map's `rows` (B,), best first, and of being lost."""

    rows: np.ndarray
    probabilities: np.ndarray
    lost: float


class SequenceFilter:
    """Follows a robot through the places of a map, image by image.

    `length`: images that are remembered; what is older counts less and less. `gap_s`: a longer
    pause, if it is more than three times the one before, or a stamp that goes back, begins anew.
    `began`: whether the last image did.
    """

    def __init__(
        self,
        places: Sequence[Place],
        length: int,
        near_m: float = MatcherConfig.neighbour_m,
        gap_s: float = 10.0,
    ):
        self.graph, self.length, self.gap_s = PlaceGraph(places, near_m), length, gap_s
        self._start = np.exp(-np.abs(_VELOCITIES) / 2)
        self._start /= self._start.sum()
        self._hops, self._shares = _kernel(_VELOCITIES)
        self._pause = 0.0  # seconds between the last two images
        self.reset()

    def reset(self) -> None:
        """Forget everything: lost."""
        self._at = np.zeros(0, np.int64)  # positions in the graph, (B,)
        self._belief = np.zeros((0, len(_VELOCITIES)))
        self._lost, self._last, self._counted, self.began = 1.0, None, None, False
        self._fresh = _fresh(_VELOCITIES)
        self._moved: float | None = 0.0  # metres since the last image that counted
        self._recent: deque[np.ndarray] = deque(maxlen=_STEPS)
        self._repeated = 0  # images since the last other one

    def step(self, seen: Evidence) -> Belief:
        """The belief after one more image."""
        if self._last is not None:
            pause = seen.stamp - self._last
            if not 0 <= pause <= max(self.gap_s, _LONGER * self._pause):
                self.reset()
            self._pause = max(pause, 0.0)
        self.began, self._last = self._last is None, seen.stamp
        known = seen.moved_m is not None and self._moved is not None
        self._moved = self._moved + seen.moved_m if known else None
        # What shows nothing counts each time: a camera that stays covered leaves no place.
        if seen.empty or self._is_new(seen):
            self._counted = seen.descriptor
            self._predict()
            self._correct(seen)
        self._recent.append(seen.descriptor)
        return self.belief()

    def _is_new(self, seen: Evidence) -> bool:
        """Whether an image says more than those before: it differs from the last one that counted,
        but for noise, or says otherwise than what is believed, which counts a few times: a robot
        that is set down elsewhere and stands there is not where it was."""
        if self._counted is None:
            return True
        otherwise = self._says_otherwise(seen)
        if 1 - float(seen.descriptor @ self._counted) <= _SAME:
            self._repeated += 1
            return otherwise and self._repeated <= _DOUBTED
        self._repeated = 0
        if len(self._recent) < _STEPS or not len(self._at):
            return True
        last, first = (1 - float(seen.descriptor @ self._recent[at]) for at in (-1, 0))
        return last > _NOISE or first > _GROWS * last or otherwise

    def _says_otherwise(self, seen: Evidence) -> bool:
        """Whether an image is of another spot than the one that is believed, if one is."""
        if not len(self._at):
            return False
        best = self.graph.position[seen.rows[seen.scores.argmax()]]
        believed = self._at[self._belief.sum(axis=1).argmax()]
        spot = np.append(self.graph.links[believed], believed)
        return bool((np.abs(spot[spot >= 0] - best) > 1).all())

    def belief(self) -> Belief:
        """What is believed now."""
        probabilities = self._belief.sum(axis=1)
        order = np.argsort(-probabilities, kind='stable')
        return Belief(self.graph.rows[self._at[order]], probabilities[order], self._lost)

    def _predict(self) -> None:
        """Move every state by its velocity, or some place more or less; forget a little."""
        hops, shares = self._motion()
        keep, total = 1 - 1 / self.length, self._belief.sum()
        # Lost or not, and where if not, are forgotten apart: many states are no more than few.
        there, lost = max(total, _TINY) ** keep, max(self._lost, _TINY) ** keep
        self._lost = lost / (there + lost)
        belief = (self._belief / max(total, _TINY)) ** keep
        belief *= (1 - self._lost) / max(belief.sum(), _TINY)
        if len(belief):
            belief = (1 - _SWITCH) * belief + _SWITCH * belief.sum(1, keepdims=True) * self._start
            stays, anew = self.graph.hops(self._at, hops)  # (B, V, H)
            weight = belief[:, :, None] * shares
            velocity = np.broadcast_to(np.arange(len(_VELOCITIES))[:, None], stays.shape)
            over = anew >= 0
            weight[over] /= 2  # a loop, or a robot that stays at the end
            columns = ((anew, stays), (velocity, velocity), (weight, weight))
            self._gather(*(np.concatenate([a[over], b.ravel()]) for a, b in columns))
            self._cross()

    def _motion(self) -> tuple[np.ndarray, np.ndarray]:
        """Hops, int, and their shares, both (V, 4) or, by odometry, (B, V, 4)."""
        moved, self._moved = self._moved, 0.0
        self._fresh = _fresh(_VELOCITIES)
        if moved is None or self.graph.spacing is None:
            return self._hops, self._shares
        places = moved / self.graph.spacing[self._at]
        if not (np.abs(places) <= _FARTHEST).all():  # NaN as well
            return self._hops, self._shares
        mean = self._belief.sum(axis=1) @ np.abs(places) / max(self._belief.sum(), _TINY)
        self._fresh = np.full(len(_VELOCITIES), _fresh(mean))
        shape = (len(places), len(_VELOCITIES), 4)
        hops, shares = _kernel(places)
        return np.broadcast_to(hops[:, None], shape), np.broadcast_to(shares[:, None], shape)

    def _gather(self, to: np.ndarray, velocity: np.ndarray, weight: np.ndarray) -> None:
        """Sum weights (n,) by position `to` and number of the velocity, both int (n,)."""
        velocities, kept = len(_VELOCITIES), weight > _NOTHING
        to, velocity, weight = to[kept], velocity[kept], weight[kept]
        self._at, inverse = np.unique(to, return_inverse=True)
        sums = np.bincount(inverse * velocities + velocity, weight, len(self._at) * velocities)
        self._belief = sums.reshape(-1, velocities)

    def _cross(self) -> None:
        """A part of the belief goes over to other traverses of the same spot."""
        links = self.graph.links[self._at]
        there = links >= 0
        if not there.any():
            return
        share = _CROSS * there / np.maximum(there.sum(axis=1, keepdims=True), 1)
        share = np.column_stack([1 - share.sum(axis=1), share])  # (B, 1 + links)
        to = np.column_stack([self._at, np.where(there, links, self._at[:, None])])
        shape = (*to.shape, len(_VELOCITIES))
        self._gather(
            np.broadcast_to(to[:, :, None], shape).ravel(),
            np.broadcast_to(np.arange(len(_VELOCITIES)), shape).ravel(),
            (share[:, :, None] * self._belief[:, None]).ravel(),
        )

    def _independence(self, there: np.ndarray, shares: np.ndarray) -> float:
        """Exponent of the likelihood, by the belief (K, V) at the candidates before it: what a
        robot that hardly moves sees of a place is no new witness, a place elsewhere is."""
        fresh = there @ self._fresh / there.sum(axis=1)
        return float(_INDEPENDENT * (shares @ fresh))

    def _correct(self, seen: Evidence) -> None:
        """Weigh every state by the candidates of an image.

        likelihood of a place = (1 - missed) * r * share of the candidate * places of the map +
        missed, of being lost = 1. r: how much likelier such an image is where the map has its
        place than where it has not, which is the odds of the confidence by the odds it was fitted
        with; missed: how often an image of a place of the map looks like one of none. The shares
        are a softmax of the scores.
        """
        total = self._belief.sum()
        find = ON_THE_MAP if self.began else _FIND  # the first image: anywhere on the map
        anywhere = (_JUMP * total + find * self._lost) / len(self.graph)
        lost = self._lost * (1 - find) + _LOSE * total
        trust = min(max(seen.confidence, _TINY), _MOST)
        ratio = trust / (1 - trust) * (1 - ON_THE_MAP) / ON_THE_MAP
        at, inverse = np.unique(
            np.concatenate([self._at, self.graph.position[seen.rows]]), return_inverse=True
        )
        old, new = inverse[: len(self._at)], inverse[len(self._at) :]
        belief = np.zeros((len(at), len(_VELOCITIES)))
        belief[old] = (1 - _JUMP - _LOSE) * self._belief
        belief[new] += anywhere * self._start
        exponent = 1.0 if self.began else self._independence(belief[new], seen.shares)
        likelihood = np.full(len(at), _MISSED)
        likelihood[new] += (1 - _MISSED) * ratio * len(self.graph) * seen.shares
        belief *= likelihood[:, None] ** exponent
        places = belief.sum(axis=1)
        order = np.argsort(-places)
        whole = places.sum() + lost
        beyond = places.sum() - np.cumsum(places[order]) > _PRUNED * whole
        kept = order[: min(_BEAM, 1 + int(beyond.sum()))]
        whole = places[kept].sum() + lost
        self._at, self._belief, self._lost = at[kept], belief[kept] / whole, lost / whole


def _fresh(places: np.ndarray | float) -> np.ndarray | float:
    """How much images count that are so many places apart: `_STANDING` to 1."""
    return np.clip(np.abs(places) / _FRESH, _STANDING, 1)


def _kernel(places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distances in places (n,) → hops int (n, 4) and their shares (n, 4): the two whole numbers
    next to a distance, and one place more or less."""
    whole = np.floor(places).astype(np.int64)
    part = (places - whole)[:, None]
    stray = np.array([_STRAY, 1 - 2 * _STRAY, _STRAY])
    shares = np.zeros((len(whole), 4))
    shares[:, :3] += (1 - part) * stray
    shares[:, 1:] += part * stray
    return whole[:, None] + np.arange(-1, 3), shares

# SPDX-License-Identifier: Apache-2.0
"""From the answers to single images to answers that know the images before."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from ashtkd_ros.geometry.pose import Pose
from ashtkd_ros.recognition.matcher import Answer, Candidate, Matcher, Neighbourhood
from ashtkd_ros.recognition.sequence_filter import Belief, Evidence, SequenceFilter

EVIDENCE = 30  # candidates of an image that are weighed
_MOST = 0.999  # confidence: nothing is certain
_ALIKE = 0.05  # in the probability of neighbourhoods that overlap
_REACH = 10  # places along a traverse from one image to the next
_SHOWN = 50  # most probable places among which neighbours give each other support


@dataclass(frozen=True)
class PoseBelief:
    """Mean pose of the places that the filter holds probable near the best one.

    `pose`: metres and a heading, level; `variance`: of x, y, z in m² and of yaw in rad².
    """

    pose: Pose
    variance: tuple[float, float, float, float]


@dataclass(frozen=True)
class Followed:
    """The candidates after an image, best first.

    `lost`: probability that none is right; `pose`: None where the map has no poses; `jumped`:
    whether the best place is not one that the robot could have reached since the last image.
    """

    candidates: list[Candidate]
    lost: float
    pose: PoseBelief | None = None
    jumped: bool = False


class Follower:
    """Follows one robot through the map of a matcher, image by image.

    `length`: images that are remembered, see `SequenceFilter`.
    """

    def __init__(self, matcher: Matcher, length: int):
        self.matcher, self.length = matcher, length
        self.filter = SequenceFilter(matcher.map.places, length, matcher.config.neighbour_m)
        self._last: int | None = None
        turned = replace(matcher.config, neighbour_degrees=180.0)  # a robot may turn on the spot
        self._spots = Neighbourhood(matcher.map.places, turned)

    def follow(
        self,
        answer: Answer,
        descriptor: np.ndarray,
        stamp: float,
        top_k: int,
        moved_m: float | None = None,
    ) -> Followed:
        """The candidates after one more image, at most `top_k`.

        `answer`: of the matcher, with all verified candidates; `descriptor`: float32 (D,) of the
        image; `stamp`: seconds; `moved_m`: metres forward since the last image, None if unknown.
        """
        belief = self.filter.step(evidence_of(answer, descriptor, stamp, moved_m))
        candidates = self._candidates(belief, answer, descriptor, top_k)
        best = candidates[0].place.row
        goes_on = self._last is not None and not self.filter.began
        jumped = goes_on and not self._reaches(self._last, best)
        self._last = best
        return Followed(candidates, float(belief.lost), self._pose(belief, best), jumped)

    def _reaches(self, before: int, now: int) -> bool:
        """Whether a place lies near another one, or a few places further on its traverse."""
        graph = self.filter.graph
        a, b = graph.position[[before, now]]
        along = graph.first[a] == graph.first[b] and abs(a - b) <= _REACH
        return bool(along or self._spots(before, now))

    def _pose(self, belief: Belief, best: int) -> PoseBelief | None:
        places = self.matcher.map.places
        rows = belief.rows[:_SHOWN]
        near = self.matcher.near.between([best], rows)[0] & places.posed[rows]
        if not places.posed[best] or not near.any():
            return None
        weights = belief.probabilities[:_SHOWN][near]
        weights = weights / weights.sum()
        at, yaw = places.positions[rows[near]], places.yaws[rows[near]]
        mean = weights @ at
        heading = math.atan2(weights @ np.sin(yaw), weights @ np.cos(yaw))
        turn = (yaw - heading + np.pi) % (2 * np.pi) - np.pi
        variance = np.append(weights @ (at - mean) ** 2, weights @ turn**2)
        half = heading / 2
        pose = Pose(*mean.tolist(), 0.0, 0.0, math.sin(half), math.cos(half))
        return PoseBelief(pose, tuple(variance.tolist()))

    def _candidates(
        self, belief: Belief, answer: Answer, descriptor: np.ndarray, top_k: int
    ) -> list[Candidate]:
        """The most probable places; each has the probability of its whole neighbourhood.

        What the filter has given up comes last, as the image alone would have it.
        """
        rows, probabilities = _shown(belief, answer)
        known = {c.place.row: c for c in answer.candidates}
        near = self.matcher.near.among(rows) @ probabilities
        # The most probable place of the most probable neighbourhood, then the other places.
        likely = np.where(near >= near.max(initial=0) - _ALIKE, probabilities, -1)
        first = np.argsort(-likely, kind='stable')[:1]
        order = [*first, *(k for k in np.argsort(-near, kind='stable') if k not in first)]
        places = self.matcher.map.places
        kept: dict[int, int] = {}  # the most probable picture of each place
        for k in order:
            kept.setdefault(int(places.ids[rows[k]]), k)
        order = [*kept.values()][:top_k]
        similarities = self.matcher.map.descriptors(rows[order]) @ descriptor  # one read for all
        found: dict[int, Candidate] = {}  # by the number of the place
        most = 0.0 if answer.hopeless else _MOST  # the filter may know; the image does not
        for k, similarity in zip(order, similarities.tolist(), strict=True):
            row, most = int(rows[k]), min(most, float(near[k]))
            margin = similarity - self._rival(row, answer, similarity)
            check = known[row].check if row in known else None
            found[places[row].id] = Candidate(places[row], similarity, margin, most, check)
        for c in answer.candidates:
            found.setdefault(c.place.id, replace(c, confidence=0.0))
        return [*found.values()][:top_k]

    def _rival(self, row: int, answer: Answer, default: float) -> float:
        """The highest similarity of the candidates of the image that are elsewhere."""
        near = self.matcher.near.between([row], [c.place.row for c in answer.candidates])[0]
        elsewhere = zip(answer.candidates, near.tolist(), strict=True)
        return max((c.similarity for c, is_near in elsewhere if not is_near), default=default)


def _shown(belief: Belief, answer: Answer) -> tuple[np.ndarray, np.ndarray]:
    """The most probable places that may be the answer, and their probabilities."""
    rows, probabilities = belief.rows, belief.probabilities
    if answer.prior is not None:
        within = answer.prior.holds(rows)
        rows, probabilities = rows[within], probabilities[within]
    return rows[:_SHOWN], probabilities[:_SHOWN]


def evidence_of(
    answer: Answer, descriptor: np.ndarray, stamp: float, moved_m: float | None = None
) -> Evidence:
    """What an answer of the matcher says to the filter: of verified candidates, if there are."""
    verified = [c for c in answer.candidates if c.check is not None]
    used = verified or answer.candidates
    scores = [c.check.score if verified else c.similarity for c in used]
    rows = np.array([c.place.row for c in used])
    confidence = answer.candidates[0].confidence
    seen = (stamp, descriptor, rows, np.array(scores), confidence, bool(verified), moved_m)
    return Evidence(*seen, answer.empty)

# SPDX-License-Identifier: Apache-2.0
"""From the answers to single images to answers that know the images before."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from ashtkd_ros.geometry.pose import Pose
from ashtkd_ros.recognition.matcher import Answer, Candidate, Matcher
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
        best = candidates[0].place.id
        goes_on = self._last is not None and not self.filter.began
        jumped = goes_on and not self._reaches(self._last, best)
        self._last = best
        return Followed(candidates, float(belief.lost), self._pose(belief, best), jumped)

    def _reaches(self, before: int, now: int) -> bool:
        """Whether a place lies near another one, or a few places further on its traverse."""
        graph = self.filter.graph
        a, b = graph.position[[before, now]]
        along = graph.first[a] == graph.first[b] and abs(a - b) <= _REACH
        return bool(along or self.matcher.near(before, now))

    def _pose(self, belief: Belief, best: int) -> PoseBelief | None:
        places = self.matcher.map.places
        ids = belief.ids[:_SHOWN].tolist()
        near = [k for k, i in enumerate(ids) if places[i].pose and self.matcher.near(best, i)]
        if places[best].pose is None or not near:
            return None
        poses = [places[ids[k]].pose for k in near]
        weights = belief.probabilities[near] / belief.probabilities[near].sum()
        at = np.array([(p.x, p.y, p.z) for p in poses])
        yaw = np.array([p.yaw for p in poses])
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
        ids, probabilities = belief.ids[:_SHOWN], belief.probabilities[:_SHOWN]
        known = {c.place.id: c for c in answer.candidates}
        near = self.matcher.near.among(ids.tolist()) @ probabilities
        # The most probable place of the most probable neighbourhood, then the other places.
        first = np.where(near >= near.max() - _ALIKE, probabilities, -1).argmax()
        order = [first, *(k for k in np.argsort(-near, kind='stable') if k != first)]
        found, most = [], _MOST
        for k in order[:top_k]:
            place, most = int(ids[k]), min(most, float(near[k]))
            similarity = float(self.matcher.map.index.rows([place])[0] @ descriptor)
            rivals = (
                c.similarity for c in answer.candidates if not self.matcher.near(place, c.place.id)
            )
            margin = similarity - max(rivals, default=similarity)
            most = 0.0 if answer.empty else most  # the filter may still know; the image does not
            check = known[place].check if place in known else None
            where = self.matcher.map.places[place]
            found.append(Candidate(where, similarity, margin, most, check))
        named = {c.place.id for c in found}
        rest = (c for c in answer.candidates if c.place.id not in named)
        return [*found, *(replace(c, confidence=0.0) for c in rest)][:top_k]


def evidence_of(
    answer: Answer, descriptor: np.ndarray, stamp: float, moved_m: float | None = None
) -> Evidence:
    """What an answer of the matcher says to the filter: of verified candidates, if there are."""
    verified = [c for c in answer.candidates if c.check is not None]
    used = verified or answer.candidates
    scores = [c.check.score if verified else c.similarity for c in used]
    ids = np.array([c.place.id for c in used])
    confidence = answer.candidates[0].confidence
    seen = (stamp, descriptor, ids, np.array(scores), confidence, bool(verified), moved_m)
    return Evidence(*seen, answer.empty)

# SPDX-License-Identifier: Apache-2.0
"""From an image to its place: the whole pipeline that node, demo and evaluation share."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np

from ashtkd_ros.maps.description import MapInfo
from ashtkd_ros.maps.place_map import PlaceMap
from ashtkd_ros.network.embedder import Embedder
from ashtkd_ros.network.local_features import Look
from ashtkd_ros.recognition.following import EVIDENCE, Followed, Follower
from ashtkd_ros.recognition.matcher import Answer, Candidate, Matcher, MatcherConfig, Matches
from ashtkd_ros.recognition.prior import Prior, PriorUse
from ashtkd_ros.text import one_line

MIN_CONFIDENCE = 0.5  # where a map does not tell: a less probable match is an unknown place
BY_THE_MAP = -1.0  # as min_confidence: what the map tells for `target_precision`
TARGET_PRECISION = 0.99  # default: share of the accepted answers that should be right
SEQUENCE_LENGTH = 1  # default: each image is answered by itself
_EMPTY = 'the image shows nothing: the camera is covered, blinded or in the dark'
_MOST_DIGITS = 6  # of a confidence, behind the point


@dataclass(frozen=True)
class Recognition:
    """The answer for one image.

    `candidates`: best first; `accepted`: whether the best one is trusted; `refusal`: why it is
    not; `embed_s` and `match_s`: seconds for preprocessing and inference, and for matching, which
    has `verify_s` in it. `matches`: where the image agrees with the first candidate's picture,
    None where nothing was verified; `fault`: why not, if the map could have been used for it. Of a
    sequence: `single`, the best candidate of this image alone, and `followed`, what the filter
    says. `prior`: what a prior has meant, None without one.
    """

    candidates: list[Candidate]
    accepted: bool
    refusal: str
    embed_s: float
    match_s: float
    verify_s: float = 0.0
    matches: Matches | None = None
    fault: str = ''
    single: Candidate | None = None
    followed: Followed | None = None
    prior: PriorUse | None = None

    @property
    def name(self) -> str:
        """The name of the place, one line; empty where none is accepted, or it has none."""
        return one_line(self.candidates[0].place.label) if self.accepted else ''


@dataclass(frozen=True)
class Moment:
    """When an image of a sequence was taken.

    `stamp`: seconds; `length`: images that are remembered; `moved_m`: metres forward since the
    last image, None where that is not known.
    """

    stamp: float
    length: int
    moved_m: float | None = None


class Recogniser:
    """A network with a map that it made; a match below `min_confidence` is an unknown place."""

    def __init__(
        self,
        embedder: Embedder,
        place_map: PlaceMap,
        config: MatcherConfig | None = None,
        min_confidence: float = MIN_CONFIDENCE,
    ):
        self.embedder, self.matcher = embedder, Matcher(place_map, config)
        self.min_confidence = min_confidence
        self._follower: Follower | None = None

    def recognise(
        self,
        image: np.ndarray,
        order: str = 'RGB',
        top_k: int | None = None,
        min_confidence: float | None = None,
        verify_top: int | None = None,
        moment: Moment | None = None,
        prior: Prior | None = None,
    ) -> Recognition:
        """Recognise the place in an image: uint8 (H, W, 3) in `order`, or (H, W) grey.

        `top_k`, `min_confidence` and `verify_top` apply to this image only. `moment`: its place in
        a sequence of images, None for an image by itself. `prior`: where its place lies; where
        the map has none there, the place is unknown. VprError if the network gives no descriptor
        of length 1.
        """
        least = self.min_confidence if min_confidence is None else min_confidence
        started = time.perf_counter()
        look = self.embedder.describe(image, order)
        embedded = time.perf_counter()
        count = self.matcher.config.top_k if top_k is None else top_k
        answer, followed, single = self._answer(look, count, verify_top, moment, prior)
        matched = time.perf_counter()
        refusal = _refusal(answer, least)
        return Recognition(
            answer.candidates,
            not refusal,
            refusal,
            embedded - started,
            matched - embedded,
            answer.verify_s,
            answer.matches,
            self.matcher.fault,
            single,
            followed,
            answer.prior,
        )

    def forget(self) -> None:
        """Begin a new sequence with the next image."""
        self._follower = None

    def _answer(
        self,
        look: Look,
        top_k: int,
        verify_top: int | None,
        moment: Moment | None,
        prior: Prior | None,
    ) -> tuple[Answer, Followed | None, Candidate | None]:
        """The answer, what the filter says, and the best candidate of the image alone."""
        if moment is None or moment.length < 2:
            self._follower = None
            answer = self.matcher.answer(look, top_k, verify_top, prior=prior)
            return answer, None, None
        if self._follower is None or self._follower.length != moment.length:
            self._follower = Follower(self.matcher, moment.length)
        most = max(top_k, EVIDENCE)
        alone = self.matcher.answer(look, most, verify_top, every_picture=True, prior=prior)
        followed = self._follower.follow(
            alone, look.descriptor, moment.stamp, top_k, moment.moved_m
        )
        single = alone.candidates[0]
        same = followed.candidates[0].place.row == single.place.row
        matches = alone.matches if same else None
        answer = replace(alone, candidates=followed.candidates, matches=matches)
        return answer, followed, single


def least_confidence(info: MapInfo, min_confidence: float, target_precision: float) -> float:
    """The confidence below which a match is an unknown place: `min_confidence`, or, where that is
    negative, what the map tells for `target_precision`, or else `MIN_CONFIDENCE`."""
    if min_confidence >= 0:
        return min_confidence
    trusted = info.trusted_from(target_precision)
    return MIN_CONFIDENCE if trusted is None else trusted[0]


def trust_note(info: MapInfo, min_confidence: float, target_precision: float) -> str:
    """What the user should know where the map cannot tell so high a precision; else empty."""
    trusted = info.trusted_from(target_precision)
    if min_confidence >= 0 or trusted is None or trusted[1] >= target_precision:
        return ''
    return (
        f'the map can tell a precision of {100 * trusted[1]:g} % at most, not of '
        f'{100 * target_precision:g} %; matches are accepted from confidence {trusted[0]:.3f} on; '
        'set min_confidence, or calibrate the map with another traverse'
    )


def _refusal(answer: Answer, least: float) -> str:
    """Why an answer is not trusted, in a sentence; empty where it is."""
    confidence = answer.candidates[0].confidence
    if answer.prior is not None and answer.prior.nowhere:
        return answer.prior.nowhere
    if confidence >= least:
        return ''
    if answer.empty:
        return _EMPTY
    digits = 2  # as many as it takes to see that the confidence is lower
    while digits < _MOST_DIGITS and not (
        round(confidence, digits) < round(least, digits) == round(least, _MOST_DIGITS)
    ):
        digits += 1
    return f'confidence {confidence:.{digits}f} is below min_confidence {least:.{digits}f}'

# SPDX-License-Identifier: Apache-2.0
"""From an image to its place: the whole pipeline that node, demo and evaluation share."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from ashtkd_ros.maps.place_map import PlaceMap
from ashtkd_ros.network.embedder import Embedder
from ashtkd_ros.recognition.matcher import Candidate, Matcher, MatcherConfig, Matches

MIN_CONFIDENCE = 0.5  # default: a less probable match is an unknown place
_MOST_DIGITS = 6  # of a confidence, behind the point


@dataclass(frozen=True)
class Recognition:
    """The answer for one image.

    `candidates`: best first; `accepted`: whether the best one is trusted; `refusal`: why it is
    not; `embed_s` and `match_s`: seconds for preprocessing and inference, and for matching, which
    has `verify_s` in it. `matches`: where the image agrees with the first candidate's picture,
    None where nothing was verified; `fault`: why not, if the map could have been used for it.
    """

    candidates: list[Candidate]
    accepted: bool
    refusal: str
    embed_s: float
    match_s: float
    verify_s: float = 0.0
    matches: Matches | None = None
    fault: str = ''


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

    def recognise(
        self,
        image: np.ndarray,
        order: str = 'RGB',
        top_k: int | None = None,
        min_confidence: float | None = None,
        verify_top: int | None = None,
    ) -> Recognition:
        """Recognise the place in an image: uint8 (H, W, 3) in `order`, or (H, W) grey.

        `top_k`, `min_confidence` and `verify_top` apply to this image only. VprError if the
        network gives no descriptor of length 1.
        """
        least = self.min_confidence if min_confidence is None else min_confidence
        started = time.perf_counter()
        look = self.embedder.describe(image, order)
        embedded = time.perf_counter()
        answer = self.matcher.answer(look, top_k, verify_top)
        matched = time.perf_counter()
        best = answer.candidates[0].confidence
        refusal = ''
        if best < least:
            refusal = _refusal(best, least)
        return Recognition(
            answer.candidates,
            not refusal,
            refusal,
            embedded - started,
            matched - embedded,
            answer.verify_s,
            answer.matches,
            self.matcher.fault,
        )


def _refusal(confidence: float, least: float) -> str:
    """The sentence for a confidence below `least`, with as many digits as it takes to see that."""
    digits = 2
    while digits < _MOST_DIGITS and not (
        round(confidence, digits) < round(least, digits) == round(least, _MOST_DIGITS)
    ):
        digits += 1
    return f'confidence {confidence:.{digits}f} is below min_confidence {least:.{digits}f}'

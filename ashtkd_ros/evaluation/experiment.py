# SPDX-License-Identifier: Apache-2.0
"""What is evaluated: a traverse in a map, which of its images are queries, what is right."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from tqdm import tqdm

from ashtkd_ros.errors import VprError
from ashtkd_ros.evaluation.ground_truth import (
    NO_GROUND_TRUTH,
    Correspondences,
    GroundTruth,
    Tolerance,
    positives_by,
)
from ashtkd_ros.evaluation.metrics import RECALL_AT
from ashtkd_ros.images.message_decoding import ImageError
from ashtkd_ros.maps.place_map import PlaceMap
from ashtkd_ros.maps.place_pictures import PlacePictures
from ashtkd_ros.recognition.matcher import Matcher, MatcherConfig
from ashtkd_ros.recognition.rate_gate import RateGate
from ashtkd_ros.recognition.recogniser import MIN_CONFIDENCE, SEQUENCE_LENGTH
from ashtkd_ros.text import counted
from ashtkd_ros.traverses.frame import Frame
from ashtkd_ros.traverses.traverse import Traverse


@dataclass(frozen=True)
class EvaluationOptions:
    """How to judge, and what to measure.

    `correspondences`: the right places by frame numbers, in place of poses and names.
    `min_confidence`: an answer with a lower confidence counts as unknown, [0, 1]. `max_rate_hz`:
    images per second, by their stamps; 0: all. `baselines`: measure raw pixels and HOG as well.
    `timing`: measure durations. `workers`: images at a time; 0: one for each core. `verify_top`:
    see `MatcherConfig`. `sequence_length`: images that an answer remembers, 1: each one is
    answered by itself.
    """

    tolerance: Tolerance = field(default_factory=Tolerance)
    correspondences: Correspondences | None = None
    min_confidence: float = MIN_CONFIDENCE
    max_rate_hz: float = 0.0
    baselines: bool = True
    timing: bool = True
    workers: int = 0
    verify_top: int = MatcherConfig.verify_top
    sequence_length: int = SEQUENCE_LENGTH


@dataclass(frozen=True)
class Experiment:
    """A traverse that is replayed in a map, and how the answers are judged.

    `queries` counts what it passes over.
    """

    place_map: PlaceMap
    traverse: Traverse
    options: EvaluationOptions = field(default_factory=EvaluationOptions)

    @cached_property
    def by_poses(self) -> bool:
        """Whether poses tell what is right, so that an image without one cannot be judged."""
        mapped = any(place.pose is not None for place in self.place_map.places)
        return self.options.correspondences is None and mapped and self.traverse.has_poses

    @cached_property
    def by_names(self) -> bool:
        """Whether place names tell what is right."""
        return self.options.correspondences is None and not self.by_poses

    @cached_property
    def queries(self) -> Queries:
        """The images of the traverse that can be judged."""
        return Queries(self.traverse, self.by_poses, self.options.max_rate_hz, self.by_names)

    @cached_property
    def pictures(self) -> PlacePictures:
        """The images of the map's places."""
        return PlacePictures(self.place_map)

    def check(self) -> None:
        """Raise VprError, before anything is computed, where no image can be judged."""
        places, correspondences = self.place_map.places, self.options.correspondences
        if self.by_names and not all(place.label for place in places):
            raise VprError(NO_GROUND_TRUTH)
        if correspondences is not None:
            correspondences.check(self.queries, places)
        elif next(iter(self.queries), None) is None:
            raise VprError(NO_GROUND_TRUTH) if self.by_names else self.queries.none_left()

    def ground_truth(self, frames: Sequence[Frame]) -> GroundTruth:
        """What is right for some of the queries; VprError where nothing tells it."""
        places = self.place_map.places
        rule, tolerance = self.options.correspondences, self.options.tolerance
        if rule is not None:
            return GroundTruth(frames, places, rule, rule.twice())
        rules = (positives_by(frames, places, t) for t in (tolerance, tolerance.twice()))
        return GroundTruth(frames, places, *rules)

    def matcher(self) -> Matcher:
        """A matcher of the map, with as many candidates as recall is told for."""
        return Matcher(
            self.place_map, MatcherConfig(self.depth, verify_top=self.options.verify_top)
        )

    @property
    def depth(self) -> int:
        """Candidates that are ranked: as many as recall is told for, and the map has."""
        return min(max(RECALL_AT), len(self.place_map.places))

    @property
    def unverified(self) -> str:
        """Why answers are not verified by local features, in a line; empty where they are."""
        asked = '' if self.options.verify_top else 'answers are not verified: verify_top is 0'
        return self.place_map.unverified or asked

    def rule(self) -> str:
        """What is right, in words."""
        t = self.options.tolerance
        if self.options.correspondences is not None:
            return f'a listed map frame, within {t.frames} frames'
        if self.by_poses:
            return f'a place within {t.metres:g} m and {t.degrees:g} degrees'
        return f'the same place name, or numbers within {t.frames}'


class Queries:
    """The images of a traverse that are asked about; those that are skipped are counted.

    `passed`: reason → number of images that were skipped for it, in the last iteration.
    """

    def __init__(
        self,
        traverse: Traverse,
        needs_poses: bool,
        max_rate_hz: float,
        needs_labels: bool = False,
    ):
        self.traverse, self._max_rate_hz = traverse, max_rate_hz
        self._needs_poses, self._needs_labels = needs_poses, needs_labels
        self.passed: Counter[str] = Counter()

    def __iter__(self) -> Iterator[Frame]:
        """Frames in order."""
        self.passed.clear()
        gate = RateGate()
        for _, frame in self.traverse.frames():
            # The rate comes first, as in the node, which sees no poses.
            if not gate.admits(frame.stamp, self._max_rate_hz):
                self.passed[f'above {self._max_rate_hz:g} Hz'] += 1
            elif self._needs_poses and frame.pose is None:
                self.passed[frame.refusal or 'no pose'] += 1
            elif self._needs_labels and not frame.label:
                self.passed['no place name'] += 1
            else:
                yield frame

    def none_left(self) -> VprError:
        """The error that there is nothing to evaluate, and why."""
        passed = ', '.join(f'{n} {why}' for why, n in self.passed.items())
        reasons = [f'no image can be evaluated ({passed})', self.traverse.clocks_differ]
        return VprError(f'{self.traverse.path}: {"; ".join(filter(None, reasons))}')

    def pixels(self, at_least: tuple[int, int]):
        """(frame, (image, order)) of all images that can be decoded, with a progress bar."""
        with tqdm(
            total=self.traverse.count,
            desc='evaluate',
            unit='frame',
            delay=2,
            disable=None,
        ) as bar:
            for frame in self:
                bar.update()
                try:
                    yield frame.without_pixels(), frame.pixels(at_least)
                except ImageError as error:
                    self.passed[f'unreadable: {error.reason}'] += 1

    def notes(self) -> list[str]:
        """A line for each reason why images were skipped."""
        return [f'{counted(n, "image")} left out: {why}' for why, n in self.passed.items()]

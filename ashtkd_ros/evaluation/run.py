# SPDX-License-Identifier: Apache-2.0
"""A second traverse replayed in a map: what is answered, how good that is, how long it takes."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ashtkd_ros.errors import VprError
from ashtkd_ros.evaluation import baselines
from ashtkd_ros.evaluation.machine import measured_on
from ashtkd_ros.evaluation.metrics import (
    MOST_SIMILARITIES,
    NOTHING_TO_JUDGE_BY,
    RECALL_AT,
    Answer,
    Correspondences,
    Metrics,
    PositivesOf,
    Tolerance,
    judge,
    metrics_of,
    positives_by,
    thinned_similarity,
)
from ashtkd_ros.evaluation.node_answers import NodeAnswers
from ashtkd_ros.evaluation.report import Evaluation, Timing, Traffic
from ashtkd_ros.images.message_decoding import ImageError
from ashtkd_ros.maps.place_map import Place, PlaceMap
from ashtkd_ros.maps.place_pictures import PlacePictures
from ashtkd_ros.network.embedder import Embedder
from ashtkd_ros.network.parallel_embedding import embed_frames, in_parallel
from ashtkd_ros.recognition.matcher import Matcher, MatcherConfig
from ashtkd_ros.recognition.rate_gate import RateGate
from ashtkd_ros.recognition.recogniser import MIN_CONFIDENCE
from ashtkd_ros.sampling import thin
from ashtkd_ros.traverses.frame import Frame
from ashtkd_ros.traverses.traverse import Traverse

SINGLE = 'single images'
_TIMED = 100
# Descriptors of the baselines are long: more images than these would fill the memory.
_MOST_FOR_BASELINES = 30_000


@dataclass(frozen=True)
class EvaluationOptions:
    """`truth`: right places by frame numbers in place of poses or labels; `max_rate_hz`: images
    a second by their stamps, 0: all; `baselines`: measure raw pixels and HOG as well; `timing`:
    measure durations."""

    tolerance: Tolerance = field(default_factory=Tolerance)
    truth: PositivesOf | None = None
    min_confidence: float = MIN_CONFIDENCE
    max_rate_hz: float = 0.0
    baselines: bool = True
    timing: bool = True
    workers: int = 0


@dataclass
class Replies:
    """What was answered: `ranking` int (Q, K) places best first, -1 where none was given,
    `confidences` float (Q,), `similarities` float (Q,) or NaN, `descriptors` (Q, D), fewer of
    them evenly spread, or None; `machine`: what answered."""

    frames: list[Frame]
    ranking: np.ndarray
    confidences: np.ndarray
    similarities: np.ndarray
    descriptors: np.ndarray | None = None
    timing: dict[str, Timing] = field(default_factory=dict)
    traffic: Traffic | None = None
    machine: dict[str, str] = field(default_factory=measured_on)


class Queries:
    """The images of a traverse that are asked about; what is passed over is counted."""

    def __init__(
        self,
        traverse: Traverse,
        needs_poses: bool,
        max_rate_hz: float,
        needs_labels: bool = False,
    ):
        self.traverse, self._max_rate_hz = traverse, max_rate_hz
        self._needs_poses, self.needs_labels = needs_poses, needs_labels
        self.passed: Counter[str] = Counter()

    def __iter__(self):
        """Frames in order."""
        self.passed.clear()
        gate = RateGate()
        for _, frame in self.traverse.frames():
            # As in the node, which sees no poses: first the rate.
            if not gate.admits(frame.stamp, self._max_rate_hz):
                self.passed[f'above {self._max_rate_hz:g} Hz'] += 1
            elif self._needs_poses and frame.pose is None:
                self.passed[frame.refusal or 'no pose'] += 1
            elif self.needs_labels and not frame.label:
                self.passed['no place name'] += 1
            else:
                yield frame

    def none_left(self) -> VprError:
        """That there is nothing to evaluate, and why."""
        passed = ', '.join(f'{n} {why}' for why, n in self.passed.items())
        return VprError(f'{self.traverse.path}: no image to evaluate ({passed})')

    def pixels(self, at_least: tuple[int, int]):
        """(frame, (image, order)) of all that can be decoded, with a progress bar."""
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
        """Lines for the report."""
        return [f'{n} images left out: {why}' for why, n in self.passed.items()]


def needs_poses(place_map: PlaceMap, traverse: Traverse, options: EvaluationOptions) -> bool:
    """Whether the ground truth comes from poses, so that images without one cannot be judged."""
    mapped = any(place.pose is not None for place in place_map.places)
    return options.truth is None and mapped and traverse.has_poses


def judged_queries(place_map: PlaceMap, traverse: Traverse, options: EvaluationOptions) -> Queries:
    """The images that can be judged; VprError, before anything is computed, where none can be."""
    by_poses = needs_poses(place_map, traverse, options)
    by_labels = options.truth is None and not by_poses
    if by_labels and not all(place.label for place in place_map.places):
        raise VprError(NOTHING_TO_JUDGE_BY)
    queries = Queries(traverse, by_poses, options.max_rate_hz, by_labels)
    if isinstance(options.truth, Correspondences):
        options.truth.check(queries, place_map.places)
    elif next(iter(queries), None) is None:
        raise VprError(NOTHING_TO_JUDGE_BY) if by_labels else queries.none_left()
    return queries


def recognise_offline(
    embedder: Embedder, place_map: PlaceMap, queries: Queries, options: EvaluationOptions
) -> Replies:
    """Every image embedded and matched, as fast as it goes."""
    matcher = Matcher(place_map, MatcherConfig(top_k=min(max(RECALL_AT), len(place_map.places))))
    jobs = (
        (frame, (embedder.resize(pixels), order))
        for frame, (pixels, order) in queries.pixels(embedder.ample_size)
    )
    frames, found, descriptors = [], [], []
    for frame, descriptor in in_parallel(embedder.embed, jobs, options.workers):
        frames.append(frame)
        found.append(matcher.match(descriptor))
        descriptors.append(descriptor)
    if not frames:
        raise queries.none_left()
    timing = measure_stages(embedder.path, matcher, frames) if options.timing else {}
    return Replies(
        frames,
        np.array([[c.place.id for c in candidates] for candidates in found]),
        np.array([candidates[0].confidence for candidates in found]),
        np.array([candidates[0].similarity for candidates in found]),
        np.stack(descriptors),
        timing,
    )


def measure_stages(model: Path, matcher: Matcher, frames: Sequence[Frame]) -> dict[str, Timing]:
    """Durations of the stages for some of the frames, one after the other as a node has them."""
    embedder = Embedder(model)
    stages: dict[str, list[float]] = {'decode': [], 'embed': [], 'match': [], 'all stages': []}
    for i in thin(len(frames), _TIMED):
        times = [time.perf_counter()]
        pixels, order = frames[i].pixels(embedder.ample_size)
        times.append(time.perf_counter())
        descriptor = embedder.embed(pixels, order)
        times.append(time.perf_counter())
        matcher.match(descriptor)
        times.append(time.perf_counter())
        for stage, seconds in zip(stages, np.diff(times), strict=False):
            stages[stage].append(float(seconds))
        stages['all stages'].append(times[-1] - times[0])
    return {stage: Timing.of(seconds) for stage, seconds in stages.items()}


def replies_of(
    recorded: NodeAnswers, queries: Queries, place_map: PlaceMap, notes: list[str]
) -> Replies:
    """What the node answered to each image; one without an answer is kept, as an unknown place."""
    frames, given = [], []
    for frame in queries:
        answer = recorded.answers.get(frame.header_ns)
        if answer is None:
            try:
                frame.pixels()
            except ImageError as error:
                queries.passed[f'unreadable: {error.reason}'] += 1
                continue
        frames.append(frame.without_pixels())
        given.append(answer)
    answered = [answer for answer in given if answer is not None]
    if not answered:
        count = len(recorded.answers)
        raise VprError(f'{recorded.path}: none of its {count} answers is about these images')
    if missing := len(given) - len(answered):
        notes.append(f'{missing} of {len(given)} images have no answer: unknown, never right')
    source = queries.traverse.path.resolve().name
    if recorded.source.name != source:
        notes.append(f'the answers were recorded with {recorded.source}, not with {source}')
    width = min(max(RECALL_AT), len(place_map.places))
    ranking = np.full((len(frames), width), -1)
    confidences = np.zeros(len(frames))
    for i, answer in enumerate(given):
        if answer is not None and answer.places:
            ids = answer.places[:width]
            ranking[i, : len(ids)], confidences[i] = ids, answer.scores[0]
    seconds = [a.seconds for a in answered if a.seconds is not None]
    timing = {'sent → answered': Timing.of(seconds)} if seconds else {}
    count = len(recorded.answers)
    traffic = Traffic(recorded.sent, count, max(0, recorded.sent - count))
    nan = np.full(len(frames), np.nan)
    machine = dict(recorded.machine)
    return Replies(frames, ranking, confidences, nan, None, timing, traffic, machine)


def similarity_sample(embedder: Embedder, frames: Sequence[Frame], workers: int) -> np.ndarray:
    """Descriptors (q, D) of as many evenly spread frames as the figure of similarities shows."""
    shown = [frames[i] for i in thin(len(frames), MOST_SIMILARITIES)]
    return embed_frames(embedder, shown, 'similarity', workers)


def evaluate_traverse(
    replies: Replies,
    place_map: PlaceMap,
    pictures: PlacePictures,
    queries: Queries,
    options: EvaluationOptions,
    title: str,
    facts: dict[str, str],
) -> Evaluation:
    """Judge the replies by the ground truth; measure the baselines on the same images."""
    places, frames = place_map.places, replies.frames
    truth = options.truth or positives_by(frames, places, options.tolerance)
    hits, has_positive = judge(replies.ranking, frames, places, truth)
    confidences = replies.confidences
    methods = {SINGLE: metrics_of(hits, confidences, has_positive)}
    notes = [*queries.traverse.notes]
    if options.baselines:
        methods |= measure_baselines(pictures, frames, truth, notes, options.workers)
    similarity = None
    if replies.descriptors is not None:
        mapped = place_map.index.reconstruct_n(0, len(places))
        similarity = thinned_similarity(replies.descriptors, mapped)
    answers = [
        Answer(
            frame,
            places[row[0]] if row[0] >= 0 else None,
            float(confidence),
            bool(hit[0]),
            float(score),
            bool(confidence >= options.min_confidence and row[0] >= 0),
            bool(positive),
        )
        for frame, row, confidence, hit, score, positive in zip(
            frames,
            replies.ranking,
            confidences,
            hits,
            replies.similarities,
            has_positive,
            strict=True,
        )
    ]
    notes += queries.notes()
    timing = replies.timing if options.timing else {}
    return Evaluation(
        title,
        facts,
        methods,
        answers,
        options.min_confidence,
        similarity,
        timing,
        replies.traffic,
        notes,
        replies.machine if timing else {},
        _starts(queries.traverse, places),
    )


def _starts(traverse: Traverse, places: Sequence[Place]) -> dict[int | None, float]:
    """See `report.Evaluation`; the same whatever was answered."""
    starts: dict[int | None, float] = {None: traverse.span[0]}
    for place in places:
        starts[place.traverse] = min(place.stamp, starts.get(place.traverse, place.stamp))
    return starts


def measure_baselines(
    pictures: PlacePictures,
    frames: Sequence[Frame],
    truth: PositivesOf,
    notes: list[str],
    workers: int,
) -> dict[str, Metrics]:
    """Raw pixels and HOG in the place of the network; a note where that cannot be."""
    places = pictures.map.places
    if len(places) + len(frames) > _MOST_FOR_BASELINES:
        notes.append(f'no baselines: more than {_MOST_FOR_BASELINES} images')
        return {}
    try:
        jobs = ((None, (image,)) for _, image in pictures.all())
        mapped = [found for _, found in in_parallel(_describe, jobs, workers)]
    except VprError as error:
        notes.append(f"no baselines: the map's images are gone ({error})")
        return {}
    jobs = ((None, (frame.read(),)) for frame in frames)
    asked = [found for _, found in in_parallel(_describe, jobs, workers)]
    methods = {}
    for i, name in enumerate(baselines.BASELINES):
        similarity = np.stack([a[i] for a in asked]) @ np.stack([m[i] for m in mapped]).T
        ranking = np.argsort(-similarity, axis=1, kind='stable')[:, : max(RECALL_AT)]
        hits, has_positive = judge(ranking, frames, places, truth)
        methods[name] = metrics_of(hits, similarity.max(axis=1), has_positive)
    return methods


def _describe(image: np.ndarray) -> list[np.ndarray]:
    return [describe(image) for describe in baselines.BASELINES.values()]

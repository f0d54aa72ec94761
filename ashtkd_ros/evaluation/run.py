# SPDX-License-Identifier: Apache-2.0
"""The run of an evaluation: a traverse is recognised in a map, and what comes out is judged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import repeat
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ashtkd_ros.errors import VprError
from ashtkd_ros.evaluation.baselines import measure_baselines
from ashtkd_ros.evaluation.experiment import EvaluationOptions, Experiment, Queries
from ashtkd_ros.evaluation.fixed_window import FixedWindow
from ashtkd_ros.evaluation.ground_truth import GroundTruth, JudgedQuery
from ashtkd_ros.evaluation.machine import measured_on
from ashtkd_ros.evaluation.metrics import Calibration, Metrics, calibration, metrics_of
from ashtkd_ros.evaluation.node_answers import NodeAnswer, RecordedAnswers
from ashtkd_ros.evaluation.notes import (
    answer_notes,
    depth_notes,
    pose_notes,
    positive_notes,
    verification_notes,
)
from ashtkd_ros.evaluation.result import ALONE, FOLLOWED, SINGLE, UNCALIBRATED, WINDOW, Evaluation
from ashtkd_ros.evaluation.shared_images import shared_images, shared_images_note
from ashtkd_ros.evaluation.similarity_matrix import (
    MOST_SIMILARITIES,
    embed_sample,
    similarity_matrix,
)
from ashtkd_ros.evaluation.timing import Timing, Traffic, measure_stages
from ashtkd_ros.images.message_decoding import ImageError
from ashtkd_ros.maps.map_summary import trust_lines
from ashtkd_ros.maps.place_map import Place
from ashtkd_ros.network.confidence import probability
from ashtkd_ros.network.embedder import Embedder
from ashtkd_ros.network.local_features import Look
from ashtkd_ros.network.parallel_embedding import in_parallel
from ashtkd_ros.recognition.following import EVIDENCE, Follower, evidence_of
from ashtkd_ros.recognition.matcher import Answer, Candidate, Check, Matcher
from ashtkd_ros.sampling import thin
from ashtkd_ros.text import counted
from ashtkd_ros.traverses.frame import Frame
from ashtkd_ros.traverses.traverse import Traverse


@dataclass(frozen=True)
class Ranking:
    """`places` int (Q, K): rows best first, -1 where none was given; `confidences` float (Q,)."""

    places: np.ndarray
    confidences: np.ndarray

    @classmethod
    def of(cls, answers: Sequence[_Answer]) -> Ranking:
        """The answers to the queries, as long each."""
        confidences = [answer.best.confidence for answer in answers]
        return cls(_padded([answer.places for answer in answers]), np.array(confidences))


class _Answer(NamedTuple):
    """All that is kept of an answer, so that a long traverse fits into memory."""

    places: list[int]
    best: Candidate
    empty: bool

    @classmethod
    def of(
        cls, candidates: Sequence[Candidate], depth: int | None = None, empty: bool = False
    ) -> _Answer:
        return cls([candidate.place.row for candidate in candidates[:depth]], candidates[0], empty)


@dataclass
class Predictions:
    """What was answered to each query, before it is judged.

    `ranking`: what was answered; `beside`: name → what other ways of the same run answered, such
    as without verification, where something was verified. `similarities` float (Q,) of the best
    places, NaN where they are not known. `checks`: what local features say of each best place, or
    none. `descriptors` (Q, D), fewer of them evenly spread, or None. `machine`: what answered.
    `how`: facts of the run for the report. `notes`: what the user should know, a line each.
    """

    queries: list[Frame]
    ranking: Ranking
    similarities: np.ndarray
    descriptors: np.ndarray | None = None
    beside: dict[str, Ranking] = field(default_factory=dict)
    checks: Sequence[Check | None] = ()
    timing: dict[str, Timing] = field(default_factory=dict)
    traffic: Traffic | None = None
    machine: dict[str, str] = field(default_factory=measured_on)
    how: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def evaluate_map(
    experiment: Experiment, embedder: Embedder, answers: Path | None = None
) -> Evaluation:
    """Recognise every query in the map, or take the node's recorded `answers`, and judge."""
    if answers is None:
        predictions = recognise_offline(experiment, embedder)
    else:
        recorded = RecordedAnswers.read(answers)
        recorded.check_map(experiment.place_map)
        predictions = recorded_predictions(experiment, recorded)
        predictions.descriptors = embed_sample(
            embedder, predictions.queries, experiment.options.workers
        )
    facts = {**_facts(experiment, embedder, predictions), **predictions.how}
    title = f'{experiment.traverse.path.name} in map {experiment.place_map.folder.name}'
    evaluation = judge_predictions(experiment, predictions, title, facts)
    place_map, traverse = experiment.place_map, experiment.traverse
    queries = predictions.queries
    shared = shared_images(place_map, traverse, queries, predictions.descriptors)
    notes = shared_images_note(shared, len(queries), traverse.preselected)
    notes += evaluation.notes
    notes += pose_notes(place_map, traverse) if experiment.by_poses else []
    notes += predictions.notes + depth_notes(place_map, traverse)
    notes += positive_notes(next(iter(evaluation.methods.values())), experiment.rule())
    return replace(evaluation, notes=notes)


def _facts(experiment: Experiment, embedder: Embedder, predictions: Predictions) -> dict[str, str]:
    place_map = experiment.place_map
    return {
        'Map': f'{place_map.folder}, {counted(len(place_map.places), "place")}',
        'Replayed': str(experiment.traverse.path),
        'Images': str(len(predictions.queries)),
        'Network': f'{embedder.name} {embedder.hash[:16]}',
        'Right is': experiment.rule(),
        **{f'Expected, {name}': text for name, text in trust_lines(place_map.info).items()},
    }


class _Sequence:
    """The answers to images in a row: of the filter, and of its baseline."""

    def __init__(self, matcher: Matcher, length: int, depth: int):
        self.follower, self._matcher, self._depth = Follower(matcher, length), matcher, depth
        self._window = FixedWindow(self.follower.filter.graph, length)
        self.answers: list[_Answer] = []
        self._places: list[list[int]] = []
        self._shares: list[float] = []

    def add(self, answer: Answer, look: Look, stamp: float) -> None:
        """One more image, and the answer to it; the filter gets every picture, as in the node."""
        if self._matcher.map.places.has_experiences:
            answer = self._matcher.answer(look, max(self._depth, EVIDENCE), every_picture=True)
        found = self.follower.follow(answer, look.descriptor, stamp, self._depth).candidates
        self.answers.append(_Answer.of(found))
        seen = evidence_of(answer, look.descriptor, stamp)
        places, share = self._window.step(seen, self._depth)
        self._places.append(places)
        self._shares.append(share)

    def window(self) -> Ranking:
        """What the baseline answered."""
        return Ranking(_padded(self._places), np.array(self._shares))


def _padded(rows: Sequence[Sequence[int]]) -> np.ndarray:
    """int (Q, K): rows as long as the longest, with -1 at the end."""
    longest = max(map(len, rows))
    return np.array([[*row, *[-1] * (longest - len(row))] for row in rows])


def recognise_offline(experiment: Experiment, embedder: Embedder) -> Predictions:
    """Embed and match every query, as fast as it goes; VprError where there is none."""
    options, queries, matcher = experiment.options, experiment.queries, experiment.matcher()
    jobs = (
        (frame, (embedder.resize(pixels), order))
        for frame, (pixels, order) in queries.pixels(embedder.ample_size)
    )
    frames, answers, alone, descriptors, faults = [], [], [], [], Counter()
    sequence, depth = None, experiment.depth
    if options.sequence_length > 1:
        sequence = _Sequence(matcher, options.sequence_length, depth)
    for frame, look in in_parallel(embedder.describe, jobs, options.workers):
        frames.append(frame)
        descriptors.append(look.descriptor)
        answer = matcher.answer(look, max(depth, EVIDENCE) if sequence else depth)
        answers.append(_Answer.of(answer.candidates, depth, answer.empty))
        faults.update([matcher.fault] if matcher.fault else [])
        if not experiment.unverified:
            alone.append(_Answer.of(matcher.answer(replace(look, local=None)).candidates))
        if sequence:
            sequence.add(answer, look, frame.stamp)
    if not frames:
        raise queries.none_left()
    beside = {ALONE: Ranking.of(alone)} if alone else {}
    if experiment.place_map.info.calibration != embedder.confidence:
        beside = {UNCALIBRATED: _by_the_network(matcher, embedder, answers), **beside}
    if sequence:
        beside = {SINGLE: Ranking.of(answers), WINDOW: sequence.window(), **beside}
        answers = sequence.answers
    return Predictions(
        frames,
        Ranking.of(answers),
        np.array([answer.best.similarity for answer in answers]),
        np.stack(descriptors),
        beside,
        [answer.best.check for answer in answers],
        measure_stages(embedder, matcher, frames) if options.timing else {},
        how=_how(options, embedder),
        notes=verification_notes(experiment.unverified, faults, len(frames)),
    )


def _by_the_network(matcher: Matcher, embedder: Embedder, answers: Sequence[_Answer]) -> Ranking:
    """The same answers, with the confidence of a map that has none of its own."""
    confidences = [
        0.0 if a.empty else probability(matcher.known(a.best), embedder.confidence)
        for a in answers
    ]
    return replace(Ranking.of(answers), confidences=np.array(confidences))


def _how(options: EvaluationOptions, embedder: Embedder) -> dict[str, str]:
    rate = f'at most {options.max_rate_hz:g} images a second'
    how = {'How': f'offline, {rate if options.max_rate_hz else "every image"}'}
    if options.sequence_length > 1:
        how['Sequence'] = f'an answer remembers {options.sequence_length} images'
    return {**how, 'Execution provider': embedder.provider}


def recorded_predictions(experiment: Experiment, recorded: RecordedAnswers) -> Predictions:
    """What the node answered to each query; one without an answer is kept, as unknown.

    Raises VprError where none of the answers is about these images.
    """
    queries, depth = experiment.queries, experiment.depth
    frames, given = _answered(queries, recorded)
    answered = [answer for answer in given if answer is not None]
    count = len(recorded.answers)
    if not answered:
        raise VprError(
            f'{recorded.path}: none of its {count} answers is about these images; '
            'name the source that they were recorded with'
        )
    # What a short list does not name may be right; recall is told only as far as one list goes.
    longest = max(1, *(len(answer.places) for answer in answered))
    row_of = experiment.place_map.places.first_rows
    ranking = np.full((len(frames), min(depth, longest)), -1)
    confidences = np.zeros(len(frames))
    for i, answer in enumerate(given):
        if answer is not None and answer.places:
            rows = [row_of[place] for place in answer.places[: ranking.shape[1]]]
            ranking[i, : len(rows)], confidences[i] = rows, answer.scores[0]
    seconds = [a.seconds for a in answered if a.seconds is not None]
    return Predictions(
        frames,
        Ranking(ranking, confidences),
        np.full(len(frames), np.nan),
        timing={'sent → answered': Timing.of(seconds)} if seconds else {},
        traffic=Traffic(recorded.sent, count, max(0, recorded.sent - count)),
        machine=dict(recorded.machine),
        how=recorded.facts(),
        notes=verification_notes(experiment.unverified, {}, count)
        + answer_notes(experiment.traverse, recorded, given, depth),
    )


def _answered(
    queries: Queries, recorded: RecordedAnswers
) -> tuple[list[Frame], list[NodeAnswer | None]]:
    """The queries and the answer to each; an image that nobody could read is not a query."""
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
    return frames, given


def judge_predictions(
    experiment: Experiment, predictions: Predictions, title: str, facts: dict[str, str]
) -> Evaluation:
    """Judge the predictions by the ground truth; measure the baselines on the same images."""
    options, queries = experiment.options, predictions.queries
    truth = experiment.ground_truth(queries)
    verdicts = _Verdicts.of(truth, predictions.ranking)
    beside = {name: _Verdicts.of(truth, of) for name, of in predictions.beside.items()}
    all_of = {FOLLOWED if options.sequence_length > 1 else SINGLE: verdicts, **beside}
    methods = {name: of.metrics for name, of in all_of.items()}
    if ALONE in beside:
        after = beside.get(SINGLE, verdicts).right
        facts = {**facts, 'Verified': _verified(experiment, beside[ALONE].right, after)}
    notes = [*experiment.traverse.notes]
    if options.baselines:
        measured, lines = measure_baselines(experiment.pictures, truth, options.workers)
        methods |= measured
        notes += lines
    timing = predictions.timing if options.timing else {}
    return Evaluation(
        title,
        facts,
        methods,
        _judged(experiment, predictions, verdicts),
        options.min_confidence,
        _similarity(experiment, predictions),
        timing,
        predictions.traffic,
        notes + experiment.queries.notes(),
        predictions.machine if timing else {},
        _starts(experiment.traverse, truth.places),
        # The window's score is a share of support, no probability.
        {name: of.calibration for name, of in all_of.items() if name != WINDOW},
    )


def _verified(experiment: Experiment, before: np.ndarray, after: np.ndarray) -> str:
    """What verification did, in words; `before`, `after`: bool (Q,), what was right."""
    top = min(experiment.options.verify_top, len(experiment.place_map.places))
    mended, spoiled = (after & ~before).sum(), (before & ~after).sum()
    return (
        f'the {top} most similar places, by local features: of the answers of the descriptor '
        f'alone it made {mended} right that were wrong, and {spoiled} wrong that were right'
    )


@dataclass(frozen=True)
class _Verdicts:
    """What became of a ranking; `right`, `within_twice` and `has_positive`: bool (Q,)."""

    right: np.ndarray
    within_twice: np.ndarray
    has_positive: np.ndarray
    metrics: Metrics
    calibration: Calibration

    @classmethod
    def of(cls, truth: GroundTruth, ranking: Ranking) -> _Verdicts:
        hits, has_positive = truth.judge(ranking.places)
        near = truth.within_twice(ranking.places[:, 0])
        metrics = metrics_of(hits, ranking.confidences, has_positive, near)
        sure = calibration(ranking.confidences, hits[:, 0], ranking.places[:, 0] >= 0)
        return cls(hits[:, 0], near, has_positive, metrics, sure)


def _judged(
    experiment: Experiment, predictions: Predictions, verdicts: _Verdicts
) -> list[JudgedQuery]:
    places, least = experiment.place_map.places, experiment.options.min_confidence
    rows = zip(
        predictions.queries,
        predictions.ranking.places[:, 0].tolist(),
        predictions.ranking.confidences.tolist(),
        predictions.similarities.tolist(),
        verdicts.right.tolist(),
        verdicts.has_positive.tolist(),
        verdicts.within_twice.tolist(),
        predictions.checks or repeat(None, len(predictions.queries)),
        strict=True,
    )
    return [
        JudgedQuery(
            query=query,
            place=places[best] if best >= 0 else None,
            confidence=confidence,
            right=hit,
            similarity=similarity,
            accepted=confidence >= least and best >= 0,
            has_positive=positive,
            within_twice=near,
            check=check,
        )
        for query, best, confidence, similarity, hit, positive, near, check in rows
    ]


def _similarity(experiment: Experiment, predictions: Predictions) -> np.ndarray | None:
    if predictions.descriptors is None:
        return None
    place_map = experiment.place_map
    mapped = place_map.index.rows(thin(len(place_map.places), MOST_SIMILARITIES))
    return similarity_matrix(predictions.descriptors, mapped)


def _starts(traverse: Traverse, places: Sequence[Place]) -> dict[int | None, float]:
    """See `Evaluation.starts`; it is the same whatever was answered."""
    starts: dict[int | None, float] = {None: traverse.span[0]}
    for place in places:
        starts[place.traverse] = min(place.stamp, starts.get(place.traverse, place.stamp))
    return starts

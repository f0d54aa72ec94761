# SPDX-License-Identifier: Apache-2.0
"""The confidence of a map, fitted to another traverse of which it is known what is right."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import numpy as np
from tqdm import tqdm

from ashtkd_ros.errors import VprError
from ashtkd_ros.evaluation.experiment import Experiment
from ashtkd_ros.evaluation.shared_images import shared_images
from ashtkd_ros.mapping.calibration import (
    LEAST_ELSEWHERE,
    Answered,
    Calibrated,
    ask_both,
    calibrated_by,
)
from ashtkd_ros.network.confidence import probability
from ashtkd_ros.network.embedder import Embedder
from ashtkd_ros.network.parallel_embedding import in_parallel
from ashtkd_ros.traverses.frame import Frame

_FEWEST = 20  # images that have a right place
_LEAST_RIGHT = 0.2  # share of their answers
_SURE, _FEW_SURE = 0.8, 5  # confidence; answers of it, of which more are right than wrong


def calibrated_to(experiment: Experiment, embedder: Embedder) -> tuple[Calibrated, int]:
    """The calibration of the map by the experiment's traverse, and the number of its images.

    Each image is asked about as it is, and, where it has a right place, without the right ones and
    their neighbours. VprError where the traverse and the map do not overlap, too few images can be
    judged, or the labels contradict the images.
    """
    answers, judged, there = _answers(experiment, embedder)
    source = experiment.traverse.path
    if not there:
        raise VprError(
            f'{source}: none of its {judged} images has a right place in the map; give a traverse '
            'of the same route, or a larger tolerance'
        )
    if there < _FEWEST:
        raise VprError(
            f'{source}: only {there} of its images have a right place in the map, {_FEWEST} are '
            'needed; give a longer traverse'
        )
    start = embedder.confidence  # the map's own would be fitted to its own result
    right, sure = _judged([v or d for d, v in answers], start)
    contradiction = (
        f'{source}: {100 * right.mean():.0f} % of the answers are right, too few to learn from: '
        'its labels contradict what the images show, or the route has changed; check poses, '
        'names and their clocks'
    )
    doubtful = sure.sum() >= _FEW_SURE and right[sure].mean() < 0.5
    if doubtful or right.mean() < _LEAST_RIGHT:
        raise VprError(contradiction)
    try:
        found = calibrated_by(answers, start)
    except ValueError as error:
        raise VprError(contradiction) from error
    if found is None:
        raise VprError(
            f'{source}: tells too little of what the map lacks; the map is too small, or all its '
            'places are near each other'
        )
    return found, judged


def _refuse_own(experiment: Experiment, frames: list[Frame], descriptors: np.ndarray) -> None:
    """VprError where most of the images are the map's own."""
    traverse = experiment.traverse
    shared = shared_images(experiment.place_map, traverse, frames, descriptors)
    if 2 * shared > len(frames):
        other = 'other images (--role)' if traverse.preselected else 'another traverse'
        raise VprError(
            f'{traverse.path}: {shared} of its {len(frames)} images are images of the map itself, '
            f'which tell nothing of other drives; give {other}'
        )


def _judged(answers: list[Answered], start: Mapping[str, float]) -> tuple[np.ndarray, np.ndarray]:
    """Of the images whose place the map has: whether the answer is right, whether the map was
    sure of it before; both bool (n,)."""
    there = [a for a in answers if a.on_the_map]
    right = np.array([a.right for a in there])
    return right, np.array([probability(a.known, start) >= _SURE for a in there])


def _answers(
    experiment: Experiment, embedder: Embedder
) -> tuple[list[tuple[Answered, Answered | None]], int, int]:
    """The answers, the number of images, and of those that have a right place."""
    queries, matcher = experiment.queries, experiment.matcher()
    jobs = (
        (frame, (embedder.resize(pixels), order))
        for frame, (pixels, order) in queries.pixels(embedder.ample_size)
    )
    seen = list(in_parallel(embedder.describe, jobs, experiment.options.workers))
    if not seen:
        raise queries.none_left()
    frames = [frame for frame, _ in seen]
    _refuse_own(experiment, frames, np.stack([look.descriptor for _, look in seen]))
    truth, answers, there = experiment.ground_truth(frames), [], 0
    near = cache(lambda i: frozenset(np.flatnonzero(matcher.near.of(i)).tolist()))
    for frame, look in tqdm(seen, desc='calibrate', delay=2, disable=None):
        rows = np.flatnonzero(truth.positives_of([frame], truth.places)[0]).tolist()
        answers.append(ask_both(matcher, look, frozenset(rows)))
        hidden = frozenset().union(*map(near, rows))
        if rows and len(truth.places) - len(hidden) >= LEAST_ELSEWHERE:
            answers.append(ask_both(matcher, look, (), hidden))
        there += bool(rows)
    return answers, len(seen), there

# SPDX-License-Identifier: Apache-2.0
"""Evaluations made up for tests of what is written of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from conftest import places_along_x

from ashtkd_ros.evaluation.metrics import Answer, Metrics, metrics_of
from ashtkd_ros.evaluation.report import Evaluation
from ashtkd_ros.geometry.pose import Pose
from ashtkd_ros.traverses.image_folder import file_frame


def answers_of(
    right: Sequence[bool],
    folder: Path = Path('gone'),
    with_poses: bool = True,
    confidence: Callable[[int], float] = lambda i: 0.95 - 0.9 * (i % 10) / 10,
) -> list[Answer]:
    """An answer a verdict: query i at x = i m, 0.4 m aside from its place; refused below 0.5."""
    places = places_along_x(range(len(right)), with_poses)
    answers = []
    for i, (place, verdict) in enumerate(zip(places, right, strict=True)):
        pose = Pose(float(i), 0.4, 0.0) if with_poses else None
        query = file_frame(folder / f'{i:05d}.jpg', 0.5 * i, i, pose)
        sure = confidence(i)
        answers.append(Answer(query, place, sure, bool(verdict), 0.8, sure >= 0.5))
    return answers


def metrics_for(answers: Sequence[Answer]) -> Metrics:
    """The figures of these answers; of five candidates each no other is right."""
    hits = np.zeros((len(answers), 5), bool)
    hits[:, 0] = [a.right for a in answers]
    has_positive = np.array([a.has_positive for a in answers])
    return metrics_of(hits, np.array([a.confidence for a in answers]), has_positive)


def evaluation_of(answers: Sequence[Answer], **changed: object) -> Evaluation:
    """An evaluation of one method; `changed` overrides its fields."""
    plain = Evaluation(
        title='dusk in day',
        facts={'map': 'town/day'},
        methods={'single images': metrics_for(answers)},
        answers=answers,
        min_confidence=0.5,
        similarity=None,
        timing={},
        traffic=None,
        notes=(),
    )
    return replace(plain, **changed)

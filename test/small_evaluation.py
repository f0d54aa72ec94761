# SPDX-License-Identifier: Apache-2.0
"""Evaluations made up for tests of what is written of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from conftest import places_along_x

from ashtkd_ros.evaluation.ground_truth import JudgedQuery
from ashtkd_ros.evaluation.metrics import Metrics, calibration_of, metrics_of
from ashtkd_ros.evaluation.result import Evaluation
from ashtkd_ros.geometry.pose import Pose
from ashtkd_ros.recognition.recogniser import MIN_CONFIDENCE
from ashtkd_ros.traverses.image_folder import file_frame


def judged_queries(
    right: Sequence[bool],
    folder: Path = Path('gone'),
    with_poses: bool = True,
    confidence: Callable[[int], float] = lambda i: 0.95 - 0.9 * (i % 10) / 10,
) -> list[JudgedQuery]:
    """One query for each verdict: query i is at x = i m, 0.4 m beside its place."""
    places = places_along_x(range(len(right)), with_poses)
    judged = []
    for i, (place, verdict) in enumerate(zip(places, right, strict=True)):
        pose = Pose(float(i), 0.4, 0.0) if with_poses else None
        query = file_frame(folder / f'{i:05d}.jpg', 0.5 * i, i, pose)
        sure = confidence(i)
        accepted = sure >= MIN_CONFIDENCE
        judged.append(JudgedQuery(query, place, sure, bool(verdict), 0.8, accepted))
    return judged


def metrics_for(judged: Sequence[JudgedQuery]) -> Metrics:
    """The figures of these queries; each has five candidates, of which only the first is right."""
    hits = np.zeros((len(judged), 5), bool)
    hits[:, 0] = [q.right for q in judged]
    has_positive = np.array([q.has_positive for q in judged])
    near = np.array([q.right or q.within_twice for q in judged])
    return metrics_of(hits, np.array([q.confidence for q in judged]), has_positive, near)


def evaluation_of(judged: Sequence[JudgedQuery], **changed: object) -> Evaluation:
    """An evaluation of one method; `changed` overrides its fields."""
    plain = Evaluation(
        title='dusk in day',
        facts={'map': 'town/day'},
        methods={'single images': metrics_for(judged)},
        judged=judged,
        reliability={'single images': calibration_of(judged)},
        min_confidence=MIN_CONFIDENCE,
        similarity=None,
        timing={},
        traffic=None,
        notes=(),
    )
    return replace(plain, **changed)

# SPDX-License-Identifier: Apache-2.0
"""How good is a map: ground truth between two traverses, recall, precision."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ashtkd_ros.errors import VprError
from ashtkd_ros.place_map import Place
from ashtkd_ros.sources import Frame, Pose

RECALL_AT = (1, 5, 10, 20)


@dataclass(frozen=True)
class Tolerance:
    """When two images show the same place: metres and degrees with poses, else frames apart."""

    metres: float = 3.0
    degrees: float = 45.0
    frames: int = 2


@dataclass(frozen=True)
class Metrics:
    """Result of an evaluation; all shares in [0, 1].

    `recall`: N → share of ALL queries with a right place among the first N candidates, those
    without any positive in the map kept in the denominator and counted in `without_positive`.
    `precision`, `found`: the precision-recall curve as the threshold on the score falls, `found`
    being right answers over queries that have a positive. `average_precision`: the area under it
    by steps; `recall_at_full_precision`: the most that is found with no wrong answer.
    """

    queries: int
    without_positive: int
    recall: dict[int, float]
    average_precision: float
    recall_at_full_precision: float
    precision: np.ndarray = field(repr=False)
    found: np.ndarray = field(repr=False)

    def line(self) -> str:
        """The figures on one line."""
        recalls = '  '.join(f'R@{n} {100 * r:.1f} %' for n, r in self.recall.items())
        text = (
            f'{recalls}  AP {self.average_precision:.3f}  '
            f'recall at 100 % precision {100 * self.recall_at_full_precision:.1f} %  '
            f'({self.queries} queries'
        )
        return text + (
            f', {self.without_positive} without a positive)' if self.without_positive else ')'
        )


def positives(queries: Sequence[Frame], places: Sequence[Place], tolerance: Tolerance):
    """bool (Q, N): does place n show what query q shows?

    By poses where all have one; else by frame number where the places are named by numbers; else
    by equal names. VprError where there is none of these.
    """
    everything = (*queries, *places)
    if all(x.pose is not None for x in everything):
        q, p = (_planar([x.pose for x in group]) for group in (queries, places))
        apart = np.hypot(q[:, None, 0] - p[None, :, 0], q[:, None, 1] - p[None, :, 1])
        turn = np.abs((q[:, None, 2] - p[None, :, 2] + math.pi) % (2 * math.pi) - math.pi)
        return (apart <= tolerance.metres) & (turn <= math.radians(tolerance.degrees))
    if not all(x.label for x in everything):
        raise VprError('nothing to judge by: both traverses need poses, or both place names')
    if all(x.label.isdecimal() for x in everything):
        q, p = (np.array([int(x.label) for x in group]) for group in (queries, places))
        return np.abs(q[:, None] - p[None]) <= tolerance.frames
    labels = np.array([p.label for p in places])[None]
    return np.array([f.label for f in queries])[:, None] == labels


def _planar(poses: Sequence[Pose]) -> np.ndarray:
    return np.array([(p.x, p.y, p.yaw) for p in poses])


def evaluate(ranking: np.ndarray, scores: np.ndarray, truth: np.ndarray) -> Metrics:
    """`ranking` int (Q, K) place rows best first, `scores` (Q,) of the first, `truth` bool (Q, N).

    Rows of -1 are candidates that were not given (an unknown place), which are never right.
    """
    rows = np.arange(len(ranking))[:, None]
    hits = truth[rows, ranking] & (ranking >= 0)
    recall = {n: float(hits[:, :n].any(axis=1).mean()) for n in RECALL_AT if n <= hits.shape[1]}
    has_positive = truth.any(axis=1)
    precision, found = precision_recall(hits[:, 0], scores, int(has_positive.sum()))
    steps = np.diff(found, prepend=0.0)
    perfect = found[precision >= 1.0]
    return Metrics(
        queries=len(ranking),
        without_positive=int((~has_positive).sum()),
        recall=recall,
        average_precision=float((steps * precision).sum()),
        recall_at_full_precision=float(perfect.max()) if perfect.size else 0.0,
        precision=precision,
        found=found,
    )


def precision_recall(
    right: np.ndarray, scores: np.ndarray, total: int
) -> tuple[np.ndarray, np.ndarray]:
    """Precision and recall at each distinct score, highest first; equal scores stand or fall
    together. `right` bool (Q,), `scores` (Q,), `total`: queries that could be right."""
    order = np.argsort(-scores, kind='stable')
    last = np.append(np.diff(scores[order]) != 0, True)
    accepted = np.arange(1, len(order) + 1)[last]
    correct = np.cumsum(right[order])[last]
    return correct / accepted, correct / max(total, 1)

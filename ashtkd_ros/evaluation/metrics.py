# SPDX-License-Identifier: Apache-2.0
"""Figures of merit: recall, precision and recall, calibration, localisation error."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ashtkd_ros.errors import VprError
from ashtkd_ros.evaluation.ground_truth import JudgedQuery, hits_of
from ashtkd_ros.text import counted

RECALL_AT = (1, 5, 10, 20)
_ROUNDING = 1e-12  # by so much two F1 that are equal may differ


@dataclass(frozen=True)
class Metrics:
    """The figures of one method; all shares are in [0, 1].

    `recall`: N → share of ALL queries with a right place among the first N candidates. Queries
    without any right place in the map stay in the denominator; `without_positive` counts them.
    `precision_curve`, `recall_curve`, `thresholds`: float (n,) each, as the threshold on the score
    falls; the recall of the curve is over the queries that have a right place.
    `average_precision`: the area under the curve, added up by steps. `recall_at_full_precision`:
    the highest recall at which no answer is wrong. `f1_max`: the highest harmonic mean of
    precision and recall. `f1_threshold`: the highest score that reaches it, NaN where nothing is
    right. `within_twice`: share of all queries whose first candidate is within twice the
    tolerance, right ones too; NaN where that is not known.
    """

    queries: int
    without_positive: int
    recall: dict[int, float]
    average_precision: float
    recall_at_full_precision: float
    f1_max: float
    f1_threshold: float
    precision_curve: np.ndarray = field(repr=False)
    recall_curve: np.ndarray = field(repr=False)
    thresholds: np.ndarray = field(repr=False)
    within_twice: float = math.nan

    def line(self) -> str:
        """The figures on one line."""
        recall = {n: f'R@{n} {100 * r:.1f} %' for n, r in self.recall.items()}
        if not math.isnan(self.within_twice):
            recall[1] += f' ({100 * self.within_twice:.1f} % within twice the tolerance)'
        recalls = '  '.join(recall.values())
        text = (
            f'{recalls}  AP {self.average_precision:.3f}  '
            f'recall at 100 % precision {100 * self.recall_at_full_precision:.1f} %  '
            f'({counted(self.queries, "query", "queries")}'
        )
        return text + (
            f', {self.without_positive} without a positive)' if self.without_positive else ')'
        )


def retrieval_metrics(ranking: np.ndarray, scores: np.ndarray, truth: np.ndarray) -> Metrics:
    """`ranking` int (Q, K) place rows best first, `scores` (Q,) of the first, `truth` bool (Q, N).

    A candidate that was not given (an unknown place) has the row -1 and is never right.
    """
    return metrics_of(hits_of(ranking, truth), scores, truth.any(axis=1))


def metrics_of(
    hits: np.ndarray,
    scores: np.ndarray,
    has_positive: np.ndarray,
    within_twice: np.ndarray | None = None,
) -> Metrics:
    """`hits` bool (Q, K): is candidate k right; `scores` (Q,) of the first candidate.

    `hits` and `has_positive` bool (Q,) come from `GroundTruth.judge`, `within_twice` bool (Q,)
    from the method of that name. Raises VprError if there is no query.
    """
    if not len(hits):
        raise VprError('there is no query to judge; check that the traverse has images')
    recall = {n: float(hits[:, :n].any(axis=1).mean()) for n in RECALL_AT if n <= hits.shape[1]}
    curve = precision_recall(hits[:, 0], scores, int(has_positive.sum()))
    precision_curve, recall_curve, thresholds = curve
    steps = np.diff(recall_curve, prepend=0.0)
    perfect = recall_curve[precision_curve >= 1.0]
    both = precision_curve + recall_curve
    f1 = 2 * precision_curve * recall_curve / np.maximum(both, 1e-12)
    best = int((f1 >= f1.max() - _ROUNDING).argmax())
    return Metrics(
        queries=len(hits),
        without_positive=int((~has_positive).sum()),
        recall=recall,
        average_precision=float((steps * precision_curve).sum()),
        recall_at_full_precision=float(perfect.max()) if perfect.size else 0.0,
        f1_max=float(f1.max()),
        f1_threshold=float(thresholds[best]) if f1[best] else math.nan,
        precision_curve=precision_curve,
        recall_curve=recall_curve,
        thresholds=thresholds,
        within_twice=math.nan if within_twice is None else float(within_twice.mean()),
    )


def precision_recall(
    right: np.ndarray, scores: np.ndarray, total: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Precision and recall at each distinct score, and these scores, highest first.

    `right` bool (Q,), `scores` (Q,); `total`: the number of queries that have a right place.
    Equal scores are accepted together.
    """
    order = np.argsort(-scores, kind='stable')
    last = np.append(np.diff(scores[order]) != 0, True)
    accepted = np.arange(1, len(order) + 1)[last]
    correct = np.cumsum(right[order])[last]
    return correct / accepted, correct / max(total, 1), scores[order][last]


@dataclass(frozen=True)
class Calibration:
    """Is a confidence of 0.8 right in 80 % of the cases? Ten equal bins over [0, 1].

    `count` int (10,), `confidence` and `right` float (10,): answers in each bin, their mean
    confidence and the share that is right (NaN in an empty bin). `error`: expected calibration
    error, the mean of |right - confidence| weighted by count (Naeini et al., AAAI 2015; Guo et
    al., ICML 2017).
    """

    count: np.ndarray
    confidence: np.ndarray
    right: np.ndarray
    error: float


def calibration(
    confidences: np.ndarray, right: np.ndarray, named: np.ndarray | None = None
) -> Calibration:
    """Calibration of at least one answer: `confidences` (Q,) in [0, 1] and `right` bool (Q,).

    `named` bool (Q,), None for all: whether a place was named. An answer without one has no
    confidence and does not count, unless there is no other.
    """
    if named is not None and named.any():
        confidences, right = confidences[named], right[named]
    confidences, bins = np.asarray(confidences, float), 10
    bin_of = np.clip((bins * confidences).astype(int), 0, bins - 1)
    count = np.bincount(bin_of, minlength=bins)
    with np.errstate(invalid='ignore'):
        mean = np.bincount(bin_of, confidences, bins) / count
        share = np.bincount(bin_of, np.asarray(right, float), bins) / count
    error = float(np.nansum(count * np.abs(share - mean)) / count.sum())
    return Calibration(count, mean, share, error)


def calibration_of(judged: Sequence[JudgedQuery]) -> Calibration:
    """Calibration of at least one query, refused ones too."""
    rows = [(q.confidence, q.right, q.place is not None) for q in judged]
    confidences, right, named = (np.array(column) for column in zip(*rows, strict=True))
    return calibration(confidences, right, named)


@dataclass(frozen=True)
class Localisation:
    """Metres in the plane from query to named place, over `n` accepted answers with poses."""

    median: float
    p95: float
    n: int


def localisation_errors(judged: Sequence[JudgedQuery]) -> np.ndarray:
    """Metres, float (n,), of the accepted answers, right or wrong, where both have a pose."""
    return np.array([q.metres for q in judged if q.accepted and q.metres is not None])


def localisation_error(judged: Sequence[JudgedQuery]) -> Localisation | None:
    """Median and 95th percentile of `localisation_errors`; None where there are none."""
    errors = localisation_errors(judged)
    if not errors.size:
        return None
    median, p95 = np.percentile(errors, (50, 95))
    return Localisation(float(median), float(p95), len(errors))


def unknown_share(judged: Sequence[JudgedQuery]) -> float:
    """Share of at least one query whose answer is "unknown", [0, 1]."""
    return sum(not q.accepted for q in judged) / len(judged)

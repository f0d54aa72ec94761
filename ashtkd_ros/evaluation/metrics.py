# SPDX-License-Identifier: Apache-2.0
"""How good is a map: ground truth between two traverses, recall, precision, calibration."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ashtkd_ros.errors import VprError
from ashtkd_ros.files.tables import is_whole, read_rows
from ashtkd_ros.geometry.angles import wrap_radians
from ashtkd_ros.geometry.pose import Pose
from ashtkd_ros.maps.place_map import Place
from ashtkd_ros.sampling import thin
from ashtkd_ros.traverses.frame import Frame

RECALL_AT = (1, 5, 10, 20)
MOST_SIMILARITIES = 400
# Frames (n) and places (N) → bool (n, N): does place show what the frame shows?
PositivesOf = Callable[[Sequence[Frame], Sequence[Place]], np.ndarray]
NOTHING_TO_JUDGE_BY = (
    'nothing to judge by: map and traverse need poses, or both place names; '
    'else list the right frames with --correspondences'
)


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
    `precision`, `found`, `thresholds`: the precision-recall curve as the threshold on the score
    falls, `found` being right answers over queries that have a positive. `average_precision`: the
    area under it by steps; `recall_at_full_precision`: the most that is found with no wrong
    answer; `f1_max`: the highest harmonic mean of precision and `found`, `f1_threshold` the
    highest score that reaches it (NaN where nothing is right).
    """

    queries: int
    without_positive: int
    recall: dict[int, float]
    average_precision: float
    recall_at_full_precision: float
    f1_max: float
    f1_threshold: float
    precision: np.ndarray = field(repr=False)
    found: np.ndarray = field(repr=False)
    thresholds: np.ndarray = field(repr=False)

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


@dataclass(frozen=True)
class Answer:
    """What was said of one query: the best place and its confidence, and whether it is right.

    `place` is None where none was named or no answer came; `accepted` is False where the place was
    refused, so that "unknown" was said; `has_positive` is False where no place of the map would
    have been right.
    """

    query: Frame
    place: Place | None
    confidence: float
    right: bool
    similarity: float = math.nan
    accepted: bool = True
    has_positive: bool = True


def positives(
    queries: Sequence[Frame], places: Sequence[Place], tolerance: Tolerance
) -> np.ndarray:
    """bool (Q, N): does place n show what query q shows?

    By poses where every query has one and some place: the others are never right; else by frame
    number where all places are named by numbers; else by equal names. VprError where there is none
    of these.
    """
    return positives_by(queries, places, tolerance)(queries, places)


def positives_by(
    queries: Sequence[Frame], places: Sequence[Place], tolerance: Tolerance
) -> PositivesOf:
    """`positives` of some of these queries and all of these places at a time, for `judge`.

    Decided once, over all: else one query without a pose would be judged otherwise than the rest.
    """
    if all(q.pose is not None for q in queries) and any(p.pose is not None for p in places):
        mapped = _planar(places)
        return lambda part, _: _near(_planar(part), mapped, tolerance)
    everything = (*queries, *places)
    if not all(x.label for x in everything):
        raise VprError(NOTHING_TO_JUDGE_BY)
    if all(is_whole(x.label) for x in everything):
        numbers = np.array([int(p.label) for p in places])
        return lambda part, _: (
            np.abs(np.array([int(f.label) for f in part])[:, None] - numbers) <= tolerance.frames
        )
    labels = np.array([p.label for p in places])
    return lambda part, _: np.array([f.label for f in part])[:, None] == labels


def _planar(group: Sequence[Frame | Place]) -> np.ndarray:
    nowhere = (math.nan,) * 3  # near to nothing
    poses = [x.pose for x in group]
    return np.array([nowhere if p is None else (p.x, p.y, p.yaw) for p in poses])


def _near(q: np.ndarray, p: np.ndarray, tolerance: Tolerance) -> np.ndarray:
    near = np.abs(q[:, None, 0] - p[:, 0]) <= tolerance.metres
    near &= np.abs(q[:, None, 1] - p[:, 1]) <= tolerance.metres
    rows, columns = np.nonzero(near)  # few: the slow functions see only these
    apart = q[rows] - p[columns]
    turn = np.abs(wrap_radians(apart[:, 2]))
    near[rows, columns] = (np.hypot(apart[:, 0], apart[:, 1]) <= tolerance.metres) & (
        turn <= math.radians(tolerance.degrees)
    )
    return near


class Correspondences:
    """Ground truth by frame numbers: which map frames show what a query frame shows.

    `pairs`: `Frame.order` of a query → `Place.traverse`, or None for the only one, and
    `Place.order` of its places; a place is right within `frames` of one of them, and a query that
    is not listed has no right place.
    """

    def __init__(
        self, pairs: Mapping[int, Sequence[tuple[int | None, int]]], frames: int, name: str
    ):
        self.pairs, self.frames, self._name = pairs, frames, name

    @classmethod
    def read(cls, table: Path, frames: int = 0) -> Correspondences:
        """Read a CSV with the columns query,map and perhaps traverse; a query may have many rows.

        VprError that names the line where one is no frame number, or where there is no row.
        """
        pairs: dict[int, list[tuple[int | None, int]]] = {}
        for line, row in read_rows(table, ('query', 'map')):
            for column in ('query', 'map', 'traverse'):
                if column in row and not is_whole(row[column]):
                    raise VprError(
                        f'{table}:{line}: {column} is "{row[column]}", it must be a number from 0'
                    )
            traverse = int(row['traverse']) if 'traverse' in row else None
            pairs.setdefault(int(row['query']), []).append((traverse, int(row['map'])))
        if not pairs:
            raise VprError(f'{table}: lists no correspondence; add rows of query,map')
        return cls(pairs, frames, str(table))

    def check(self, queries: Iterable[Frame], places: Sequence[Place]) -> None:
        """VprError where the numbers are not those of these queries and places."""
        listed = {pair for pairs in self.pairs.values() for pair in pairs}
        traverses = len({p.traverse for p in places})
        if traverses > 1 and any(traverse is None for traverse, _ in listed):
            raise VprError(
                f'{self._name}: the map is of {traverses} traverses, each with its own numbers; '
                'add a column traverse, numbered from 0 as in places.csv'
            )
        if not self._near(listed, _numbers(places)).any():
            raise VprError(f'{self._name}: no number in the column map is a frame of this map')
        if not any(q.order in self.pairs for q in queries):
            raise VprError(f'{self._name}: no number in the column query is a frame replayed')

    def __call__(self, queries: Sequence[Frame], places: Sequence[Place]) -> np.ndarray:
        """bool (n, N), as `judge` asks for it."""
        numbers = _numbers(places)
        rows = [self._near(self.pairs.get(query.order, ()), numbers) for query in queries]
        return np.array(rows, bool).reshape(len(queries), len(places))

    def _near(self, listed: Iterable[tuple[int | None, int]], numbers: np.ndarray) -> np.ndarray:
        traverses, orders = numbers
        found = np.zeros(len(orders), bool)
        for traverse, order in listed:
            near = np.abs(orders - order) <= self.frames
            found |= near if traverse is None else near & (traverses == traverse)
        return found


def _numbers(places: Sequence[Place]) -> np.ndarray:
    return np.array([(p.traverse, p.order) for p in places]).T


def judge(
    ranking: np.ndarray,
    queries: Sequence[Frame],
    places: Sequence[Place],
    positives_of: PositivesOf,
    chunk: int = 512,
) -> tuple[np.ndarray, np.ndarray]:
    """`ranking` int (Q, K) place rows best first → hits bool (Q, K), has_positive bool (Q,).

    The ground truth is made for `chunk` queries at a time: a long traverse in a long map has no
    room for all of it. Rows of -1 are candidates that were not given, which are never right.
    """
    hits = np.zeros(ranking.shape, bool)
    has_positive = np.zeros(len(ranking), bool)
    for start in range(0, len(ranking), chunk):
        part = slice(start, start + chunk)
        truth = positives_of(queries[part], places)
        hits[part], has_positive[part] = _hits(ranking[part], truth), truth.any(axis=1)
    return hits, has_positive


def _hits(ranking: np.ndarray, truth: np.ndarray) -> np.ndarray:
    return truth[np.arange(len(ranking))[:, None], ranking] & (ranking >= 0)


def evaluate(ranking: np.ndarray, scores: np.ndarray, truth: np.ndarray) -> Metrics:
    """`ranking` int (Q, K) place rows best first, `scores` (Q,) of the first, `truth` bool (Q, N).

    Rows of -1 are candidates that were not given (an unknown place), which are never right.
    """
    return metrics_of(_hits(ranking, truth), scores, truth.any(axis=1))


def metrics_of(hits: np.ndarray, scores: np.ndarray, has_positive: np.ndarray) -> Metrics:
    """`hits` bool (Q, K): is candidate k right; `scores` (Q,) of the first; both from `judge`.

    VprError where there is no query.
    """
    if not len(hits):
        raise VprError('no query to judge; check that the traverse has images and was answered')
    recall = {n: float(hits[:, :n].any(axis=1).mean()) for n in RECALL_AT if n <= hits.shape[1]}
    precision, found, thresholds = precision_recall(hits[:, 0], scores, int(has_positive.sum()))
    steps = np.diff(found, prepend=0.0)
    perfect = found[precision >= 1.0]
    f1 = 2 * precision * found / np.maximum(precision + found, 1e-12)
    best = int(f1.argmax())
    return Metrics(
        queries=len(hits),
        without_positive=int((~has_positive).sum()),
        recall=recall,
        average_precision=float((steps * precision).sum()),
        recall_at_full_precision=float(perfect.max()) if perfect.size else 0.0,
        f1_max=float(f1[best]),
        f1_threshold=float(thresholds[best]) if f1[best] else math.nan,
        precision=precision,
        found=found,
        thresholds=thresholds,
    )


def precision_recall(
    right: np.ndarray, scores: np.ndarray, total: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Precision and recall at each distinct score, and these scores, highest first.

    Equal scores stand or fall together. `right` bool (Q,), `scores` (Q,), `total`: queries that
    could be right.
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


def calibration(confidences: np.ndarray, right: np.ndarray) -> Calibration:
    """`confidences` (Q,) in [0, 1] and `right` bool (Q,) of at least one answer."""
    confidences, bins = np.asarray(confidences, float), 10
    bin_of = np.clip((bins * confidences).astype(int), 0, bins - 1)
    count = np.bincount(bin_of, minlength=bins)
    with np.errstate(invalid='ignore'):
        mean = np.bincount(bin_of, confidences, bins) / count
        share = np.bincount(bin_of, np.asarray(right, float), bins) / count
    error = float(np.nansum(count * np.abs(share - mean)) / count.sum())
    return Calibration(count, mean, share, error)


@dataclass(frozen=True)
class Localisation:
    """Metres in the plane between query and matched place, of `n` accepted answers with poses."""

    median: float
    p95: float
    n: int


def localisation_errors(answers: Sequence[Answer]) -> np.ndarray:
    """Metres, float (n,), right or wrong, of the accepted answers where both have a pose."""
    pairs = [(a.query.pose, a.place.pose) for a in answers if a.accepted and a.place]
    return np.array([_metres(q, p) for q, p in pairs if q is not None and p is not None])


def localisation_error(answers: Sequence[Answer]) -> Localisation | None:
    """Median and 95th percentile of `localisation_errors`; None where there are none."""
    errors = localisation_errors(answers)
    if not errors.size:
        return None
    median, p95 = np.percentile(errors, (50, 95))
    return Localisation(float(median), float(p95), len(errors))


def _metres(a: Pose, b: Pose) -> float:
    return math.hypot(a.x - b.x, a.y - b.y)


def unknown_share(answers: Sequence[Answer]) -> float:
    """Share of at least one answer that was refused, [0, 1]."""
    return sum(not a.accepted for a in answers) / len(answers)


def thinned_similarity(
    queries: np.ndarray, places: np.ndarray, most: int = MOST_SIMILARITIES
) -> np.ndarray:
    """Descriptors (Q, D) and (N, D) → inner products float32 (q, n) of evenly spread ones."""
    q, n = (rows[thin(len(rows), most)] for rows in (queries, places))
    return np.asarray(q @ n.T, np.float32)

# SPDX-License-Identifier: Apache-2.0
"""What is right: which places of a map show what a query shows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ashtkd_ros.errors import VprError
from ashtkd_ros.files.tables import is_whole, read_rows
from ashtkd_ros.geometry.angles import wrap_radians
from ashtkd_ros.maps.place_map import Place
from ashtkd_ros.recognition.matcher import Check
from ashtkd_ros.traverses.frame import Frame

# Frames (n) and places (N) → bool (n, N): does the place show what the frame shows?
PositivesOf = Callable[[Sequence[Frame], Sequence[Place]], np.ndarray]
NO_GROUND_TRUTH = (
    'there is no ground truth: the map and the traverse both need poses, or both need place '
    'names; otherwise list the right frames with --correspondences'
)


@dataclass(frozen=True)
class Tolerance:
    """How far apart two images of the same place may be.

    `metres` and `degrees` hold where both images have poses; `frames` holds where the places are
    named by numbers.
    """

    metres: float = 3.0
    degrees: float = 45.0
    frames: int = 2

    def twice(self) -> Tolerance:
        """Twice as far, turned twice as much: a wrong answer within it is a near miss."""
        return Tolerance(2 * self.metres, min(2 * self.degrees, 180.0), 2 * self.frames)


@dataclass(frozen=True)
class JudgedQuery:
    """One query: the best place that was named for it, its confidence, and whether it is right.

    `place` is None where no place was named or no answer came. `accepted` is False where the
    confidence was too low, so that the answer is "unknown". `has_positive` is False where no place
    of the map would have been right. `similarity` is NaN where it is not known. `within_twice`:
    whether the place is within twice the tolerance; one that is not right is then a near miss.
    `check`: what the local features say of the place, None where it was not verified.
    """

    query: Frame
    place: Place | None
    confidence: float
    right: bool
    similarity: float = math.nan
    accepted: bool = True
    has_positive: bool = True
    within_twice: bool = False
    check: Check | None = None

    @property
    def metres(self) -> float | None:
        """From the query to the place, in the plane; None where not both have a pose."""
        here, there = self.query.pose, self.place.pose if self.place else None
        if here is None or there is None:
            return None
        return math.hypot(here.x - there.x, here.y - there.y)


@dataclass(frozen=True)
class GroundTruth:
    """Queries, the places of a map, and the rule that says which of these places are right.

    `near_of`: the same rule with twice the tolerance; without it, the rule itself.
    """

    queries: Sequence[Frame]
    places: Sequence[Place]
    positives_of: PositivesOf
    near_of: PositivesOf | None = None

    def judge(self, ranking: np.ndarray, chunk: int = 512) -> tuple[np.ndarray, np.ndarray]:
        """`ranking` int (Q, K), place rows best first → hits bool (Q, K), has_positive bool (Q,).

        A candidate that was not given has the row -1 and is never right. The ground truth is made
        for `chunk` queries at a time: that of a long traverse in a long map would fill the memory.
        """
        hits = np.zeros(ranking.shape, bool)
        has_positive = np.zeros(len(ranking), bool)
        for start in range(0, len(ranking), chunk):
            part = slice(start, start + chunk)
            truth = self.positives_of(self.queries[part], self.places)
            hits[part], has_positive[part] = hits_of(ranking[part], truth), truth.any(axis=1)
        return hits, has_positive

    def within_twice(self, best: np.ndarray, chunk: int = 512) -> np.ndarray:
        """`best` int (Q,), rows of places or -1 → bool (Q,): within twice the tolerance?"""
        wider = GroundTruth(self.queries, self.places, self.near_of or self.positives_of)
        return wider.judge(best[:, None], chunk)[0][:, 0]


def hits_of(ranking: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """`ranking` int (Q, K) and `truth` bool (Q, N) → bool (Q, K): is candidate k right?"""
    return truth[np.arange(len(ranking))[:, None], ranking] & (ranking >= 0)


def positives(
    queries: Sequence[Frame], places: Sequence[Place], tolerance: Tolerance
) -> np.ndarray:
    """bool (Q, N): does place n show what query q shows? See `positives_by` for the rule."""
    return positives_by(queries, places, tolerance)(queries, places)


def positives_by(
    queries: Sequence[Frame], places: Sequence[Place], tolerance: Tolerance
) -> PositivesOf:
    """The rule that judges these queries in these places.

    Poses decide where every query and at least one place has one; a place without a pose is then
    never right. Otherwise frame numbers decide where all names are numbers; otherwise equal names
    do. The rule is chosen once, for all queries: one without a pose would otherwise be judged by
    another rule than the rest. Raises VprError where there are neither poses nor names.
    """
    if all(q.pose is not None for q in queries) and any(p.pose is not None for p in places):
        mapped = _planar(places)
        return lambda part, _: _near(_planar(part), mapped, tolerance)
    everything = (*queries, *places)
    if not all(x.label for x in everything):
        raise VprError(NO_GROUND_TRUTH)
    if all(is_whole(x.label) for x in everything):
        numbers = np.array([int(p.label) for p in places])
        return lambda part, _: (
            np.abs(np.array([int(f.label) for f in part])[:, None] - numbers) <= tolerance.frames
        )
    labels = np.array([p.label for p in places])
    return lambda part, _: np.array([f.label for f in part])[:, None] == labels


def _planar(group: Sequence[Frame | Place]) -> np.ndarray:
    """x, y in metres and yaw in radians, float (n, 3); NaN, which is near nothing, for no pose."""
    nowhere = (math.nan,) * 3
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
    """Ground truth by frame numbers: which frames of the map show what a query frame shows.

    `pairs`: `Frame.order` of a query → the traverse and the `Place.order` of each right frame; the
    traverse is None where the map is of only one. A place is right if one of its pictures is
    within `frames` of a right frame, and a query that is not listed has no right place.
    """

    def __init__(
        self, pairs: Mapping[int, Sequence[tuple[int | None, int]]], frames: int, name: str
    ):
        self.pairs, self.frames, self._name = pairs, frames, name

    @classmethod
    def read(cls, table: Path, frames: int = 0) -> Correspondences:
        """Read a CSV with the columns query,map and perhaps traverse; a query may have many rows.

        Raises VprError that names the line where a cell is not a frame number, or where the table
        has no row.
        """
        pairs: dict[int, list[tuple[int | None, int]]] = {}
        for line, row in read_rows(table, ('query', 'map')):
            for column in ('query', 'map', 'traverse'):
                if column in row and not is_whole(row[column]):
                    raise VprError(
                        f'{table}:{line}: {column} is "{row[column]}"; '
                        'it must be a whole number, 0 or more'
                    )
            traverse = int(row['traverse']) if 'traverse' in row else None
            pairs.setdefault(int(row['query']), []).append((traverse, int(row['map'])))
        if not pairs:
            raise VprError(f'{table}: lists no correspondence; add rows of query,map')
        return cls(pairs, frames, str(table))

    def twice(self) -> Correspondences:
        """The same with twice the tolerance in frames."""
        return Correspondences(self.pairs, 2 * self.frames, self._name)

    def check(self, queries: Iterable[Frame], places: Sequence[Place]) -> None:
        """Raise VprError where the numbers are not those of these queries and places."""
        listed = {pair for pairs in self.pairs.values() for pair in pairs}
        traverses = len({p.traverse for p in places})
        if traverses > 1 and any(traverse is None for traverse, _ in listed):
            raise VprError(
                f'{self._name}: the map is of {traverses} traverses, each with its own numbers; '
                'add a column traverse, numbered from 0 as in places.csv'
            )
        if not self._near(listed, _numbers(places)).any():
            raise VprError(
                f'{self._name}: no number in the column map is a frame of this map; '
                'give the numbers of the column order in places.csv'
            )
        if not any(q.order in self.pairs for q in queries):
            raise VprError(
                f'{self._name}: no number in the column query is a frame of this traverse; '
                'the images of a folder or a bag are numbered from 0'
            )

    def __call__(self, queries: Sequence[Frame], places: Sequence[Place]) -> np.ndarray:
        """bool (n, N): see `PositivesOf`."""
        numbers, of = _numbers(places), np.unique([p.id for p in places], return_inverse=True)[1]
        right = np.zeros((len(queries), len(places)), bool)  # by place: each may have pictures
        for row, query in zip(right, queries, strict=True):
            row[of[self._near(self.pairs.get(query.order, ()), numbers)]] = True
        return right[:, of]

    def _near(self, listed: Iterable[tuple[int | None, int]], numbers: np.ndarray) -> np.ndarray:
        traverses, orders = numbers
        right = np.zeros(len(orders), bool)
        for traverse, order in listed:
            near = np.abs(orders - order) <= self.frames
            right |= near if traverse is None else near & (traverses == traverse)
        return right


def _numbers(places: Sequence[Place]) -> np.ndarray:
    return np.array([(p.traverse, p.order) for p in places]).T

# SPDX-License-Identifier: Apache-2.0
"""Which positions of two views show the same point of the world.

`Correspondence.partners_between` serves views of one picture, and of two pictures of which a
relation is known: a camera that does not move, depth and pose, or pairs of points.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import cv2
import numpy as np

from ashtkd_ros.images.synthetic_change import UNIT


class SeenView(NamedTuple):
    """A part of a picture, seen as a square.

    `picture`: its path, as text; `corners`: float (4, 2), where the view's corners (top left, top
    right, bottom right, bottom left) lie in the picture, as shares of its sides.
    """

    picture: str
    corners: np.ndarray = UNIT


class Relation(Protocol):
    """What is known of pictures that show parts of one world."""

    def knows(self, a: str, b: str) -> bool:
        """Whether points of picture `a` may be found in picture `b`."""

    def points(self, a: str, b: str, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Points of picture `a` and those of picture `b` that show the same, float (n, 2) each.

        All are shares of the pictures' sides. `wanted`: float (m, 2), points of `a` that are asked
        for; a relation that knows only some points gives all of those.
        """


@dataclass(frozen=True)
class FixedCameras:
    """`camera_of`: picture → name of a camera that does not move; it sees all points again."""

    camera_of: Mapping[str, str]

    def knows(self, a: str, b: str) -> bool:
        """See `Relation`."""
        return a in self.camera_of and self.camera_of[a] == self.camera_of.get(b)

    def points(self, a: str, b: str, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See `Relation`."""
        return wanted, wanted


@dataclass(frozen=True)
class PointPairs:
    """`pairs`: two pictures → float (n, 4), points (x, y) of the first and of the second."""

    pairs: Mapping[tuple[str, str], np.ndarray]

    def knows(self, a: str, b: str) -> bool:
        """See `Relation`."""
        return (a, b) in self.pairs or (b, a) in self.pairs

    def points(self, a: str, b: str, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See `Relation`."""
        if (a, b) in self.pairs:
            return self.pairs[a, b][:, :2], self.pairs[a, b][:, 2:]
        return self.pairs[b, a][:, 2:], self.pairs[b, a][:, :2]


@dataclass(frozen=True)
class Correspondence:
    """All that is known of training pictures; the first relation that knows two is asked."""

    relations: Sequence[Relation] = ()

    def knows(self, a: str, b: str) -> bool:
        """Whether views of two pictures can have partners; those of one picture always can."""
        return a == b or any(relation.knows(a, b) for relation in self.relations)

    def partners_between(self, a: SeenView, b: SeenView, side_a: int, side_b: int) -> np.ndarray:
        """int64 (side_a**2,): for each position of view `a` the one of view `b` that shows it.

        Positions are those of grids of `side_a` and `side_b` cells along a side, row by row; -1
        where the partner is unknown, hidden, or outside the view or the picture.
        """
        wanted = _centres_in_picture(a, side_a)
        here = there = wanted
        if a.picture != b.picture:
            known = (r for r in self.relations if r.knows(a.picture, b.picture))
            relation = next(known, None)
            if relation is None:
                return np.full(side_a**2, -1)
            here, there = relation.points(a.picture, b.picture, wanted)
        return _on_grids((a, here, side_a), (b, there, side_b))


def _centres_in_picture(view: SeenView, side: int) -> np.ndarray:
    """float64 (side**2, 2): the cells' centres, as shares of the picture's sides."""
    at = (np.arange(side) + 0.5) / side
    centres = np.stack(np.meshgrid(at, at), axis=-1).reshape(-1, 1, 2)
    to_picture = cv2.getPerspectiveTransform(UNIT, np.float32(view.corners))
    return cv2.perspectiveTransform(centres, to_picture)[:, 0]


def _on_grids(
    first: tuple[SeenView, np.ndarray, int], second: tuple[SeenView, np.ndarray, int]
) -> np.ndarray:
    """Partners, of views with matching points (n, 2) of their pictures and sides of their grids.

    Of several points in one cell the one nearest to its centre counts.
    """
    (at, inside), (at_b, inside_b) = _in_view(*first[:2]), _in_view(*second[:2])
    side, side_b = first[2], second[2]
    both = inside & inside_b
    cells, cells_b = (np.floor(x[both] * s) for x, s in ((at, side), (at_b, side_b)))
    off_centre = np.abs(at[both] * side - cells - 0.5).max(axis=1)
    order = np.argsort(-off_centre, kind='stable')  # of equal indices the last is kept
    column, row = cells[order].astype(np.int64).T
    column_b, row_b = cells_b[order].astype(np.int64).T
    partners = np.full(side**2, -1)
    partners[row * side + column] = row_b * side_b + column_b
    return partners


def _in_view(view: SeenView, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points of a picture as shares of the view's sides, (n, 2), and which are inside both."""
    from_picture = cv2.getPerspectiveTransform(np.float32(view.corners), UNIT)
    seen = np.asarray(points, np.float64).reshape(-1, 1, 2)
    seen = cv2.perspectiveTransform(seen, from_picture)[:, 0] if len(seen) else seen[:, 0]
    inside = ((points > 0) & (points < 1) & (seen > 0) & (seen < 1)).all(axis=1)
    return seen, inside

# SPDX-License-Identifier: Apache-2.0
"""Which pictures are another look of a place that a map has."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ashtkd_ros.geometry.angles import wrap_radians
from ashtkd_ros.maps.places import Places


@dataclass(frozen=True)
class SamePlace:
    """When two pictures are of one place: closer than `metres` over ground, and turned by less
    than `degrees`. Where one of them has no pose: where they have one label."""

    metres: float
    degrees: float

    def fits(self, apart: np.ndarray, turn: np.ndarray) -> np.ndarray:
        """bool (P,): whether pictures so many metres apart and turned by so many radians, float
        (P,), are. What is as far or turned as the limits is not: see `keyframes.moved`."""
        return (apart < self.metres) & (np.abs(wrap_radians(turn)) < np.radians(self.degrees))


def places_of(
    new: Places,
    new_rows: np.ndarray,
    old: Places,
    old_rows: np.ndarray,
    same: SamePlace,
) -> np.ndarray:
    """int64 (K,): for each of K new pictures the number of the old place that it shows; -1: none.

    `new_rows` float32 (K, D), `old_rows` float32 (N, D): their descriptors, which decide between
    places of one label. By poses it is the place of the nearest picture.
    """
    found = np.full(len(new), -1, np.int64)
    posed = np.flatnonzero(old.posed)
    asked = np.flatnonzero(new.posed)
    if len(posed) and len(asked):
        nearest = nearest_pose(new, asked, old, posed, same)
        found[asked] = np.where(nearest >= 0, old.ids[nearest], -1)
    by_label: dict[str, list[int]] = {}
    for row in np.flatnonzero(old.labels.lengths).tolist():
        by_label.setdefault(old.labels[row], []).append(row)
    for row in np.flatnonzero((found < 0) & (new.labels.lengths > 0)).tolist():
        rows = np.array(by_label.get(new.labels[row], ()), np.int64)
        if new.posed[row]:  # a label alone does not outweigh poses that are apart
            rows = rows[~old.posed[rows]]
        if len(rows):
            found[row] = old.ids[rows[np.argmax(old_rows[rows] @ new_rows[row])]]
    return found


def nearest_pose(
    new: Places, asked: np.ndarray, old: Places, posed: np.ndarray, same: SamePlace
) -> np.ndarray:
    """int64 (A,): for each of the new rows `asked` the nearest of the old rows `posed` that is the
    same place; -1: none."""
    pairs = close_pairs(new.positions[asked, :2], old.positions[posed, :2], same.metres)
    apart, first, second = pairs
    fits = same.fits(apart, new.yaws[asked[first]] - old.yaws[posed[second]])
    apart, first, second = apart[fits], first[fits], second[fits]
    order = np.lexsort((second, apart, first))
    first, second = first[order], second[order]
    starts = np.flatnonzero(np.diff(first, prepend=-1))
    found = np.full(len(asked), -1, np.int64)
    found[first[starts]] = posed[second[starts]]
    return found


def close_pairs(
    first: np.ndarray, second: np.ndarray, metres: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Positions (A, 2) and (B, 2) → all pairs within `metres`: how far apart, float64 (P,), and
    the row of each, int64 (P,) twice."""
    from sklearn.neighbors import KDTree  # only maintenance and calibration need it

    rows, apart = KDTree(second).query_radius(first, r=metres, return_distance=True)
    lengths = [len(r) for r in rows]
    others = np.concatenate(rows) if len(rows) else np.zeros(0, np.int64)
    distances = np.concatenate(apart) if len(apart) else np.zeros(0)
    return distances, np.repeat(np.arange(len(first)), lengths), others.astype(np.int64)

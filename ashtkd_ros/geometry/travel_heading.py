# SPDX-License-Identifier: Apache-2.0
"""Headings from the direction of travel, for positions that have none, such as satellite fixes."""

from __future__ import annotations

import numpy as np

# A baseline not left within these times is standing: 2 m make 0.1 m/s. It is shorter ahead, so
# that a robot that stands and then leaves another way is not turned long before.
_LEG_BEHIND_S, _LEG_AHEAD_S = 20.0, 5.0


def travel_yaw(stamps: np.ndarray, positions: np.ndarray, baseline_m: float = 2.0) -> np.ndarray:
    """Headings float64 (N,) in radians (east = 0) from the direction of travel.

    `stamps` float64 (N,) in seconds, growing; `positions` float64 (N, 3) in metres east, north and
    up. The heading at a position is that of the line from the last position at least `baseline_m`
    away and at most 20 s ago to the next one as far away and at most 5 s ahead, so that it does
    not lag in bends. If one of the two is missing (standing, an end), the line begins or ends at
    the position itself. If both are missing, or the line is shorter than the baseline (turning
    round), the heading before is kept. The first heading also holds before it; without any, all
    are 0.
    """
    flat = positions[:, :2]
    start = _row_a_baseline_away(stamps, flat, baseline_m, -1, _LEG_BEHIND_S)
    end = _row_a_baseline_away(stamps, flat, baseline_m, 1, _LEG_AHEAD_S)
    chord = flat[end] - flat[start]
    known = np.flatnonzero(np.hypot(chord[:, 0], chord[:, 1]) >= baseline_m)
    if not len(known):
        return np.zeros(len(flat))
    # the last known one at or before each row; before the first of them, that first one
    held = known[np.maximum(np.searchsorted(known, np.arange(len(flat)), side='right') - 1, 0)]
    return np.arctan2(chord[held, 1], chord[held, 0])


def _row_a_baseline_away(
    stamps: np.ndarray, flat: np.ndarray, baseline_m: float, step: int, within_s: float
) -> np.ndarray:
    """For each row the nearest row in time (step -1: before, 1: after) that is a baseline away."""
    nearest = np.arange(len(flat))
    rows, other = nearest.copy(), nearest + step
    while len(rows):  # one round for each fix that fits into `within_s`
        there = (other >= 0) & (other < len(flat))
        rows, other = rows[there], other[there]
        soon = np.abs(stamps[other] - stamps[rows]) <= within_s
        rows, other = rows[soon], other[soon]
        far = np.hypot(*(flat[other] - flat[rows]).T) >= baseline_m
        nearest[rows[far]] = other[far]
        rows, other = rows[~far], other[~far] + step
    return nearest

# SPDX-License-Identifier: Apache-2.0
"""How far and how fast poses move: steps, the speed around them, what is within reach.

N is the number of poses, M that of the steps that are asked about.
"""

from __future__ import annotations

import numpy as np

JUMP_PUSH = 20.0  # m/s2: in a long step, unseen, a vehicle may have accelerated and braked
STEP_M = 0.5  # a jump to or from the origin is at least so long, and so is the end of being stuck
WINDOW = 10  # steps on each side that give the speed around a step


def steps_between(stamps: np.ndarray, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Metres and seconds, (N - 1,) each, from one pose to the next.

    If a pose was repeated before it changed, its step took the time since the last change, but at
    most three times the usual one. A stamp very soon after another counts as half the usual time.
    """
    step = np.linalg.norm(np.diff(positions, axis=0), axis=1)
    dt = np.diff(stamps)
    usual = float(np.median(dt))
    moved = np.flatnonzero(step > 0.0)
    if len(moved) > 1:
        since = np.diff(stamps[moved + 1], prepend=stamps[0])
        most = 3.0 * float(np.median(since[1:]))
        dt[moved] = np.maximum(dt[moved], np.minimum(since, most))
    return step, np.maximum(dt, 0.5 * usual)


def reachable_m(speed: np.ndarray, dt: np.ndarray, push: float = JUMP_PUSH) -> np.ndarray:
    """Metres that a body of this speed may move in `dt`, accelerating and braking by `push`."""
    return STEP_M + speed * dt + 0.25 * push * dt**2


def speed_around(speeds: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Speed around the steps `rows`, (M,): the larger of the medians before and after each."""
    return np.max(speeds_beside(speeds, rows), axis=0)


def speeds_beside(speeds: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Medians (2, M) of the speeds before and after the steps `rows`; 0 if there are none.

    Steps without motion belong to repeated poses and do not count.
    """
    moving = np.flatnonzero(speeds > 0.0)
    speeds, at = speeds[moving], np.searchsorted(moving, rows)
    padded = np.concatenate([np.full(WINDOW, np.nan), speeds, np.full(WINDOW, np.nan)])
    offsets = np.arange(WINDOW)
    sides = np.stack([padded[at[:, None] + offsets], padded[at[:, None] + offsets + WINDOW + 1]])
    known = np.sum(np.isfinite(sides), axis=2)
    ordered = np.sort(sides, axis=2)  # NaN last
    middle = np.maximum(known - 1, 0)[..., None] // 2  # the lower of two: jumps are fast
    medians = np.take_along_axis(ordered, middle, 2)[..., 0]
    few = known < WINDOW // 2  # near an end a jump or two could be the median
    return np.where(known > 0, np.where(few, ordered[..., 0], medians), 0.0)

# SPDX-License-Identifier: Apache-2.0
"""Where the robot is taken to be before its image is looked at: by a satellite fix, or a pose.

A prior limits which places may be the answer. It may be wrong, so it never limits the rivals: how
sure an answer is follows from the whole map, as without a prior.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from dataclasses import dataclass, field

import numpy as np

from ashtkd_ros.errors import VprError
from ashtkd_ros.geometry.pose import FARTHEST_M
from ashtkd_ros.geometry.pose_checks import NO_FIX_VARIANCE

RADIUS_M = 50.0  # default: satellites between houses are wrong by 30 m
_DEVIATIONS = 2.5  # of a normal distribution in the plane: 96 % lie within
_FASTEST_M_S = 15.0  # how far a robot may get from where it was
_OLDEST_S = 5.0
_LARGEST_M = math.sqrt(NO_FIX_VARIANCE)
_KEPT = 100  # positions


@dataclass(frozen=True)
class Prior:
    """A circle in the map's frame, metres; VprError where it is none."""

    x: float
    y: float
    radius_m: float

    def __post_init__(self):
        values = self.x, self.y, self.radius_m  # one by one: max() may pass over NaN
        if not (all(abs(value) <= FARTHEST_M for value in values) and self.radius_m > 0):
            raise VprError(
                f'the prior {self.x}, {self.y} with radius {self.radius_m} is no circle on earth; '
                'give metres in the frame of the map'
            )

    def __str__(self) -> str:
        return f'{self.radius_m:.0f} m of {self.x:.1f}, {self.y:.1f}'


@dataclass(frozen=True)
class PriorUse:
    """What a prior has meant for an answer.

    `prior`: the circle; `rows`: pictures of places within it, int64 in rising order; `ignored`:
    why it was not used, empty where it was; `beyond`: whether a picture outside of it is more
    similar to the image than all within.
    """

    prior: Prior
    rows: np.ndarray = field(repr=False, compare=False)
    ignored: str = ''
    beyond: bool = False

    @property
    def nowhere(self) -> str:
        """That no place can be the answer, in a sentence; empty where one can."""
        if self.ignored or len(self.rows):
            return ''
        return f'no place of the map lies within {self.prior}, where the prior is'

    def holds(self, rows: np.ndarray) -> np.ndarray:
        """bool (K,): which of K rows may be answers."""
        rows = np.asarray(rows, np.int64)
        if self.ignored or not len(self.rows):
            return np.ones(len(rows), bool)
        at = np.minimum(np.searchsorted(self.rows, rows), len(self.rows) - 1)
        return self.rows[at] == rows

    def __str__(self) -> str:
        if self.ignored:
            return f'ignored: {self.ignored}'
        beyond = '; a place outside of it is more similar' if self.beyond else ''
        return f'used: {len(self.rows)} pictures within {self.prior}{beyond}'


class PriorTrack:
    """The last positions that somebody has told; one thread may add them while another asks."""

    def __init__(self):
        self._lock = threading.Lock()
        self._told: deque[tuple[float, float, float, float]] = deque(maxlen=_KEPT)

    def add(self, stamp_s: float, x: float, y: float, deviation_m: float = 0.0) -> None:
        """A position in the map's frame, metres, and its standard deviation to any side.

        VprError for what is no position.
        """
        Prior(x, y, 1.0)
        if not (math.isfinite(stamp_s) and deviation_m >= 0):
            raise VprError('the prior has no stamp, or a standard deviation that is none')
        with self._lock:
            self._told.append((stamp_s, x, y, deviation_m))

    def at(self, stamp_s: float, radius_m: float) -> tuple[Prior | None, str]:
        """The prior for an image of this stamp, or None and why there is none.

        It is the position told nearest to that time. Its radius is `radius_m`, and more the less
        certain and the older it is.
        """
        with self._lock:
            told = list(self._told)
        if not told:
            return None, 'no position has come'
        then, x, y, deviation = min(told, key=lambda row: abs(row[0] - stamp_s))
        apart = abs(then - stamp_s)
        if not apart <= _OLDEST_S:
            order = 'before' if then < stamp_s else 'after'
            return None, f'the nearest position is {apart:.1f} s {order} the image'
        if deviation >= _LARGEST_M:
            return None, f'the position is uncertain by {deviation:.0f} m'
        return Prior(x, y, radius_m + _DEVIATIONS * deviation + _FASTEST_M_S * apart), ''

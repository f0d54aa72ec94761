# SPDX-License-Identifier: Apache-2.0
"""The way of the simulated robot: once round a walk that was rendered, and round again."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ashtkd_ros.errors import VprError
from ashtkd_ros.geometry.pose import Pose

RAMP_S = 2.0  # from standing to the full speed
_FEWEST = 8


@dataclass(frozen=True)
class Point:
    """A point of the route: metres and radians; `turn` in radians per metre, to the left."""

    x: float
    y: float
    yaw: float
    turn: float


class Route:
    """The closed line through the poses of a walk.

    `length` in metres; `marks`, float64 (n,), the distance of each picture along it.
    """

    def __init__(self, poses: Sequence[Pose]):
        if len(poses) < _FEWEST:
            raise VprError(f'a route needs {_FEWEST} poses or more, the walk has {len(poses)}')
        xy = np.array([(pose.x, pose.y) for pose in poses])
        closed = np.vstack([xy, xy[:1]])
        steps = np.hypot(*np.diff(closed, axis=0).T)
        distances = np.concatenate([[0.0], np.cumsum(steps)])
        yaw = np.unwrap([pose.yaw for pose in [*poses, poses[0]]])
        self.marks, self.length = distances[:-1], float(distances[-1])
        self._distances, self._xy, self._yaw = distances, closed, yaw

    def at(self, distance: float) -> Point:
        """Where the robot is after so many metres; it may be round more than once."""
        s = distance % self.length
        x, y = (float(np.interp(s, self._distances, self._xy[:, k])) for k in (0, 1))
        yaw = float(np.interp(s, self._distances, self._yaw))
        k = min(int(np.searchsorted(self._distances, s, 'right')), len(self.marks)) - 1
        step = self._distances[k + 1] - self._distances[k]
        turn = float((self._yaw[k + 1] - self._yaw[k]) / step)
        return Point(x, y, math.remainder(yaw, 2 * math.pi), turn)

    def picture(self, distance: float) -> tuple[int, float, float]:
        """The nearest picture: its number, and how far the robot is ahead of it (m) and turned to
        the left from it (radians)."""
        s = distance % self.length
        ahead = np.remainder(s - self.marks + self.length / 2, self.length) - self.length / 2
        number = int(np.abs(ahead).argmin())
        turned = math.remainder(self.at(s).yaw - float(self._yaw[number]), 2 * math.pi)
        return number, float(ahead[number]), turned


def distance_driven(seconds: float, speed: float) -> float:
    """Metres driven some seconds after the start, at a speed (m/s) that is reached in RAMP_S."""
    seconds = max(0.0, seconds)
    if seconds < RAMP_S:
        return speed * seconds**2 / (2 * RAMP_S)
    return speed * (seconds - RAMP_S / 2)


def speed_at(seconds: float, speed: float) -> float:
    """m/s so many seconds after the start."""
    return speed * min(max(0.0, seconds) / RAMP_S, 1.0)

# SPDX-License-Identifier: Apache-2.0
"""Odometry that drifts and satellite fixes that wander, of the simulated robot."""

from __future__ import annotations

import math

import numpy as np

from ashtkd_ros.geometry.geodesy import GeoOrigin
from tools.trial.route import Point

ODOMETRY_HZ, FIX_HZ = 50.0, 5.0
FIX_STDDEV_M = 0.5  # what the fixes claim
ORIGIN = GeoOrigin(48.0, 9.0, 400.0)  # where the town's x = y = 0 lies
_SCALE, _BIAS = 1.01, 0.0015  # of wheels that are worn, and of a gyroscope (radians per s)
_JITTER_M, _WANDER_M, _WANDER_S = 0.15, 0.35, 15.0  # of fixes: from one to the next, and slowly


class Odometry:
    """Where the robot believes to be: it counts its wheels' turns from its start on."""

    def __init__(self, seed: int = 0):
        self._rng = np.random.default_rng([seed, 8])
        self.x = self.y = self.yaw = 0.0
        self.speed = self.turning = 0.0

    def update(self, seconds: float, speed: float, turning: float) -> None:
        """So much later, at a speed (m/s) and a rate of turn (radians per s).

        `speed` and `turning` then hold what was measured.
        """
        if speed:
            self.speed = speed * _SCALE * (1 + 0.01 * float(self._rng.standard_normal()))
            self.turning = turning + _BIAS + 0.005 * float(self._rng.standard_normal())
        else:
            self.speed = self.turning = 0.0
        self.yaw = math.remainder(self.yaw + self.turning * seconds, 2 * math.pi)
        self.x += self.speed * seconds * math.cos(self.yaw)
        self.y += self.speed * seconds * math.sin(self.yaw)


class Receiver:
    """Satellite fixes of where the robot is: noisy, and off by something that changes slowly."""

    def __init__(self, seed: int = 0):
        self._rng = np.random.default_rng([seed, 9])
        self._wander = _WANDER_M * self._rng.standard_normal(2)

    def fix(self, point: Point, jump_m: float = 0.0) -> tuple[float, float, float]:
        """Latitude, longitude (degrees) and height (m); `jump_m`: how far off to the north."""
        keep = math.exp(-1.0 / (FIX_HZ * _WANDER_S))
        new = _WANDER_M * math.sqrt(1 - keep**2)
        self._wander = keep * self._wander + new * self._rng.standard_normal(2)
        off = self._wander + _JITTER_M * self._rng.standard_normal(2)
        where = np.array([[point.x + off[0], point.y + off[1] + jump_m, 0.0]])
        return tuple(ORIGIN.to_geodetic(where)[0].tolist())

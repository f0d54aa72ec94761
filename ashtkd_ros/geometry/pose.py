# SPDX-License-Identifier: Apache-2.0
"""A pose, and what can be none."""

from __future__ import annotations

import math
from dataclasses import dataclass

POSE_COLUMNS = ('x', 'y', 'z', 'qx', 'qy', 'qz', 'qw')
FARTHEST_M = 1e8  # twice round the earth and more; UTM reaches 1e7


@dataclass(frozen=True)
class Pose:
    """Camera body in the map frame (REP-103: x forward, y left, z up); metres, unit quaternion."""

    x: float
    y: float
    z: float
    qx: float = 0.0
    qy: float = 0.0
    qz: float = 0.0
    qw: float = 1.0

    @property
    def yaw(self) -> float:
        """Heading about z in radians, east = 0, counter-clockwise."""
        sin = 2.0 * (self.qw * self.qz + self.qx * self.qy)
        return math.atan2(sin, 1.0 - 2.0 * (self.qy**2 + self.qz**2))


def pose_fault(pose: Pose) -> str:
    """Why a pose cannot be one; empty where it can: finite, on earth, a quaternion of length 1."""
    why = position_fault(pose.x, pose.y, pose.z)
    if why:
        return why
    length = math.hypot(pose.qx, pose.qy, pose.qz, pose.qw)
    return '' if abs(length - 1.0) <= 0.02 else f'its quaternion has length {length:.3g}, not 1'


def position_fault(x: float, y: float, z: float) -> str:
    """The part of `pose_fault` about metres."""
    if all(abs(n) <= FARTHEST_M for n in (x, y, z)):  # NaN is not
        return ''
    return f'its position {x}, {y}, {z} is nowhere on earth'

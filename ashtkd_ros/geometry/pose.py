# SPDX-License-Identifier: Apache-2.0
"""A pose, the pose between two others, and what makes a pose invalid."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ashtkd_ros.geometry.quaternions import slerp

POSE_COLUMNS = ('x', 'y', 'z', 'qx', 'qy', 'qz', 'qw')
FARTHEST_M = 1e8  # more than twice around the earth; UTM coordinates reach 1e7


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
    """Why a pose is not valid; empty if it is: finite, on earth, a quaternion of length 1."""
    why = position_fault(pose.x, pose.y, pose.z)
    if why:
        return why
    length = math.hypot(pose.qx, pose.qy, pose.qz, pose.qw)
    return '' if abs(length - 1.0) <= 0.02 else f'its quaternion has length {length:.3g}, not 1'


def position_fault(x: float, y: float, z: float) -> str:
    """Why a position in metres is not valid; empty if it is."""
    if all(abs(n) <= FARTHEST_M for n in (x, y, z)):  # false for NaN
        return ''
    return f'its position {x}, {y}, {z} is nowhere on earth'


def interpolate_pose(start: Pose, end: Pose, share: float) -> Pose:
    """The pose at `share` (0 to 1) of the way: straight, and turned along the shortest arc."""
    a, b = (np.array([[getattr(pose, c) for c in POSE_COLUMNS]]) for pose in (start, end))
    position = a[0, :3] + share * (b[0, :3] - a[0, :3])
    quaternion = slerp(a[:, 3:], b[:, 3:], np.array([share]))[0]
    return Pose(*position.tolist(), *quaternion.tolist())

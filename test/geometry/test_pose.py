# SPDX-License-Identifier: Apache-2.0
"""Poses between two others, and angles within one turn."""

from __future__ import annotations

import math
from dataclasses import astuple

import numpy as np
import pytest

from ashtkd_ros.geometry.angles import wrap_degrees, wrap_radians
from ashtkd_ros.geometry.pose import Pose, interpolate_pose


def pose(yaw: float, x: float = 0.0) -> Pose:
    return Pose(x, 2.0, 3.0, 0.0, 0.0, math.sin(yaw / 2), math.cos(yaw / 2))


@pytest.mark.parametrize('share', [0.0, 0.1, 0.25, 0.9, 1.0])
def test_a_pose_between_two_is_turned_at_a_constant_rate(share: float) -> None:
    found = interpolate_pose(pose(0.2, 1.0), pose(2.8, 5.0), share)
    assert found.yaw == pytest.approx(0.2 + 2.6 * share)
    assert (found.x, found.y, found.z) == pytest.approx((1.0 + 4.0 * share, 2.0, 3.0))
    assert math.hypot(*astuple(found)[3:]) == pytest.approx(1.0)


def test_the_short_way_is_taken_whatever_the_signs_of_the_quaternions() -> None:
    start, end = Pose(0, 0, 0, 0, 0, 0.6, 0.8), Pose(2, 4, 6, 0, 0, -0.6, -0.8)
    found = interpolate_pose(start, end, 0.25)
    assert astuple(found) == pytest.approx((0.5, 1, 1.5, 0, 0, 0.6, 0.8))
    assert interpolate_pose(pose(3.0), pose(-3.0), 0.5).yaw == pytest.approx(math.pi)


def test_angles_are_wrapped_into_one_turn() -> None:
    turns = 2 * math.pi * np.arange(-3, 4)
    for angle in (-3.1, -0.5, 0.0, 1.0, 3.1):
        assert wrap_radians(angle + turns) == pytest.approx(np.full(7, angle))
    assert [wrap_degrees(a) for a in (180.0, -180.0, 190.0, -541.0, 359.5)] == pytest.approx(
        [-180.0, -180.0, -170.0, 179.0, -0.5]
    )

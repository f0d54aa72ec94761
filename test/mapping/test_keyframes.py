# SPDX-License-Identifier: Apache-2.0
"""Keyframes: what is far or turned enough to be another place."""

from __future__ import annotations

import math

import pytest

from ashtkd_ros.geometry.pose import Pose
from ashtkd_ros.mapping.keyframes import KeyframeOptions, moved

OPTIONS = KeyframeOptions()


def turned(degrees: float, x: float = 0.0) -> Pose:
    half = math.radians(degrees) / 2
    return Pose(x, 0.0, 0.0, 0.0, 0.0, math.sin(half), math.cos(half))


@pytest.mark.parametrize(
    ('pose', 'last', 'expected'),
    [
        (turned(0), None, True),
        (turned(0, 0.99), turned(0), False),
        (turned(0, 1.0), turned(0), True),
        (Pose(0.0, 0.0, 9.0), turned(0), False),  # satellites' heights are noise
        (turned(14.9), turned(0), False),
        (turned(15.1), turned(0), True),
        (turned(-15.1), turned(0), True),
        (turned(-179), turned(179), False),
        (turned(-170), turned(174), True),
        (turned(14, 0.9), turned(0), False),
    ],
)
def test_a_place_is_a_metre_or_a_turn_away(pose: Pose, last: Pose | None, expected: bool):
    assert moved(pose, last, OPTIONS) is expected

# SPDX-License-Identifier: Apache-2.0
"""Odometry that drifts, and fixes that are as good as they claim."""

from __future__ import annotations

import math

import numpy as np

from tools.trial.route import Point
from tools.trial.sensors import FIX_STDDEV_M, ORIGIN, Odometry, Receiver


def test_odometry_drifts_with_the_way_and_stands_while_the_robot_stands():
    odometry, radius = Odometry(seed=1), 30.0
    for _ in range(500):
        odometry.update(0.02, 0.0, 0.0)
    assert (odometry.x, odometry.y, odometry.yaw) == (0.0, 0.0, 0.0)
    off = []
    for step in range(1, 1886):  # once round a circle at 5 m/s
        odometry.update(0.02, 5.0, 5.0 / radius)
        angle = step * 0.02 * 5.0 / radius
        where = radius * math.sin(angle), radius * (1 - math.cos(angle))
        off.append(math.hypot(odometry.x - where[0], odometry.y - where[1]))
    assert off[50] < 0.3 and 0.5 < max(off) < 10.0


def test_fixes_are_as_good_as_they_claim_and_jump():
    receiver, point = Receiver(seed=1), Point(10.0, -20.0, 0.0, 0.0)
    fixes = ORIGIN.to_enu(np.array([receiver.fix(point) for _ in range(3000)]))
    off = fixes[:, :2] - (10.0, -20.0)
    assert np.abs(off.mean(axis=0)).max() < 0.2
    assert 0.5 * FIX_STDDEV_M < off.std() < FIX_STDDEV_M
    # from one to the next they differ less than over a minute: they wander
    assert np.diff(off, axis=0).std() < 0.8 * (off[300:] - off[:-300]).std()
    jumped = ORIGIN.to_enu(np.array([receiver.fix(point, jump_m=40.0)]))[0]
    assert 37 < jumped[1] + 20.0 < 43

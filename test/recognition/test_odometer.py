# SPDX-License-Identifier: Apache-2.0
"""Distances from speeds: what is known of them, and what is not."""

from __future__ import annotations

import math

import pytest

from ashtkd_ros.recognition.odometer import Odometer


def driven(speeds: list[float], dt: float = 0.1) -> Odometer:
    odometer = Odometer()
    for k, speed in enumerate(speeds):
        odometer.add(10.0 + k * dt, speed)
    return odometer


def test_distances_are_signed_and_add_up():
    odometer = driven([1.0] * 21 + [-1.0] * 20)
    assert odometer.between(10.0, 12.0) == pytest.approx(2.0)
    assert odometer.between(10.5, 10.75) == pytest.approx(0.25)
    assert odometer.between(12.5, 13.5) == pytest.approx(-1.0)
    parts = [odometer.between(10.0 + k / 2, 10.5 + k / 2) for k in range(8)]
    assert sum(parts) == pytest.approx(odometer.between(10.0, 14.0))


def test_what_is_not_known_is_none():
    odometer = driven([1.0] * 11)
    assert Odometer().between(0.0, 1.0) is None
    assert odometer.between(9.0, 10.5) is None and odometer.between(10.5, 12.0) is None
    assert odometer.between(10.8, 11.2) == pytest.approx(0.4)  # a little beyond the last speed
    assert odometer.between(10.5, 10.2) is None


@pytest.mark.parametrize('stamp', [5.0, 30.0])
def test_after_a_gap_and_a_stamp_that_goes_back_it_begins_anew(stamp: float):
    odometer = driven([1.0] * 11)
    odometer.add(stamp, 1.0)
    odometer.add(stamp + 0.5, 1.0)
    assert odometer.between(10.0, 11.0) is None
    assert odometer.between(stamp, stamp + 0.5) == pytest.approx(0.5)


@pytest.mark.parametrize('speed', [math.nan, math.inf, -math.inf, 1e6])
def test_a_speed_that_is_none_is_counted_and_not_believed(speed: float):
    odometer = driven([1.0] * 11)
    odometer.add(11.1, speed)
    assert odometer.jumps == 1 and odometer.between(10.0, 11.0) is None

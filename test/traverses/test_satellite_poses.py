# SPDX-License-Identifier: Apache-2.0
"""Satellite fixes to positions in metres, and headings to those of the way."""

from __future__ import annotations

import math

import numpy as np
import pytest
from conftest import line_of
from test_pose_messages import FIX, fix

from ashtkd_ros.errors import VprError
from ashtkd_ros.geometry.geodesy import GeoOrigin
from ashtkd_ros.geometry.travel_heading import travel_yaw
from ashtkd_ros.traverses.pose_messages import pose_reader

ORIGIN = GeoOrigin(50.0, 8.0, 100.0)


def drive(positions, rate_hz: float = 10.0, **options):
    """Fixes at metres east and north of ORIGIN."""
    reader = pose_reader(FIX, **options)
    enu = np.column_stack([np.array(positions, float), np.zeros(len(positions))])
    for i, (lat, lon, alt) in enumerate(ORIGIN.to_geodetic(enu).tolist()):
        reader.add('/fix', fix(1000 + i / rate_hz, lat, lon, alt), 0.0)
    return reader


def headings(positions, rate_hz: float = 10.0) -> np.ndarray:
    flat = np.column_stack([np.array(positions, float), np.zeros(len(positions))])
    return np.degrees(travel_yaw(np.arange(len(flat)) / rate_hz, flat))


def line(start, end, count) -> list:
    return np.linspace(start, end, count, endpoint=False).tolist()


def test_fixes_become_metres_about_the_first_one():
    track = drive([(0, 0), (3, 4), (6, 8)]).trajectory()
    assert track.positions == pytest.approx(np.array([(0, 0, 0), (3, 4, 0), (6, 8, 0)]), abs=1e-4)
    assert (track.origin.lat, track.origin.lon) == pytest.approx((50, 8))
    assert track.frame == 'map'
    assert track.at(1000.05, 1.0)[0].yaw == pytest.approx(math.atan2(4, 3), abs=1e-4)
    assert track.geo_at(1000.0) == pytest.approx((50, 8))


def test_a_query_takes_the_origin_of_the_map():
    track = drive([(3, 4), (6, 8)], origin=ORIGIN).trajectory()
    assert track.positions[0] == pytest.approx((3, 4, 0), abs=1e-4)
    assert track.origin == ORIGIN


def test_no_fix_is_left_out_and_counted():
    reader = pose_reader(FIX)
    bad = [(math.nan, 8.0, 0), (50.0, math.nan, 0), (91.0, 8.0, 0), (50.0, 181.0, 0)]
    for i, (lat, lon, status) in enumerate([(40.0, 8.0, -1), *bad, (50.0, 8.0, 2)]):
        reader.add('/fix', fix(1 + i, lat, lon, math.nan, status), 0.0)
    track = reader.trajectory()
    assert track.refused == {'no fix': 5}
    assert track.origin == GeoOrigin(50.0, 8.0, 0.0)  # a height that is NaN is 0


@pytest.mark.parametrize('height', [math.inf, 1e300, -2e5, 1e9])
def test_a_height_that_no_robot_has_is_taken_as_not_known(height: float):
    """1e9 m up, 3 m on the ground were 470 m."""
    reader = pose_reader(FIX)
    for i in range(3):
        reader.add('/fix', fix(1 + i, 50.0, 8.0 + i * 1e-5, height if i else 90.0), 0.0)
    track = reader.trajectory()
    assert track.positions[2] == pytest.approx((1.43, 0, 0), abs=0.01)
    with pytest.raises(VprError, match='is not a place on earth'):
        GeoOrigin(50.0, 8.0, height)


@pytest.mark.parametrize('variances', [(1e9, math.nan), (math.nan, 1e9)])
def test_a_fix_is_none_by_the_one_variance_that_is_told(variances: tuple[float, float]):
    reader, bad = pose_reader(FIX), fix(1, 40.0, 8.0)
    bad.position_covariance_type, bad.position_covariance = 2, [0.0] * 9
    bad.position_covariance[0], bad.position_covariance[4] = variances
    reader.add('/fix', bad, 0.0)
    reader.add('/fix', fix(2, 50.0, 8.0), 0.0)
    assert reader.trajectory().refused == {'no fix, by its covariance': 1}


def test_a_receiver_without_any_fix_says_so():
    reader = pose_reader(FIX)
    reader.add('/fix', fix(1, math.nan, math.nan), 0.0)
    with pytest.raises(VprError) as error:
        reader.trajectory()
    assert '/fix: has no usable pose (1 no fix)' in line_of(error)


def test_the_heading_is_the_direction_of_travel_without_delay():
    east_then_north = line((0, 0), (20, 0), 40) + line((20, 0), (20, 20), 40)
    found = headings(east_then_north)
    assert found[:35] == pytest.approx(0, abs=1e-9)
    assert found[40] == pytest.approx(45)
    assert found[45:] == pytest.approx(90)


def test_the_heading_is_held_while_standing_and_the_first_one_holds_from_the_start():
    rng = np.random.default_rng(0)

    def standing(at) -> list:
        return (np.array(at) + rng.normal(0, 0.1, (600, 2))).tolist()

    drove = standing((0, 0)) + line((0, 0), (0, 20), 100)
    route = drove + standing((0, 20)) + line((0, 20), (20, 20), 100)
    found = headings(route)
    assert found[:600] == pytest.approx(90, abs=15)
    assert found[700:1230] == pytest.approx(90, abs=15)
    assert np.ptp(found[920:1230]) == 0
    assert found[1330:] == pytest.approx(0, abs=15)


def test_without_travel_there_is_no_heading():
    assert headings([(0, 0), (0.5, 0), (0, 1)]).tolist() == [0, 0, 0]


def test_fast_receivers_on_slow_vehicles_and_slow_ones_on_fast():
    assert headings(line((0, 0), (0, 30), 3000), 20.0) == pytest.approx(90)
    assert headings([(0, 0), (20, 20), (40, 40)], 1.0) == pytest.approx(45)

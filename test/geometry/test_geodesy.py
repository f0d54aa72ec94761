# SPDX-License-Identifier: Apache-2.0
"""WGS84 against numbers of others, and there and back anywhere on earth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from conftest import line_of

from ashtkd_ros.errors import VprError
from ashtkd_ros.geometry.geodesy import GeoOrigin, ecef_to_geodetic, geodetic_to_ecef


@pytest.mark.parametrize(
    ('geodetic', 'ecef'),
    [
        # the axes of the ellipsoid's definition, NIMA TR8350.2
        ((0, 0, 0), (6378137.0, 0, 0)),
        ((0, 90, 10), (0, 6378147.0, 0)),
        ((90, 0, 0), (0, 0, 6356752.3142)),
        ((-90, 0, 5), (0, 0, -6356757.3142)),
        # documentation of the npm package ecef-projector
        ((37.8043722, -122.2708026, 0), (-2694044.4111565, -4266368.8054937, 3888310.6022769)),
    ],
)
def test_earth_centred_coordinates(geodetic, ecef):
    assert geodetic_to_ecef(np.array(geodetic, float)) == pytest.approx(ecef, abs=1e-3)


def test_earth_centred_coordinates_of_matlab():
    # geodetic2ecef and aer2geodetic of MATLAB, as quoted in the tests of pymap3d
    found = geodetic_to_ecef(np.array([42.0, -82.0, 200.0]))
    assert found == pytest.approx((660.6753e3, -4700.9487e3, 4245.738e3), abs=0.5)
    azimuth, elevation, range_m = math.radians(33), math.radians(70), 1000.0
    across = range_m * math.cos(elevation)
    up = range_m * math.sin(elevation)
    enu = (across * math.sin(azimuth), across * math.cos(azimuth), up)
    there = GeoOrigin(42.0, -82.0, 200.0).to_geodetic(np.array([enu]))[0]
    assert there[:2] == pytest.approx((42.002582, -81.997752), abs=1e-6)
    assert there[2] == pytest.approx(1139.7018, abs=1e-3)


@pytest.mark.parametrize('lat', [-90, -89.9999, -60, -33.3, 0, 1e-9, 45, 71.2, 89.99999, 90])
def test_there_and_back(lat):
    lon, alt = np.array([-180, -77.7, 0, 13.4, 179.9999]), np.array([-100, 0, 50, 8000, 1e6])
    geodetic = np.column_stack([np.full(5, lat), lon, alt])
    back = ecef_to_geodetic(geodetic_to_ecef(geodetic))
    assert back[:, 0] == pytest.approx(geodetic[:, 0], abs=1e-11)
    assert back[:, 2] == pytest.approx(alt, abs=1e-7)
    assert geodetic_to_ecef(back) == pytest.approx(geodetic_to_ecef(geodetic), abs=1e-6)
    origin = GeoOrigin(lat, 13.4, 50.0)
    enu = np.array([[0, 0, 0], [1, 2, 3], [-5000, 800, -20.0]])
    again = origin.to_enu(origin.to_geodetic(enu))
    assert again == pytest.approx(enu, abs=1e-7)


def test_metres_of_a_degree():
    # meridian and equator of WGS84: a (1 - e2) and a, times an angle
    origin = GeoOrigin(0.0, 0.0, 0.0)
    enu = origin.to_enu(np.array([[1e-5, 0, 0], [0, 1e-5, 0], [0, 0, 7.0]]))
    assert enu[0] == pytest.approx((0, 1.1057427, 0), abs=1e-6)
    assert enu[1] == pytest.approx((1.1131949, 0, 0), abs=1e-6)
    assert enu[2] == pytest.approx((0, 0, 7))


def test_east_is_x_and_north_is_y_anywhere():
    origin = GeoOrigin(-33.0, 151.0, 20.0)
    enu = origin.to_enu(
        np.array([[-33.0, 151.0, 20.0], [-33.0, 151.001, 20.0], [-32.999, 151, 20]])
    )
    assert enu[0] == pytest.approx((0, 0, 0), abs=1e-8)
    assert enu[1][0] > 90 and abs(enu[1][1]) < 0.01
    assert enu[2][1] > 110 and abs(enu[2][0]) < 0.01


@pytest.mark.parametrize('values', [(91, 0, 0), (0, 181, 0), (math.nan, 0, 0), (0, 0, math.inf)])
def test_an_origin_nowhere_on_earth_is_refused(values):
    with pytest.raises(VprError) as error:
        GeoOrigin(*values)
    assert 'is not a place on earth' in line_of(error)

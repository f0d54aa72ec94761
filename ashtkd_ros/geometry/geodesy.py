# SPDX-License-Identifier: Apache-2.0
"""WGS84: latitude and longitude to metres east, north and up from an origin, and back.

Formulas: B. Hofmann-Wellenhof et al., GNSS (2008), sections 8.2 and 8.5; the inverse from
earth-centred coordinates is Bowring's (Survey Review 23, 1976), repeated until it is exact.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ashtkd_ros.errors import VprError

EQUATOR_M = 6378137.0  # semi-major axis; with the flattening these define the ellipsoid
FLATTENING = 1.0 / 298.257223563
POLE_M = EQUATOR_M * (1.0 - FLATTENING)
_E2 = FLATTENING * (2.0 - FLATTENING)  # squares of the first and second eccentricity
_E2_SECOND = _E2 / (1.0 - _E2)
HIGHEST_M = 100_000.0  # above or below the ellipsoid; a receiver that says more errs
_ROUNDS = 4  # even at a height of 10,000 km the third round changes nothing any more


@dataclass(frozen=True)
class GeoOrigin:
    """Where x = y = z = 0 is: WGS84 degrees, metres above the ellipsoid; VprError if invalid."""

    lat: float
    lon: float
    alt: float = 0.0

    def __post_init__(self):
        within = abs(self.lat) <= 90.0 and abs(self.lon) <= 180.0 and abs(self.alt) <= HIGHEST_M
        if not within:
            raise VprError(
                f'origin {self.lat}, {self.lon}, {self.alt} is not a place on earth; '
                'give latitude and longitude in degrees, and the height in metres'
            )

    def to_enu(self, geodetic: np.ndarray) -> np.ndarray:
        """lat, lon (degrees), alt (m), float64 (N, 3) → metres east, north, up, float64 (N, 3)."""
        return (geodetic_to_ecef(geodetic) - self._ecef()) @ self._axes().T

    def to_geodetic(self, enu: np.ndarray) -> np.ndarray:
        """Metres east, north, up, float64 (N, 3) → lat, lon (degrees), alt (m), (N, 3)."""
        return ecef_to_geodetic(np.asarray(enu, np.float64) @ self._axes() + self._ecef())

    def _ecef(self) -> np.ndarray:
        return geodetic_to_ecef(np.array([self.lat, self.lon, self.alt]))

    def _axes(self) -> np.ndarray:
        """East, north and up in earth-centred coordinates, one in each row."""
        lat, lon = math.radians(self.lat), math.radians(self.lon)
        (slat, clat), (slon, clon) = ((math.sin(a), math.cos(a)) for a in (lat, lon))
        north, up = (-slat * clon, -slat * slon, clat), (clat * clon, clat * slon, slat)
        return np.array([(-slon, clon, 0.0), north, up])


def geodetic_to_ecef(geodetic: np.ndarray) -> np.ndarray:
    """lat, lon (degrees), alt (m), (..., 3) → earth-centred x, y, z (m), float64 (..., 3)."""
    geodetic = np.asarray(geodetic, np.float64)
    lat, lon = np.radians(geodetic[..., 0]), np.radians(geodetic[..., 1])
    alt, sin = geodetic[..., 2], np.sin(lat)
    normal = EQUATOR_M / np.sqrt(1.0 - _E2 * sin**2)  # prime vertical radius of curvature
    across = (normal + alt) * np.cos(lat)
    along = (normal * (1.0 - _E2) + alt) * sin
    return np.stack([across * np.cos(lon), across * np.sin(lon), along], axis=-1)


def ecef_to_geodetic(ecef: np.ndarray) -> np.ndarray:
    """Earth-centred x, y, z (m), (..., 3) → lat, lon (degrees), alt (m), float64 (..., 3)."""
    ecef = np.asarray(ecef, np.float64)
    x, y, z = ecef[..., 0], ecef[..., 1], ecef[..., 2]
    across = np.hypot(x, y)
    reduced = np.arctan2(EQUATOR_M * z, POLE_M * across)
    for _ in range(_ROUNDS):
        lat = np.arctan2(
            z + _E2_SECOND * POLE_M * np.sin(reduced) ** 3,
            across - _E2 * EQUATOR_M * np.cos(reduced) ** 3,
        )
        reduced = np.arctan2((1.0 - FLATTENING) * np.sin(lat), np.cos(lat))
    sin, cos = np.sin(lat), np.cos(lat)
    # This form of the height is valid at the poles too; a division by cos(lat) would not be.
    alt = across * cos + z * sin - EQUATOR_M * np.sqrt(1.0 - _E2 * sin**2)
    return np.stack([np.degrees(lat), np.degrees(np.arctan2(y, x)), alt], axis=-1)

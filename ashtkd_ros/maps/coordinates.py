# SPDX-License-Identifier: Apache-2.0
"""Where on earth the pictures of a map were taken, and the lines of its traverses."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from ashtkd_ros.maps.place_map import PlaceMap

_DIGITS = 9  # of degrees, a tenth of a millimetre: the same on all machines


def coordinates(place_map: PlaceMap) -> np.ndarray:
    """Latitude and longitude of all N pictures, degrees, float64 (N, 2); NaN where not known.

    Those that were measured, else by the pose from the origin of the map's frame. Longitudes are
    within -180 and 180.
    """
    places, origin = place_map.places, place_map.info.origin
    geo = places.geo.copy()
    lacking = np.isnan(geo[:, 0]) & places.posed
    if origin is not None and lacking.any():
        geo[lacking] = origin.to_geodetic(places.positions[lacking])[:, :2]
    around = np.abs(geo[:, 1]) > 180.0
    geo[around, 1] = (geo[around, 1] + 180.0) % 360.0 - 180.0
    return geo.round(_DIGITS) + 0.0  # no -0.0


def lines_of(place_map: PlaceMap, geo: np.ndarray) -> dict[int, list[list[list[float]]]]:
    """Number of each traverse with two positions or more → its lines of [longitude, latitude].

    `geo`: as of `coordinates`. A line is cut where it crosses the 180th meridian, as RFC 7946
    (3.1.9) asks.
    """
    places, lines = place_map.places, {}
    order = np.lexsort((places.orders, places.traverses))
    order = order[~np.isnan(geo[order, 0])]
    for number in np.unique(places.traverses[order]).tolist():
        path = geo[order[places.traverses[order] == number], ::-1].tolist()
        if len(path) > 1:
            lines[number] = _cut(path)
    return lines


def _cut(path: list[list[float]]) -> list[list[list[float]]]:
    """The parts of a path on either side of the 180th meridian."""
    parts = [[path[0]]]
    for (lon, lat), (next_lon, next_lat) in pairwise(path):
        if abs(next_lon - lon) > 180.0:
            edge = np.copysign(180.0, lon).item()
            step = next_lon + 2 * edge - lon  # eastward from lon, beyond the edge
            share = (edge - lon) / step if step else 0.0
            across = round(lat + share * (next_lat - lat), _DIGITS)
            parts[-1].append([edge, across])
            parts.append([[-edge, across]])
        parts[-1].append([next_lon, next_lat])
    return parts

# SPDX-License-Identifier: Apache-2.0
"""Training places of GSV-Cities (Ali-bey et al., Neurocomputing 2022), or of a table like it."""

from __future__ import annotations

import math
from collections import defaultdict
from pathlib import Path

import numpy as np

from ashtkd_ros.errors import VprError
from ashtkd_ros.files.tables import read_rows
from ashtkd_ros.geometry.angles import wrap_degrees
from ashtkd_ros.geometry.geodesy import GeoOrigin
from tools.training.config import GsvSource
from tools.training.data.places import TrainingPlaces

_METRES, _DEGREES = 25.0, 45.0
# A view: picture, heading (degrees), (lat, lon, 0).
_View = tuple[Path, float, tuple[float, float, float]]


def read_gsv(places: TrainingPlaces, source: GsvSource) -> None:
    """Add the places of a CSV with place, city, lat, lon, heading, or GSV-Cities' names of these.

    The picture is in the column `file`, or has the name that GSV-Cities gives it. Views of a place
    more than 45 degrees apart are places of their own; places within 25 m are not told apart.
    VprError names the line that is wrong.
    """
    table = source.path
    origins: dict[str, GeoOrigin] = {}
    groups: dict[tuple[str, str], list[_View]] = defaultdict(list)
    for line, row in read_rows(table, ('lat', 'lon')):
        try:
            city, place = row.get('city_id') or row['city'], row.get('place_id') or row['place']
            lat, lon, degrees = map(
                float, (row['lat'], row['lon'], row.get('northdeg') or row['heading'])
            )
            file = row.get('file') or f'{city}/{_name(row, city, place, degrees)}'
        except KeyError as error:
            raise VprError(f'{table}: column {error.args[0]} is missing') from error
        except (ValueError, OverflowError) as error:
            raise VprError(f'{table}:{line}: a value is not a number ({error})') from error
        if not (abs(lat) <= 90 and abs(lon) <= 180 and math.isfinite(degrees)):
            raise VprError(
                f'{table}:{line}: {lat}, {lon}, {degrees} is not a position with a heading'
            )
        origins.setdefault(city, GeoOrigin(lat, lon))
        groups[city, place].append((source.images / file, degrees, (lat, lon, 0.0)))
    for (city, _), views in groups.items():
        domain = f'gsv/{city}'
        for part in _by_heading(views):
            paths, _, geodetic = zip(*part, strict=True)
            east, north, _ = origins[city].to_enu(np.array(geodetic)).mean(axis=0).tolist()
            places.add(places.take(paths, domain), domain, domain, (east, north), _METRES)


def _by_heading(views: list[_View]) -> list[list[_View]]:
    """Parts in which no two views are turned further than 45 degrees from each other."""
    parts: list[list[_View]] = []
    for view in views:
        for part in parts:
            if all(abs(wrap_degrees(view[1] - v[1])) <= _DEGREES for v in part):
                part.append(view)
                break
        else:
            parts.append([view])
    return parts


def _name(row: dict[str, str], city: str, place: str, degrees: float) -> str:
    number, month = int(place) % 10**5, f'{int(row["year"]):04d}_{int(row["month"]):02d}'
    where = f'{row["lat"]}_{row["lon"]}_{row["panoid"]}'
    return f'{city}_{number:07d}_{month}_{int(degrees):03d}_{where}.jpg'

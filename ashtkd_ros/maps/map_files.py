# SPDX-License-Identifier: Apache-2.0
"""The files of a map, read from its folder and checked."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ashtkd_ros.errors import VprError
from ashtkd_ros.files.checksums import sha256_of
from ashtkd_ros.files.reading import read_regular
from ashtkd_ros.maps.city import is_city
from ashtkd_ros.maps.description import Description, read_description
from ashtkd_ros.maps.folder import DESCRIPTION, DESCRIPTION_LIMIT, INDEX, ROUTE, TABLE
from ashtkd_ros.maps.places import Place, Places
from ashtkd_ros.maps.places_file import PLACES_FILE
from ashtkd_ros.maps.places_rows import with_columns
from ashtkd_ros.maps.places_table import read_table
from ashtkd_ros.maps.replacement import read_steadily
from ashtkd_ros.maps.thumbnails import PICTURE_LIMIT, read_thumbnail, thumbnail_name
from ashtkd_ros.text import reason_of

_INDEX_LIMIT, _TABLE_LIMIT = 2**40, 2**31  # bytes


def read_map_yaml(folder: Path, handle: int) -> Description:
    """map.yaml of the open folder; VprError where it is not that of a sound map."""
    try:
        data = read_regular(DESCRIPTION, DESCRIPTION_LIMIT, dir_fd=handle)
    except FileNotFoundError as error:
        _refuse_tiles(folder)
        raise VprError(f'{folder}: holds no map.yaml; build the map with build_map') from error
    except OSError as error:
        raise VprError(
            f'{folder}: map.yaml cannot be read ({reason_of(error)}); rebuild the map'
        ) from error
    try:
        return read_description(data)
    except ValueError as error:
        raise VprError(f'{folder}: {reason_of(error)}') from error


def load_description(folder: Path) -> Description:
    """What the map in a folder says of itself; VprError where that is not sound."""
    folder = Path(folder)
    return read_steadily(folder, lambda handle: read_map_yaml(folder, handle))


def map_checksum(folder: Path) -> str:
    """sha256 of the descriptors in a map's folder, which tells the map from every other.

    VprError where there is no such map.
    """
    try:
        return sha256_of(read_regular(Path(folder) / INDEX, _INDEX_LIMIT))
    except OSError as error:
        _refuse_tiles(folder)
        raise VprError(f'{folder}: no such map; build one with build_map') from error


def _refuse_tiles(folder: Path) -> None:
    """VprError for a folder that has tiles of a map in the place of a map."""
    if is_city(folder):
        raise VprError(f'{folder}: holds the tiles of a map; name the map that they were cut from')


def read_checked(
    folder: Path, handle: int, name: str, description: Description, limit: int
) -> bytes:
    """The bytes of a file in the open folder; VprError where they differ from their checksum.

    A file of more than `limit` bytes is not read.
    """
    try:
        data = read_regular(name, limit, dir_fd=handle)
    except OSError as error:
        raise VprError(
            f'{folder / name}: cannot be read ({reason_of(error)}); rebuild the map'
        ) from error
    if sha256_of(data) != description.sha256.get(name):
        advice = 'rebuild the map'
        if name == TABLE:  # a table, which people edit
            advice = f'undo what was edited in it, for map_tools alone changes a map, or {advice}'
        raise VprError(
            f'{folder / name}: is damaged, its checksum differs from map.yaml; {advice}'
        )
    return data


def check_table(folder: Path, handle: int, description: Description, places: Places) -> None:
    """VprError where places.csv does not say what the columns of the open folder say."""
    try:
        table = read_table(read_checked(folder, handle, TABLE, description, _TABLE_LIMIT))
    except ValueError as error:
        raise VprError(f'{folder / TABLE}: {reason_of(error)}; rebuild the map') from error
    if table != places:
        raise VprError(f'{folder / TABLE}: differs from {PLACES_FILE}; rebuild the map')


def with_checksums(folder: Path, handle: int, places: Places) -> Places:
    """The places of format 1, which had none, with checksums of their pictures in the folder."""
    pictures = places.pictures.copy()
    for place in places:
        with contextlib.suppress(OSError):  # not every map has pictures
            digest = sha256_of(read_thumbnail(folder, place, handle))
            pictures[place.row] = np.frombuffer(bytes.fromhex(digest), np.uint8)
    return with_columns(places, pictures=pictures)


def check_pictures(
    folder: Path, handle: int, description: Description, places: Sequence[Place]
) -> None:
    """VprError for the first picture of the route or of a place that is missing or damaged."""
    if ROUTE in description.sha256:
        read_checked(folder, handle, ROUTE, description, PICTURE_LIMIT)
    for place in places:
        if not place.thumbnail:
            continue
        try:
            read_thumbnail(folder, place, handle)
        except OSError as error:
            raise VprError(
                f'{folder / thumbnail_name(place.row)}: {reason_of(error)}; the map works '
                'without it, rebuild the map to have it back'
            ) from error

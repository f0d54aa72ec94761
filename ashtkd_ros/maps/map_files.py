# SPDX-License-Identifier: Apache-2.0
"""The files of a map, read from its folder and checked."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from mmap import mmap
from pathlib import Path

import numpy as np

from ashtkd_ros.errors import VprError
from ashtkd_ros.files.checksums import sha256_begun, sha256_of, sha256_of_parts
from ashtkd_ros.files.reading import read_pages, read_regular
from ashtkd_ros.maps.city import CITY_FILE, CITY_LIMIT, is_city, read_city
from ashtkd_ros.maps.description import Description, read_description
from ashtkd_ros.maps.folder import DESCRIPTION, DESCRIPTION_LIMIT, INDEX, ROUTE, TABLE
from ashtkd_ros.maps.places import Places
from ashtkd_ros.maps.places_file import PLACES_FILE, read_columns
from ashtkd_ros.maps.places_rows import with_columns
from ashtkd_ros.maps.places_table import read_table
from ashtkd_ros.maps.replacement import read_steadily
from ashtkd_ros.maps.thumbnails import PICTURE_LIMIT, read_thumbnail, thumbnail_name
from ashtkd_ros.text import reason_of

_TABLE_LIMIT = 2**31  # bytes


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


def place_count(folder: Path) -> int:
    """How many rows the map or the city in a folder has, by its description; VprError without."""
    return read_city(folder).pictures if is_city(folder) else load_description(folder).places


def map_checksum(folder: Path) -> str:
    """What tells the map in a folder from those that give other answers: sha256 of index.faiss,
    and of the numbers of its places where those are not 0, 1, 2, ...; of a city, of tiles.yaml.

    VprError where there is no such map.
    """
    folder = Path(folder)
    if is_city(folder):
        read_city(folder)
        return sha256_of(read_regular(folder / CITY_FILE, CITY_LIMIT))

    def read(handle: int) -> str:
        description = read_map_yaml(folder, handle)
        index = description.sha256.get(INDEX, '')
        if description.version < 4:
            return index
        data = read_checked(folder, handle, PLACES_FILE, description, _TABLE_LIMIT)
        try:
            ids = read_columns(data).ids
        except ValueError as error:
            raise VprError(
                f'{folder / PLACES_FILE}: {reason_of(error)}; rebuild the map'
            ) from error
        if (ids == np.arange(len(ids))).all():  # so it was in all maps up to format 3
            return index
        return sha256_of_parts([index.encode(), ids.tobytes()])

    return read_steadily(folder, read)


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
    with _readable(folder / name):
        data = read_regular(name, limit, dir_fd=handle)
    _check_sum(folder, name, sha256_of(data), description)
    return data


def read_checked_pages(
    folder: Path, handle: int, name: str, description: Description, limit: int
) -> mmap:
    """As `read_checked`, for a large file: pages of memory, some of which can be given back."""
    digest = sha256_begun(b'')
    with _readable(folder / name):
        pages = read_pages(name, limit, handle, digest.update)
    _check_sum(folder, name, digest.hexdigest(), description)
    return pages


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise VprError(f'{path}: cannot be read ({reason_of(error)}); rebuild the map') from error


def _check_sum(folder: Path, name: str, found: str, description: Description) -> None:
    if found != description.sha256.get(name):
        advice = 'rebuild the map'
        if name == TABLE:  # a table, which people edit
            advice = f'undo what was edited in it, for map_tools alone changes a map, or {advice}'
        raise VprError(
            f'{folder / name}: is damaged, its checksum differs from map.yaml; {advice}'
        )


def check_table(folder: Path, data: bytes, places: Places) -> None:
    """VprError where `data`, places.csv of the folder, does not say what its columns say."""
    try:
        table = read_table(data)
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


def check_route(folder: Path, handle: int, description: Description) -> None:
    """VprError where the picture of the route is missing or damaged."""
    if ROUTE in description.sha256:
        read_checked(folder, handle, ROUTE, description, PICTURE_LIMIT)


def with_sound_pictures(folder: Path, handle: int, places: Places) -> tuple[Places, list[str]]:
    """The places, of which those whose picture is missing or damaged have none, and what is wrong
    with each of these pictures, a line each.

    VprError where the map is being removed, for then its pictures are not damaged.
    """
    pictures, faults = places.pictures.copy(), []
    for row in np.flatnonzero(pictures.any(axis=1)).tolist():
        try:
            read_thumbnail(folder, places[row], handle)
        except OSError as error:
            pictures[row] = 0
            faults.append(f'{folder / thumbnail_name(row)}: {reason_of(error)}')
    if not faults:
        return places, []
    read_map_yaml(folder, handle)  # it is the first file to go
    return with_columns(places, pictures=pictures), faults

# SPDX-License-Identifier: Apache-2.0
"""A map is cut into square tiles, so that a robot need not load all of it."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from ashtkd_ros.errors import VprError
from ashtkd_ros.files.checksums import sha256_of_file
from ashtkd_ros.files.writing import resolved, whole_folder, write_errors
from ashtkd_ros.geometry.pose import FARTHEST_M
from ashtkd_ros.maps.city import CITY_FILE, LEAST_METRES, MOST_TILES, City, Tile, write_city
from ashtkd_ros.maps.folder import DESCRIPTION
from ashtkd_ros.maps.index_choice import IndexOptions
from ashtkd_ros.maps.index_file import build_index
from ashtkd_ros.maps.map_rows import LocalRows, Part, PictureRows
from ashtkd_ros.maps.place_map import PlaceMap
from ashtkd_ros.maps.places_rows import some_rows


def cut_into_tiles(place_map: PlaceMap, folder: Path, metres: float) -> City:
    """Write a city of square tiles, `metres` wide, to a folder that is empty or not there.

    Places keep their numbers; pictures without a pose have no part in it. The folder is there
    whole or not at all. VprError where that is not possible.
    """
    folder = resolved(folder, 'the city')  # "." has no name of its own
    posed = np.flatnonzero(place_map.places.posed)
    if not len(posed):
        raise VprError('the map has no poses, so it cannot be cut; build it with poses')
    if not LEAST_METRES <= metres <= FARTHEST_M:
        limits = f'{LEAST_METRES:g} to {FARTHEST_M:g}'
        raise VprError(f'no tile is {metres:g} m wide; give {limits} m')
    cells = np.floor(place_map.places.positions[posed, :2] / metres).astype(np.int64)
    squares, inverse = np.unique(cells, axis=0, return_inverse=True)
    if len(squares) > MOST_TILES:
        raise VprError(
            f'these are {len(squares)} tiles, more than {MOST_TILES}; make them wider than '
            f'{metres:g} m'
        )
    rows = [posed[inverse.ravel() == k] for k in range(len(squares))]
    with write_errors(folder, 'the city'):
        if os.path.lexists(folder) and (not folder.is_dir() or any(folder.iterdir())):
            raise VprError(f'{folder}: is there already; give another folder for the city')
        with whole_folder(folder) as new:
            tiles = tuple(
                _write_tile(place_map, of_tile, new, *square)
                for square, of_tile in zip(squares.tolist(), rows, strict=True)
            )
            city = _city(place_map, metres, tiles)
            (new / CITY_FILE).write_bytes(write_city(city))
            sha256_of_file(new / CITY_FILE, sync=True)
    return city


def _city(place_map: PlaceMap, metres: float, tiles: tuple[Tile, ...]) -> City:
    info = place_map.info
    origin, next_id = info.built.get('origin'), place_map.next_id
    return City(info.frame, info.model, origin, next_id, float(metres), tiles)


def _write_tile(place_map: PlaceMap, rows: np.ndarray, new: Path, column: int, row: int) -> Tile:
    index = build_index(place_map.descriptors(rows), IndexOptions())
    local = None if place_map.local is None else LocalRows([(place_map.local, rows)])
    tile = PlaceMap(index, some_rows(place_map.places, rows), place_map.info, local=local)
    path = Tile(column, row, len(rows), '').path
    (new / path).parent.mkdir(parents=True, exist_ok=True)
    tile.save(new / path, PictureRows([Part(place_map, rows)]))
    return Tile(column, row, len(rows), sha256_of_file(new / path / DESCRIPTION))

# SPDX-License-Identifier: Apache-2.0
"""tiles.yaml of a city: a map that was cut into square tiles, each a map of its own."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import yaml

from ashtkd_ros.errors import VprError
from ashtkd_ros.files.checksums import has_checksum, with_checksum
from ashtkd_ros.files.documents import parse_yaml
from ashtkd_ros.files.reading import is_file, read_regular
from ashtkd_ros.geometry.pose import FARTHEST_M
from ashtkd_ros.maps.description import encodable, frame_fault
from ashtkd_ros.maps.places import MOST
from ashtkd_ros.text import reason_of

CITY_FILE, TILES = 'tiles.yaml', 'tiles'
CITY_LIMIT = 2**23  # bytes
MOST_TILES = 20_000
LEAST_METRES = 1.0
_VERSION = 1
_KEYS = {'format_version', 'frame', 'model', 'origin', 'next_id', 'metres', 'tiles', 'checksum'}
_TILE_KEYS = {'column', 'row', 'pictures', 'sha256'}
_SHA256 = re.compile('[0-9a-f]{64}')


@dataclass(frozen=True)
class Tile:
    """A square whose lower left corner is at `column`, `row` times the size of a tile.

    `pictures`: rows of its map; `sha256`: checksum of its map.yaml.
    """

    column: int
    row: int
    pictures: int
    sha256: str

    @property
    def path(self) -> str:
        """Of its map, within the folder of the city."""
        return f'{TILES}/{self.column}_{self.row}'


@dataclass(frozen=True)
class City:
    """What tiles.yaml says: the frame, the network, the origin on earth or None, the next number
    of a place, how wide a tile is, in metres, and the tiles."""

    frame: str
    model: dict
    origin: dict | None
    next_id: int
    metres: float
    tiles: tuple[Tile, ...]

    @property
    def pictures(self) -> int:
        """Of all tiles."""
        return sum(tile.pictures for tile in self.tiles)

    def near(self, x: float, y: float, radius_m: float) -> list[Tile]:
        """The tiles of which a part lies within a circle."""
        low = self._corners
        apart = np.maximum(np.maximum(low - (x, y), (x, y) - low - self.metres), 0.0)
        return [self.tiles[k] for k in np.flatnonzero(np.hypot(*apart.T) <= radius_m).tolist()]

    @cached_property
    def _corners(self) -> np.ndarray:
        """float64 (T, 2): the lower left corners, metres."""
        return self.metres * np.array([(t.column, t.row) for t in self.tiles], float)


def write_city(city: City) -> bytes:
    """The bytes of tiles.yaml; ValueError for a city that `read_city` would refuse."""
    values = {'format_version': _VERSION, **asdict(city)}
    values['tiles'] = [asdict(tile) for tile in city.tiles]
    data = with_checksum(yaml.safe_dump(encodable(values), sort_keys=False).encode())
    _parsed(data)
    return data


def is_city(folder: Path) -> bool:
    """Whether a folder holds the description of a city."""
    return is_file(Path(folder) / CITY_FILE)


def read_city(folder: Path) -> City:
    """The city in a folder; VprError where its description is not sound."""
    path = Path(folder) / CITY_FILE
    try:
        return _parsed(read_regular(path, CITY_LIMIT))
    except (OSError, ValueError) as error:
        raise VprError(
            f'{path}: {reason_of(error)}; cut the map anew with map_tools tile'
        ) from error


def _parsed(data: bytes) -> City:
    if not has_checksum(data):
        raise ValueError('it has no checksum, so it is cut off')
    values = parse_yaml(data)
    if not isinstance(values, dict) or values.get('format_version') != _VERSION:
        raise ValueError(f'its format_version is not {_VERSION}')
    if set(values) != _KEYS:
        raise ValueError(f'it does not have exactly {", ".join(sorted(_KEYS))}')
    frame, model, origin = (values[name] for name in ('frame', 'model', 'origin'))
    if not isinstance(frame, str) or frame_fault(frame):
        raise ValueError('frame is not a name')
    if not isinstance(model, dict) or not isinstance(origin, (dict, type(None))):
        raise ValueError('model or origin is not a table')
    if not all(isinstance(model.get(key), str) for key in ('name', 'sha256')):
        raise ValueError('the model has no name or no checksum')
    metres = values['metres']
    if type(metres) is not float or not LEAST_METRES <= metres <= FARTHEST_M:
        raise ValueError(f'metres is not a number from {LEAST_METRES:g} to {FARTHEST_M:g}')
    if not _is_whole(values['next_id'], 1):
        raise ValueError('next_id is not a whole number, 1 or more')
    return City(frame, model, origin, values['next_id'], metres, _tiles(values['tiles']))


def _tiles(given: object) -> tuple[Tile, ...]:
    if not isinstance(given, Sequence) or not 0 < len(given) <= MOST_TILES:
        raise ValueError(f'tiles is not a list of 1 to {MOST_TILES}')
    for number, values in enumerate(given):
        fits = (
            isinstance(values, dict)
            and set(values) == _TILE_KEYS
            and _is_whole(values['column'], -MOST)
            and _is_whole(values['row'], -MOST)
            and _is_whole(values['pictures'], 1)
            and isinstance(values['sha256'], str)
            and bool(_SHA256.fullmatch(values['sha256']))
        )
        if not fits:
            raise ValueError(f'tile {number} is not column, row, pictures and sha256')
    tiles = tuple(Tile(**values) for values in given)
    if len({tile.path for tile in tiles}) < len(tiles):
        raise ValueError('a tile is there twice')
    return tiles


def _is_whole(value: object, least: int) -> bool:
    return type(value) is int and least <= value <= MOST

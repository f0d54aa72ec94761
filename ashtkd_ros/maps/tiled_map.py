# SPDX-License-Identifier: Apache-2.0
"""The tiles of a city around a position, joined in memory as one map."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ashtkd_ros.errors import VprError
from ashtkd_ros.files.checksums import sha256_of
from ashtkd_ros.files.reading import read_regular
from ashtkd_ros.maps.city import Tile, is_city, read_city
from ashtkd_ros.maps.folder import DESCRIPTION, DESCRIPTION_LIMIT
from ashtkd_ros.maps.index_file import build_index
from ashtkd_ros.maps.local_file import LocalFeatures
from ashtkd_ros.maps.map_rows import LocalRows
from ashtkd_ros.maps.place_map import Place, PlaceMap
from ashtkd_ros.maps.places_rows import joined, some_rows
from ashtkd_ros.maps.thumbnails import thumbnail_pixels
from ashtkd_ros.network.embedder import Embedder
from ashtkd_ros.text import counted, reason_of

ALL_AT_ONCE = 50_000  # pictures; a city of no more is loaded whole


@dataclass(frozen=True)
class _Loaded:
    """A tile in memory: its rows are `rows` of `map`, the tile's own map or one that it is joined
    in; `local`: of the tile itself."""

    map: PlaceMap
    rows: np.ndarray
    local: LocalFeatures | None


class JoinedMap(PlaceMap):
    """The map of several tiles: `tiles`, whose places follow each other."""

    tiles: tuple[Tile, ...] = ()

    @classmethod
    def of(cls, folder: Path, parts: dict[Tile, _Loaded]) -> JoinedMap:
        """Of tiles of the city in a folder, at least one."""
        loaded = list(parts.values())
        index = build_index(np.concatenate([p.map.descriptors(p.rows) for p in loaded]))
        places = joined([some_rows(part.map.places, part.rows) for part in loaded])
        local = None
        if all(part.local is not None for part in loaded):
            local = TileFeatures(folder, [part.local for part in loaded])
        made = cls(index, places, loaded[0].map.info, folder, local)
        made.tiles = tuple(parts)
        new = [part.map for part in loaded if not isinstance(part.map, JoinedMap)]
        made.warnings = [line for place_map in new for line in place_map.warnings]
        made._starts = np.cumsum([0, *(len(part.rows) for part in loaded)])
        return made

    def rows_of(self, tile: Tile) -> np.ndarray:
        """int64: the rows of one of its tiles."""
        number = self.tiles.index(tile)
        return np.arange(self._starts[number], self._starts[number + 1])

    def picture(self, place: Place) -> np.ndarray | None:
        """See `PlaceMap.picture`: it lies in the folder of the tile."""
        number = int(np.searchsorted(self._starts, place.row, 'right')) - 1
        there = replace(place, row=place.row - int(self._starts[number]))
        return thumbnail_pixels(self.folder / self.tiles[number].path, there)


class TileFeatures(LocalRows):
    """The local features of tiles after each other; `path`: of the city."""

    def __init__(self, path: Path, parts: Iterable[LocalFeatures]):
        self.path = path
        super().__init__([(part, np.arange(len(part))) for part in parts])


class TiledMap:
    """Loads tiles of the city in a folder; VprError where its description is not sound.

    `embedder`: the network that must have made them. `faults`: why tiles could not be loaded, a
    line each. Threads may share it; one loads at a time.
    """

    def __init__(self, folder: Path, embedder: Embedder | None = None):
        self.folder, self._embedder, self.city = Path(folder), embedder, read_city(folder)
        self.faults: dict[Tile, str] = {}
        self._loaded: dict[Tile, _Loaded] = {}
        self._lock = threading.Lock()

    @property
    def is_small(self) -> bool:
        """Whether all of it may be loaded at once."""
        return self.city.pictures <= ALL_AT_ONCE

    @property
    def fault(self) -> str:
        """What is wrong with tiles, in a line; empty where nothing is known to be."""
        faults = [*self.faults.values()]
        more = f' (and {counted(len(faults) - 1, "other tile")})' if len(faults) > 1 else ''
        return f'{faults[0]}{more}' if faults else ''

    def begin(self) -> JoinedMap:
        """What a node begins with: all of a small city, else the first tile. VprError where
        nothing can be loaded."""
        return self.whole() if self.is_small else self.first()

    def whole(self) -> JoinedMap:
        """All tiles. VprError where none can be loaded."""
        with self._lock:
            return self._join(self.city.tiles)

    def first(self) -> JoinedMap:
        """The first tile that can be loaded. VprError where none can be."""
        with self._lock:
            for tile in self.city.tiles:
                self._load(tile)
                if tile in self._loaded:
                    return self._join([tile])
            return self._join([])

    def around(self, x: float, y: float, radius_m: float) -> JoinedMap | None:
        """The tiles within a circle, and those in memory that are hardly further.

        The others are dropped, damaged ones are tried again where they were not near before. None
        where no tile is near, which leaves those in memory as they are. VprError where none of
        those that are near can be loaded.
        """
        near = self.city.near(x, y, radius_m)
        if not near:
            return None
        hardly = set(self.city.near(x, y, radius_m + self.city.metres))
        with self._lock:
            self.faults = {tile: why for tile, why in self.faults.items() if tile in hardly}
            kept = [tile for tile in self._loaded if tile in hardly and tile not in near]
            return self._join([*near, *kept])

    def _join(self, tiles: Iterable[Tile]) -> JoinedMap:
        for tile in tiles:
            if tile not in self._loaded and tile not in self.faults:
                self._load(tile)
        parts = {
            tile: self._loaded[tile] for tile in sorted(tiles, key=_place) if tile in self._loaded
        }
        if not parts:
            raise VprError(f'{self.folder}: no tile could be loaded: {self.fault}')
        made = JoinedMap.of(self.folder, parts)
        self._loaded = {
            tile: _Loaded(made, made.rows_of(tile), part.local) for tile, part in parts.items()
        }
        return made

    def check(self, tile: Tile) -> None:
        """VprError for a tile that is damaged, or whose pictures are."""
        self._read(tile, pictures=True)

    def _load(self, tile: Tile) -> None:
        try:
            place_map = self._read(tile)
        except VprError as error:
            self.faults = {**self.faults, tile: str(error)}  # others may be reading the old one
            return
        rows = np.arange(len(place_map.places))
        self._loaded[tile] = _Loaded(place_map, rows, place_map.local)

    def _read(self, tile: Tile, pictures: bool = False) -> PlaceMap:
        folder = self.folder / tile.path
        try:
            described = sha256_of(read_regular(folder / DESCRIPTION, DESCRIPTION_LIMIT))
        except OSError as error:
            raise VprError(
                f'{folder}: the tile cannot be read ({reason_of(error)}); cut the map anew'
            ) from error
        if described != tile.sha256:
            raise VprError(f'{folder}: is not the tile that tiles.yaml names; cut the map anew')
        return PlaceMap.load(folder, self._embedder, pictures)


def load_whole(folder: Path, embedder: Embedder | None = None) -> PlaceMap:
    """The map in a folder, or all tiles of the city that is there, joined.

    `embedder`: the network that must have made it. Tiles that cannot be loaded are among its
    warnings; VprError where nothing can be.
    """
    if not is_city(folder):
        return PlaceMap.load(folder, embedder)
    tiled = TiledMap(folder, embedder)
    joined = tiled.whole()
    joined.warnings = [*tiled.faults.values(), *joined.warnings]
    return joined


def _place(tile: Tile) -> tuple[int, int]:
    return tile.row, tile.column

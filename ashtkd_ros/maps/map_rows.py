# SPDX-License-Identifier: Apache-2.0
"""A map made of rows of other maps: descriptors, local features and pictures move along."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ashtkd_ros.maps.description import MapInfo
from ashtkd_ros.maps.descriptor_index import DescriptorIndex
from ashtkd_ros.maps.index_choice import like
from ashtkd_ros.maps.index_file import build_index
from ashtkd_ros.maps.local_file import LocalFeatures
from ashtkd_ros.maps.place_map import Place, PlaceMap
from ashtkd_ros.maps.places import Places
from ashtkd_ros.maps.thumbnails import read_thumbnail


@dataclass(frozen=True)
class Part:
    """Some rows, int64 (K,), of a map whose folder has its pictures."""

    map: PlaceMap
    rows: np.ndarray


def whole(place_map: PlaceMap) -> Part:
    """All rows of a map."""
    return Part(place_map, np.arange(len(place_map.places)))


def descriptors_of(place_map: PlaceMap) -> np.ndarray:
    """The descriptors of a map, float32 (N, D)."""
    return place_map.descriptors(np.arange(len(place_map.places)))


def map_of_parts(
    parts: Sequence[Part], places: Places, info: MapInfo, pattern: DescriptorIndex
) -> PlaceMap:
    """The map of these rows after each other; `places` and `info`: what it says of them.

    It has local features if every part has them. `pattern`: its index is of the same kind.
    """
    rows = np.concatenate([part.map.descriptors(part.rows) for part in parts])
    index = build_index(rows, like(pattern.kind, pattern.note and pattern.note.why))
    local = None
    if all(part.map.local is not None for part in parts):
        local = LocalRows([(part.map.local, part.rows) for part in parts])
    return PlaceMap(index, places, info, local=local)


class LocalRows(LocalFeatures):
    """Local features of rows of others after each other, read from them when they are used.

    `parts`: the others, of one shape, and their rows, int64 (K,).
    """

    def __init__(self, parts: Sequence[tuple[LocalFeatures, np.ndarray]]):
        self.shape = parts[0][0].shape
        self._parts = [local for local, _ in parts]
        lengths = [len(rows) for _, rows in parts]
        self._part = np.repeat(np.arange(len(parts)), lengths)
        self._row = np.concatenate([rows for _, rows in parts])

    def __len__(self) -> int:
        return len(self._row)

    def rows(self, ids: Sequence[int] | np.ndarray) -> np.ndarray:
        """See LocalFeatures."""
        wanted = self._checked(ids)
        found = np.empty((len(wanted), self.shape.positions, self.shape.channels), np.int8)
        part, row = self._part[wanted], self._row[wanted]
        for number in np.unique(part).tolist():
            here = part == number
            found[here] = self._parts[number].rows(row[here])
        return found

    def expect(self, ids: np.ndarray) -> None:
        """See LocalFeatures."""
        part, row = self._part[ids], self._row[ids]
        for number in np.unique(part).tolist():
            self._parts[number].expect(row[part == number])


class PictureRows:
    """The small pictures of a map that was made of parts, read from the folders of the parts.

    Called with a place: the JPEG of its picture; OSError where there is none, or it is damaged.
    """

    def __init__(self, parts: Sequence[Part]):
        self._maps = [part.map for part in parts]
        self._part = np.repeat(np.arange(len(parts)), [len(part.rows) for part in parts])
        self._row = np.concatenate([part.rows for part in parts])

    def __call__(self, place: Place) -> bytes:
        place_map, there = self._source(place)
        if place_map.folder is None:
            raise OSError(0, 'its map is in memory alone')
        return read_thumbnail(place_map.folder, there)

    def pixels(self, place: Place) -> np.ndarray | None:
        """The picture, uint8 RGB (H, W, 3); None where there is no sound one."""
        place_map, there = self._source(place)
        return place_map.picture(there) if place.thumbnail else None

    def _source(self, place: Place) -> tuple[PlaceMap, Place]:
        return self._maps[self._part[place.row]], replace(place, row=int(self._row[place.row]))

# SPDX-License-Identifier: Apache-2.0
"""Which pictures of a map are to go, by number, position, age or traverse."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timezone

import numpy as np

from ashtkd_ros.errors import VprError
from ashtkd_ros.mapping.revision import Revision
from ashtkd_ros.maps.map_rows import Part
from ashtkd_ros.maps.place_map import PlaceMap
from ashtkd_ros.maps.places_rows import some_rows

# Earlier stamps are not times of day: recordings without a clock begin at 0.
EARLIEST = datetime(1990, 1, 1, tzinfo=timezone.utc)


@dataclass(frozen=True)
class Selection:
    """What pictures have in common; all that is given holds at once.

    `ids`: numbers of places; `area`: x and y of two opposite corners, and `within`: x, y and
    radius, metres in the map's frame; `older_than`: a time; `traverse`: a number of map.yaml.
    """

    ids: Collection[int] | None = None
    area: tuple[float, float, float, float] | None = None
    within: tuple[float, float, float] | None = None
    older_than: datetime | None = None
    traverse: int | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing is given."""
        given = (self.ids, self.area, self.within, self.older_than, self.traverse)
        return all(value is None for value in given)

    def of(self, place_map: PlaceMap) -> np.ndarray:
        """bool (N,): which pictures of the map; VprError for what it cannot have."""
        places, chosen = place_map.places, np.ones(len(place_map.places), bool)
        if self.ids is not None:
            chosen &= self._by_id(place_map)
        x, y = places.positions[:, 0], places.positions[:, 1]  # NaN is in no area
        if self.area is not None:
            (x0, y0, x1, y1) = self.area
            low, high = (min(x0, x1), min(y0, y1)), (max(x0, x1), max(y0, y1))
            chosen &= (x >= low[0]) & (x <= high[0]) & (y >= low[1]) & (y <= high[1])
        if self.within is not None:
            x0, y0, radius = self.within
            chosen &= np.hypot(x - x0, y - y0) <= radius
        if self.older_than is not None:
            first, end = EARLIEST.timestamp(), self.older_than.timestamp()
            chosen &= (places.stamps >= first) & (places.stamps < end)
        if self.traverse is not None:
            chosen &= self._by_traverse(place_map)
        if not places.posed.any() and (self.area or self.within):
            raise VprError(
                f'{place_map.folder}: has no poses, so none of its places is in an area; choose '
                'them by their numbers'
            )
        return chosen

    def _by_id(self, place_map: PlaceMap) -> np.ndarray:
        wanted = np.unique(np.array(sorted(self.ids), np.int64))
        lacking = wanted[~np.isin(wanted, place_map.places.ids)]
        if len(lacking):
            raise VprError(
                f'{place_map.folder}: has no place {lacking[0]}; map_info and places.csv tell '
                'which it has'
            )
        return np.isin(place_map.places.ids, wanted)

    def _by_traverse(self, place_map: PlaceMap) -> np.ndarray:
        most = max(len(place_map.traverses) - 1, int(place_map.places.traverses.max()))
        if not 0 <= self.traverse <= most:
            raise VprError(
                f'{place_map.folder}: has no traverse {self.traverse}; its traverses are 0 to '
                f'{most}'
            )
        return place_map.places.traverses == self.traverse


def without(place_map: PlaceMap, dropped: np.ndarray) -> Revision:
    """The map without the pictures `dropped`, bool (N,); VprError where none would be left."""
    kept = np.flatnonzero(~dropped)
    if not len(kept):
        raise VprError(
            f'{place_map.folder}: no place would be left; a map has at least one, so choose '
            'fewer, or delete its folder'
        )
    places = some_rows(place_map.places, kept)
    return Revision([Part(place_map, kept)], places, place_map.info)

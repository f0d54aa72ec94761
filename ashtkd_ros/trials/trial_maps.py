# SPDX-License-Identifier: Apache-2.0
"""The maps of a trial: the one that it was driven with, and those that a node loaded instead."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from ashtkd_ros.errors import VprError
from ashtkd_ros.geometry.geodesy import GeoOrigin
from ashtkd_ros.maps.coordinates import coordinates
from ashtkd_ros.maps.history import HISTORY
from ashtkd_ros.maps.map_files import map_checksum
from ashtkd_ros.maps.place_map import PlaceMap
from ashtkd_ros.maps.places import Places
from ashtkd_ros.maps.places_rows import with_columns
from ashtkd_ros.maps.tiled_map import load_whole
from ashtkd_ros.recognition.place_grid import PlaceGrid
from ashtkd_ros.trials.recording import Answer, MapUse

_MOST_OTHERS = 4  # other maps that are read


class KnownMap:
    """A map whose places are looked up. `places`: where they are in metres of the map's frame,
    or of `origin` where the map has only latitudes and longitudes; `origin`: None: not known."""

    def __init__(self, place_map: PlaceMap):
        self.map, self.places = place_map, place_map.places
        self.origin: GeoOrigin | None = place_map.info.origin
        if self.origin is None and not np.isnan(self.places.geo).all():
            self.origin, self.places = _by_geo(place_map)
        self._grid = PlaceGrid(self.places)
        self._rows: dict[int, np.ndarray] = {}

    @cached_property
    def names(self) -> frozenset[str]:
        """The names of all places, in lower case."""
        return frozenset(name.casefold() for name in self.places.labels if name)

    def rows_named(self, name: str) -> tuple[int, ...]:
        """The rows of all places of a name, whatever its case."""
        wanted = name.casefold()
        return tuple(k for k, n in enumerate(self.places.labels) if n.casefold() == wanted)

    def metres_to(self, place_id: int, x: float, y: float) -> float:
        """From a position to the nearest picture of a place; NaN without such a place or pose."""
        if place_id not in self._rows:
            self._rows[place_id] = self.places.positions[self.places.rows_of(place_id), :2]
        metres = np.hypot(*(self._rows[place_id] - (x, y)).T)
        return math.nan if np.isnan(metres).all() else float(np.nanmin(metres))

    def nearest(self, x: float, y: float, metres: float) -> int | None:
        """The row of the nearest picture within so many metres of a position; None: none is."""
        rows = self._grid.within(x, y, metres)
        if not len(rows):
            return None
        return int(rows[np.hypot(*(self.places.positions[rows, :2] - (x, y)).T).argmin()])

    def name_of(self, place_id: int) -> str:
        """The name of a place; empty where it has none, or is not in the map."""
        row = self.places.first_rows.get(place_id)
        return '' if row is None else self.places.labels[row]


def _by_geo(place_map: PlaceMap) -> tuple[GeoOrigin, Places]:
    """The first place that has a latitude, and all places in metres east and north of it."""
    places, geo = place_map.places, coordinates(place_map)
    known = np.flatnonzero(~np.isnan(geo[:, 0]))
    origin = GeoOrigin(*geo[known[0]].tolist())
    poses = np.full_like(places.poses, np.nan)
    flat = np.column_stack([geo[known], np.zeros(len(known))])
    poses[known, :3] = origin.to_enu(flat)
    poses[known, 3:] = (0.0, 0.0, 0.0, 1.0)
    return origin, with_columns(places, poses=poses)


@dataclass
class TrialMaps:
    """`main`: the map of the trial, None without one; `path`: where it is, or should be.

    `changed`: whether another map lies at `path` now than at the start; `notes`: for the user.
    """

    main: KnownMap | None = None
    path: Path | None = None
    changed: bool = False
    notes: list[str] = field(default_factory=list)
    _others: dict[str, KnownMap | None] = field(default_factory=dict)
    _uses: dict[str, list[MapUse]] = field(default_factory=dict)
    _first: str = ''
    _changed_meanwhile: bool = False
    _given: bool = False

    @classmethod
    def of(cls, configuration: Mapping[str, object], given: Path | None) -> TrialMaps:
        """The map that is `given`, else that of the configuration; a note says why there is none.

        VprError where the given one cannot be read.
        """
        told = configuration.get('map')
        told = told if isinstance(told, Mapping) else {}
        path = given or (Path(told['path']) if isinstance(told.get('path'), str) else None)
        maps = cls(path=path, _first=str(told.get('path', '')), _given=given is not None)
        if path is None:
            maps.notes.append('no map: the trial does not tell which it had; name it with --map')
            return maps
        try:
            maps.main = KnownMap(load_whole(path))
            now, then = map_checksum(path), told.get('sha256')
            maps.changed = isinstance(then, str) and bool(then) and now != then
        except VprError as error:
            if given is not None:
                raise
            maps.notes.append(f'no map: {error}')
        return maps

    def use(self, uses: Sequence[MapUse], changed_meanwhile: bool = False) -> None:
        """Know what maps the nodes had in use, by their own words.

        `changed_meanwhile`: whether another map lay at `path` for a while during the trial.
        """
        self._changed_meanwhile = changed_meanwhile
        for use in sorted(uses):
            known = self._uses.setdefault(use.topic.rpartition('/')[0], [])
            if not known or known[-1][2:] != use[2:]:  # some nodes tell it with each answer
                known.append(use)
        self._first = self._first or next((u.location for u in sorted(uses)), '')
        if not self.changed or self._swaps():
            return
        if self.main.map.info.built.get(HISTORY) or self._given:
            self.notes.append(
                f'{self.path}: the map has changed since the trial; places keep their numbers, '
                'but what was moved or dropped is judged as it is now'
            )
            return
        self.main = None  # its numbers mean other places
        self.notes.append(
            f'{self.path}: the map has changed since the trial: another one was built there, so '
            'nothing is judged by it; name the map of the trial with --map, or this one, if it '
            'has the same places'
        )

    def at(self, answer: Answer) -> tuple[KnownMap | None, bool]:
        """The map of an answer, None where it cannot be read; whether it was swapped by then."""
        uses = self._uses.get(answer.topic.rpartition('/')[0], [])
        before = [use for use in uses if use.seconds <= answer.seconds] or uses[:1]
        swaps = [use.seconds for use in self._swaps()]
        if before and before[-1].location != self._first:
            return self._other(before[-1].location), True
        if self.changed and swaps:  # the map of before is gone, that of afterwards is there
            later = answer.seconds >= swaps[0]
            return (self.main if later else None), later
        if self._changed_meanwhile and swaps and answer.seconds >= swaps[0]:
            return None, True  # it was another map, which is gone again
        return self.main, False

    def _swaps(self) -> list[MapUse]:
        """When a node loaded another map, or its own anew."""
        found = []
        for uses in self._uses.values():
            for before, use in zip(uses, uses[1:], strict=False):
                anew = use.version != before.version and use.version != 1
                if use.location != before.location or anew:
                    found.append(use)
        return sorted(found)

    def _other(self, location: str) -> KnownMap | None:
        if location not in self._others and len(self._others) < _MOST_OTHERS:
            try:
                self._others[location] = KnownMap(load_whole(Path(location)))
            except VprError as error:
                self._others[location] = None
                self.notes.append(f'the answers from another map cannot be judged: {error}')
        return self._others.get(location)

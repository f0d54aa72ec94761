# SPDX-License-Identifier: Apache-2.0
"""Several maps of one frame and one network become one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ashtkd_ros.errors import VprError
from ashtkd_ros.mapping.additions import check_frame, check_odometry
from ashtkd_ros.mapping.revision import Revision
from ashtkd_ros.maps.description import MapInfo
from ashtkd_ros.maps.map_rows import Part, whole
from ashtkd_ros.maps.place_map import UNKNOWN, PlaceMap
from ashtkd_ros.maps.places import Places, Texts
from ashtkd_ros.maps.places_rows import joined, some_rows, with_columns
from ashtkd_ros.traverses.opening import images_described


@dataclass(frozen=True)
class Merged:
    """The new map, not saved yet, and for each map: old → new number of each place; how many of
    its pictures were there already. `notes`: which names of places are lost, a line each."""

    revision: Revision
    numbers: list[dict[int, int]]
    known: list[int]
    notes: list[str]


def merge(maps: Sequence[PlaceMap]) -> Merged:
    """Join maps: the first keeps its numbers, the others where the number is free.

    A number is free if no map before has ever given it. A picture that a map before has, the same
    image of the same recording, is taken once, and its place keeps the number that it has there:
    so two maps that grew from one become one again. VprError for maps that do not fit.
    """
    first = maps[0]
    merger = _Merger(first)
    for other in maps[1:]:
        merger.check(other)
        merger.add(other)
    return merger.merged()


class _Merger:
    def __init__(self, first: PlaceMap):
        self.maps, self.parts = [first], [whole(first)]
        self.places: list[Places] = [first.places]
        self.traverses = [dict(t) for t in first.all_traverses]
        self.next_id = first.info.next_id
        ids = np.unique(first.places.ids).tolist()
        self.numbers, self.known = [dict(zip(ids, ids, strict=True))], [0]
        self._pictures: dict[tuple, int] = {}
        self._note(first, first.places, range(len(first.places)))

    def check(self, other: PlaceMap) -> None:
        """VprError where the map does not fit those before."""
        first = self.maps[0]
        for key, what in (('sha256', 'model'), ('preprocessing', 'preprocessing')):
            if other.info.model.get(key) != first.info.model.get(key):
                raise VprError(
                    f'{other.folder}: is of another {what} than {first.folder}; make one of them '
                    'anew with the model of the other: map_tools reembed'
                )
        if (other.local is None) != (first.local is None) or (
            other.local is not None and other.local.shape != first.local.shape
        ):
            without = other if other.local is None else first
            raise VprError(
                f'{without.folder}: lacks the local features that the other map has; make them '
                'with map_tools reembed'
            )
        for before in self.maps:
            if other.places.posed.any() and before.places.posed.any():
                info = other.info
                check_frame(str(other.folder), info.frame, info.origin, before)
            check_odometry(before, other)

    def add(self, other: PlaceMap) -> None:
        """Take up what the maps before do not have."""
        keys = list(_keys(other, other.places))
        there = np.array([self._pictures.get(key, -1) for key in keys], np.int64)
        numbers = self._numbers(other, there)
        rows = np.flatnonzero(there < 0)
        new = some_rows(other.places, rows)
        ids = np.array([numbers[i] for i in new.ids.tolist()], np.int64)
        traverses = self._joined_traverses(other)
        new_traverses = np.array([traverses[t] for t in new.traverses.tolist()], np.int64)
        new = with_columns(new, ids=ids, traverses=new_traverses)
        self.maps.append(other)
        self.numbers.append(numbers)
        self.known.append(int((there >= 0).sum()))
        if len(rows):
            self.parts.append(Part(other, rows))
            self.places.append(new)
            self._note(other, new, rows)

    def _numbers(self, other: PlaceMap, there: np.ndarray) -> dict[int, int]:
        """Old → new number of each place of a map; `there` int64 (N,): the number that a picture
        has in the maps before, or -1."""
        ids, free = other.places.ids, self.next_id
        self.next_id = max(self.next_id, other.info.next_id)
        numbers: dict[int, int] = {}
        for row in np.flatnonzero(there >= 0).tolist():
            numbers.setdefault(int(ids[row]), int(there[row]))
        for old in np.unique(ids).tolist():
            if old in numbers:
                continue
            if old >= free:
                numbers[old] = old
            else:
                numbers[old], self.next_id = self.next_id, self.next_id + 1
        return numbers

    def _joined_traverses(self, other: PlaceMap) -> list[int]:
        """The new number of each traverse of a map; those that differ in nothing are one."""
        numbers = []
        for traverse in other.all_traverses:
            if traverse not in self.traverses:
                self.traverses.append(dict(traverse))
            numbers.append(self.traverses.index(traverse))
        return numbers

    def _note(self, place_map: PlaceMap, places: Places, rows: Sequence[int]) -> None:
        """Remember the pictures in these rows of a map; `places`: what they are now."""
        of_map = some_rows(place_map.places, np.asarray(rows, np.int64))
        for key, number in zip(_keys(place_map, of_map), places.ids.tolist(), strict=True):
            if key[0][0] != UNKNOWN:
                self._pictures.setdefault(key, number)

    def merged(self) -> Merged:
        """All maps as one."""
        first, (places, notes) = self.maps[0], self._named(joined(self.places))
        frame = next((m for m in self.maps if m.places.posed.any()), first)
        built = {**first.info.built, 'traverses': self.traverses}
        if 'origin' in frame.info.built:
            built['origin'] = frame.info.built['origin']
        info: MapInfo = replace(
            first.info, frame=frame.info.frame, built=built, next_id=self.next_id
        )
        return Merged(Revision(self.parts, places, info), self.numbers, self.known, notes)

    def _named(self, places: Places) -> tuple[Places, list[str]]:
        """The places, each by the name of the first map that has one, and which ones are lost."""
        names: dict[int, str] = {}
        notes = []
        for place_map, numbers in zip(self.maps, self.numbers, strict=True):
            of_map = place_map.places
            for old, name in dict(zip(of_map.ids.tolist(), of_map.labels, strict=True)).items():
                kept = names.setdefault(numbers[old], name) if name else name
                if kept != name:
                    notes.append(
                        f'{place_map.folder}: the name "{name}" of place {old} is left out: place '
                        f'{numbers[old]} is "{kept}" already; map_tools relabel changes it'
                    )
        if not names:
            return places, notes
        labels = Texts.of(names.get(number, '') for number in places.ids.tolist())
        return with_columns(places, labels=labels), notes


def _keys(place_map: PlaceMap, places: Places) -> list[tuple]:
    """What tells the pictures from all others: of which recording, and which image of it."""
    images = [images_described(t) for t in place_map.all_traverses]
    rows = zip(places.traverses.tolist(), places.sources, places.orders.tolist(), strict=True)
    return [(images[traverse], source, order) for traverse, source, order in rows]

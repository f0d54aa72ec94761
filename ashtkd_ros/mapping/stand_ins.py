# SPDX-License-Identifier: Apache-2.0
"""Which pictures of a map show the same place so nearly that one can stand in for the other."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ashtkd_ros.mapping.experiences import SamePlace, close_pairs
from ashtkd_ros.maps.map_rows import descriptors_of
from ashtkd_ros.maps.place_map import PlaceMap

_FRAMES = 5  # without poses: images of one traverse that far apart may show the same
_LARGEST_GROUP = 2000  # pictures of one label that are compared with each other


class StandIns:
    """For each of N pictures which others are of the same place.

    They have one number, or poses closer than `same`. Without poses they look alike, with at least
    `similarity`, and follow each other in one traverse, or have one label.
    """

    def __init__(self, place_map: PlaceMap, same: SamePlace, similarity: float):
        places = place_map.places
        pairs = [*_of_one_number(places.ids), _by_pose(place_map, same)]
        if not places.all_posed:
            rows = descriptors_of(place_map)
            free = ~places.posed
            for first, second in (*_in_sequence(place_map), *_of_one_label(place_map)):
                alike = np.einsum('ij,ij->i', rows[first], rows[second]) >= similarity
                alike &= free[first] & free[second]
                pairs.append((first[alike], second[alike]))
        first = np.concatenate([pair[0] for pair in pairs]).astype(np.int64)
        second = np.concatenate([pair[1] for pair in pairs]).astype(np.int64)
        both = np.unique(np.stack([np.append(first, second), np.append(second, first)], 1), axis=0)
        both = both[both[:, 0] != both[:, 1]]
        self._starts = np.searchsorted(both[:, 0], np.arange(len(places) + 1))
        self._others = both[:, 1]

    def of(self, row: int) -> np.ndarray:
        """int64: the other pictures of the place that a row shows."""
        return self._others[self._starts[row] : self._starts[row + 1]]


_Pair = tuple[np.ndarray, np.ndarray]


def _of_one_number(ids: np.ndarray) -> Iterator[_Pair]:
    order = np.argsort(ids, kind='stable')
    groups = np.split(order, np.flatnonzero(np.diff(ids[order])) + 1)
    return (_all_of(group) for group in groups)


def _all_of(rows: np.ndarray) -> _Pair:
    first, second = np.triu_indices(len(rows), 1)
    return rows[first], rows[second]


def _by_pose(place_map: PlaceMap, same: SamePlace) -> _Pair:
    places = place_map.places
    posed = np.flatnonzero(places.posed)
    if not len(posed):
        return posed, posed
    at, yaws = places.positions[posed, :2], places.yaws[posed]
    apart, first, second = close_pairs(at, at, same.metres)
    fits = (first < second) & same.fits(apart, yaws[first] - yaws[second])
    return posed[first[fits]], posed[second[fits]]


def _in_sequence(place_map: PlaceMap) -> Iterator[_Pair]:
    places = place_map.places
    order = np.lexsort((places.orders, places.traverses))
    for step in range(1, _FRAMES + 1):
        first, second = order[:-step], order[step:]
        fits = places.traverses[first] == places.traverses[second]
        fits &= np.abs(places.orders[first] - places.orders[second]) <= _FRAMES
        yield first[fits], second[fits]


def _of_one_label(place_map: PlaceMap) -> Iterator[_Pair]:
    names = place_map.places.names
    named = np.flatnonzero(names >= 0)
    order = named[np.argsort(names[named], kind='stable')]
    for group in np.split(order, np.flatnonzero(np.diff(names[order])) + 1):
        if 1 < len(group) <= _LARGEST_GROUP:
            yield _all_of(group)

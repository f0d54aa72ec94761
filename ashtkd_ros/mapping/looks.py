# SPDX-License-Identifier: Apache-2.0
"""How similar pictures of a map are to the next one in their traverse, and to others elsewhere."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ashtkd_ros.errors import VprError
from ashtkd_ros.maps.place_map import PlaceMap
from ashtkd_ros.recognition.matcher import Matcher
from ashtkd_ros.recognition.place_graph import PlaceGraph
from ashtkd_ros.sampling import thin

_ASKED, _FEWEST = 300, 10  # pictures that are looked at, and must be
_DEPTH = 1000  # most similar pictures among which one elsewhere is looked for


@dataclass(frozen=True)
class Looks:
    """Similarities within a map, medians in [-1, 1].

    `next`: of a picture and the next one of its traverse, which show the same spot in the same
    look from a little further on; `elsewhere`: of a picture and the most similar one elsewhere.
    """

    next: float
    elsewhere: float

    @property
    def limit(self) -> float:
        """Halfway between them. An image of a place that is less similar to its pictures resembles
        them no more than pictures of other places do: it has another look."""
        return (self.next + self.elsewhere) / 2


def looks_of(matcher: Matcher) -> Looks:
    """Measured on some pictures, evenly spread; VprError where a map has too few."""
    place_map = matcher.map
    graph = PlaceGraph(place_map.places, matcher.config.neighbour_m)
    starts = np.flatnonzero(graph.first[1:] == graph.first[:-1])
    starts = starts[thin(len(starts), _ASKED)] if len(starts) else starts
    along, elsewhere = [], []
    for start in starts.tolist():
        row, after = graph.rows[[start, start + 1]].tolist()
        here = descriptor_of(place_map, row)
        along.append(float(here @ descriptor_of(place_map, after)))
        rows, similarities = place_map.search(here, _DEPTH)
        far = np.flatnonzero(~matcher.near.between([row], rows)[0])
        elsewhere += similarities[far[:1]].tolist()
    if min(len(along), len(elsewhere)) < _FEWEST:
        raise VprError(
            f'{place_map.folder}: the map is too small to tell what is a new look: fewer than '
            f'{_FEWEST} pictures have one after them in their traverse and others elsewhere; '
            'add a longer traverse first'
        )
    return Looks(float(np.median(along)), float(np.median(elsewhere)))


def descriptor_of(place_map: PlaceMap, row: int) -> np.ndarray:
    """The descriptor of a picture, float32 (D,)."""
    return place_map.descriptors(np.array([row]))[0]

# SPDX-License-Identifier: Apache-2.0
"""The images that a map's places were made of, from folder, bag, or the map's own thumbnails."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ashtkd_ros.bags.bag import Bag
from ashtkd_ros.errors import VprError
from ashtkd_ros.images.bit_depth import BitDepth, bits_of
from ashtkd_ros.maps.own_pictures import recorded
from ashtkd_ros.maps.place_map import Place, PlaceMap
from ashtkd_ros.traverses.bag_traverse import decode, parse_source, source_name, to_rgb


class PlacePictures:
    """Called with a place: its image, uint8 RGB (H, W, 3); VprError where it is gone."""

    def __init__(self, place_map: PlaceMap):
        self.map = place_map
        self._bags: dict[int, Bag] = {}

    def __call__(self, place: Place) -> np.ndarray:
        """From the source, else the thumbnail."""
        try:
            return self.original(place)
        except VprError:
            picture = self.map.picture(place)
            if picture is None:
                raise
            return picture

    def original(self, place: Place) -> np.ndarray:
        """The image that was embedded, uint8 RGB (H, W, 3); VprError where it is gone."""
        topic = self._traverse(place.traverse).get('image_topic')
        if topic is None:
            depth = self._depth(place.traverse)
            return recorded(self._traverse(place.traverse), place, depth)
        message = self._bag(place.traverse).message(topic, *parse_source(place.source))
        return to_rgb(*decode(message, depth=self._depth(place.traverse)))

    def all(self) -> Iterator[tuple[Place, np.ndarray]]:
        """Every place with its original, each bag read once from its beginning to its end."""
        by_traverse = defaultdict(list)
        for place in self.map.places:
            by_traverse[place.traverse].append(place)
        for number, places in by_traverse.items():
            topic = self._traverse(number).get('image_topic')
            if topic is None:
                yield from ((place, self.original(place)) for place in places)
                continue
            wanted = {place.source: place for place in places}
            last, nth = -1, 0
            for _, received, message in self._bag(number).messages([topic], lenient=True):
                last, nth = received, nth + 1 if received == last else 0
                place = wanted.pop(source_name(received, nth), None)
                if place is not None:
                    yield place, to_rgb(*decode(message, depth=self._depth(number)))
            if wanted:
                raise VprError(f'{self._bag(number).path}: lacks images of the map')

    def _depth(self, number: int) -> BitDepth:
        bits = bits_of(self._traverse(number))
        return BitDepth(bits or 8, fixed=bool(bits))

    def _traverse(self, number: int) -> dict[str, str]:
        traverses = self.map.traverses
        if number >= len(traverses):
            raise VprError(f'the map does not tell where the images of traverse {number} are')
        return traverses[number]

    def _bag(self, number: int) -> Bag:
        if number not in self._bags:
            self._bags[number] = Bag(Path(self._traverse(number)['source']))
        return self._bags[number]

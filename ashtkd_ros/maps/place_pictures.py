# SPDX-License-Identifier: Apache-2.0
"""The images that a map's places were made of, from their source or the map's own thumbnails."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterable, Iterator

import numpy as np

from ashtkd_ros.errors import VprError
from ashtkd_ros.maps.place_map import Place, PlaceMap
from ashtkd_ros.traverses.opening import originals_of, quick_originals_of
from ashtkd_ros.traverses.traverse import Originals


class PlacePictures:
    """Called with a place: its image, uint8 RGB (H, W, 3); VprError where it is gone."""

    def __init__(self, place_map: PlaceMap):
        self.map = place_map
        self._originals: dict[int, Originals] = {}

    def __call__(self, place: Place) -> np.ndarray:
        """The image of the source, else the picture that the map keeps."""
        try:
            return self.original(place)
        except VprError:
            picture = self.map.picture(place)
            if picture is None:
                raise
            return picture

    def original(self, place: Place) -> np.ndarray:
        """The image that was embedded, uint8 RGB (H, W, 3); VprError where it is gone."""
        return self._of(place.traverse).read(place.source)

    def all(self) -> Iterator[tuple[Place, np.ndarray]]:
        """Every place with its original; each source is read once from beginning to end."""
        by_traverse = defaultdict(list)
        for place in self.map.places:
            by_traverse[place.traverse].append(place)
        for number, places in by_traverse.items():
            for row, image in self._of(number).all([place.source for place in places]):
                yield places[row], image

    def found(self, rows: Iterable[int]) -> Iterator[tuple[Place, np.ndarray]]:
        """The places in these rows with their originals, as far as those are still there.

        Each source is read once from beginning to end; what comes after damage may be left out.
        """
        by_traverse = defaultdict(list)
        for row in rows:
            by_traverse[int(self.map.places.traverses[row])].append(self.map.places[row])
        for number, places in by_traverse.items():
            if number < len(self.map.traverses) and quick_originals_of(self.map.traverses[number]):
                for place in places:
                    with contextlib.suppress(VprError):
                        yield place, self.original(place)
                continue
            with contextlib.suppress(VprError):
                for row, image in self._of(number).all([place.source for place in places]):
                    yield places[row], image

    def _of(self, number: int) -> Originals:
        if number not in self._originals:
            if number >= len(self.map.traverses):
                raise VprError(
                    f'the map does not tell where the images of traverse {number} are; '
                    'build the map anew'
                )
            self._originals[number] = originals_of(self.map.traverses[number])
        return self._originals[number]

# SPDX-License-Identifier: Apache-2.0
"""Images of a trial's recording, and of the places of its map, read again when they are shown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from ashtkd_ros.bags.bag import Bag
from ashtkd_ros.errors import VprError
from ashtkd_ros.images.colour_order import to_rgb
from ashtkd_ros.images.message_decoding import message_to_array
from ashtkd_ros.maps.place_pictures import PlacePictures
from ashtkd_ros.trials.recording import Answer, Recording
from ashtkd_ros.trials.trial_maps import KnownMap


def image_of(recording: Recording, answer: Answer) -> np.ndarray | None:
    """The image of an answer, uint8 RGB (H, W, 3); None where it cannot be read any more."""
    return next((image for _, image in images_of(recording, [answer])), None)


def images_of(
    recording: Recording, answers: Iterable[Answer]
) -> Iterator[tuple[Answer, np.ndarray]]:
    """Answers with their images, uint8 RGB (H, W, 3), those that can be read, in any order.

    One image is in memory at a time; each bag is read at most once, from the first image on.
    """
    wanted: dict[tuple[int, str], dict[int, list[Answer]]] = {}
    for answer in answers:
        if answer.row is not None:
            camera = recording.cameras[answer.camera]
            bag, received = camera.bags[answer.row], camera.received[answer.row]
            of_topic = wanted.setdefault((bag, camera.topics[bag]), {})
            of_topic.setdefault(received, []).append(answer)
    for (number, topic), at in wanted.items():
        try:
            bag = Bag(recording.bags[number])
            yield from _decoded(bag, topic, at)
            bag.close()
        except VprError:  # the bag was moved or damaged since it was read
            continue


def _decoded(
    bag: Bag, topic: str, at: Mapping[int, list[Answer]]
) -> Iterator[tuple[Answer, np.ndarray]]:
    messages = bag.messages([topic], min(at), max(at) + 1, lenient=True)
    for _, received, message in messages:
        for answer in at.get(received, ()):
            try:
                yield answer, to_rgb(*message_to_array(message))
            except VprError:  # no image
                continue


class MapPictures:
    """The pictures of the places of a map, which may be gone."""

    def __init__(self, known: KnownMap | None):
        self._known = known
        self._pictures = None if known is None else PlacePictures(known.map)

    def of_row(self, row: int | None) -> np.ndarray | None:
        """Of a row of the map, uint8 RGB (H, W, 3); None without one."""
        if row is None or self._pictures is None:
            return None
        try:
            return self._pictures(self._known.places[row])
        except VprError:
            return None

    def of_place(self, place_id: int | None) -> np.ndarray | None:
        """The first one of a place."""
        if place_id is None or self._known is None:
            return None
        return self.of_row(self._known.places.first_rows.get(place_id))

# SPDX-License-Identifier: Apache-2.0
"""A query beside the place it was recognised as, with a line of text, for people to look at."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from ashtkd_ros.errors import VprError
from ashtkd_ros.maps.own_pictures import recorded
from ashtkd_ros.maps.place_map import Place, PlaceMap

_HEIGHT, _WIDEST, _BAND = 240, 1920, 28


def debug_picture(
    image: np.ndarray, order: str, match: np.ndarray | None, text: str, without: str = ''
) -> np.ndarray:
    """uint8 image (H, W[, 3]) in `order` and its match, RGB or None → uint8 RGB, 268 high.

    `without`: what stands in the place of a match that has no picture.
    """
    query = _tile(image)
    if query.ndim == 2:
        query = cv2.cvtColor(query, cv2.COLOR_GRAY2RGB)
    elif order == 'BGR':
        query = cv2.cvtColor(query, cv2.COLOR_BGR2RGB)
    right = np.zeros_like(query) if match is None else _tile(match)
    if match is None and without:
        _write(right, without, _HEIGHT // 2)
    both = np.concatenate([query, right], axis=1)
    band = np.zeros((_BAND, both.shape[1], 3), np.uint8)
    _write(band, text, 20)
    return np.concatenate([band, both])


def _write(image: np.ndarray, text: str, y: int) -> None:
    # The font has no other letters than these.
    plain = text.encode('ascii', 'replace').decode()
    cv2.putText(image, plain, (6, y), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 1)


def _tile(image: np.ndarray) -> np.ndarray:
    width = round(image.shape[1] * _HEIGHT / image.shape[0])
    width = min(max(1, width), _WIDEST)
    return cv2.resize(image, (width, _HEIGHT), interpolation=cv2.INTER_AREA)


def picture_reader(place_map: PlaceMap) -> Callable[[Place], np.ndarray | None]:
    """Place → its picture, RGB, from the map's thumbnails or the folder it was built from.

    None where there is neither: a bag is not opened for it while a robot drives.
    """

    def read(place: Place) -> np.ndarray | None:
        picture = place_map.picture(place)
        if picture is not None or place.traverse >= len(place_map.traverses):
            return picture
        traverse = place_map.traverses[place.traverse]
        try:
            return None if 'image_topic' in traverse else recorded(traverse, place)
        except VprError:
            return None

    return read

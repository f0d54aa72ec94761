# SPDX-License-Identifier: Apache-2.0
"""The pictures that a map brings along: its thumbnails."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from ashtkd_ros.errors import VprError
from ashtkd_ros.files.reading import inside
from ashtkd_ros.images.picture_decoding import decode_picture
from ashtkd_ros.maps.folder import thumbnail_name
from ashtkd_ros.maps.place_map import Place, read_thumbnail


def thumbnail(folder: Path, place: Place) -> np.ndarray | None:
    """A place's thumbnail in the map's folder, uint8 RGB (H, W, 3); None: there is no sound one.

    One that a link leads to from outside of the folder is not the map's own.
    """
    if inside(folder, thumbnail_name(place.id)) is None:
        return None
    try:
        data = np.frombuffer(read_thumbnail(folder, place), np.uint8)
        return cv2.cvtColor(decode_picture(data), cv2.COLOR_BGR2RGB)
    except (OSError, ValueError, VprError):
        return None

# SPDX-License-Identifier: Apache-2.0
"""Image files → arrays."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from ashtkd_ros.errors import VprError
from ashtkd_ros.images.bit_depth import BitDepth
from ashtkd_ros.images.picture_decoding import decode_picture
from ashtkd_ros.images.picture_limits import check_size, read_bytes
from ashtkd_ros.text import reason_of


def read_image(path: Path, depth: BitDepth | None = None) -> np.ndarray:
    """Read an image file as uint8 (height, width, 3), RGB; VprError if it cannot be decoded.

    `depth`: the bit depth of its source, for values of 16 bits; None: that of this image alone.
    """
    image = read_image_bgr(path, None, depth)
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image)


def read_image_bgr(
    path: Path, at_least: tuple[int, int] | None = None, depth: BitDepth | None = None
) -> np.ndarray:
    """Read an image file as uint8 (height, width, 3), BGR; VprError if it cannot be decoded.

    `at_least` (height, width) in pixels: a JPEG may be decoded at a smaller size, but no side
    becomes smaller than this. `depth`: see `read_image`.
    """
    try:
        data = read_bytes(path)
        check_size(data)
        return decode_picture(data, '', at_least, depth)
    except (OSError, ValueError, VprError) as error:
        raise VprError(
            f'{path}: not a readable image ({reason_of(error)}); remove it from the list or '
            'replace it'
        ) from error

# SPDX-License-Identifier: Apache-2.0
"""Looks at pictures of a camera as the node would, without a network."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from ashtkd_ros.images.faults import MAX_BLUR, MIN_LIGHT, FrozenDetector, fault
from ashtkd_ros.images.message_decoding import ImageError, message_to_array

DAMAGED = 'damaged'  # the fault of a message that is no image
_SIZE = 224  # pixels of a side; so large are the pictures that `fault` was made for


class PictureCheck:
    """The pictures of one camera, in order. `noisy`: False for a simulated camera."""

    def __init__(
        self, max_blur: float = MAX_BLUR, min_light: float = MIN_LIGHT, noisy: bool = True
    ):
        self._limits, self._noisy = (max_blur, min_light), noisy
        self._frozen = FrozenDetector()
        self._last: np.ndarray | None = None
        self.brightness = float('nan')  # mean grey of the last picture, 0 to 255
        self.changed = False  # whether any two pictures that followed each other differed

    def look(self, message: Any, stamp_s: float, frozen_after: int) -> str:
        """The fault of an Image or CompressedImage, in a word or two; empty if it has none.

        `frozen_after`: see `FrozenDetector`. A message that is no image is DAMAGED.
        """
        try:
            pixels, _ = message_to_array(message, (_SIZE, _SIZE))
        except ImageError:
            return DAMAGED
        small = cv2.resize(pixels, (_SIZE, _SIZE), interpolation=cv2.INTER_AREA)
        self.brightness = float(np.mean(small))
        self.changed |= self._last is not None and not np.array_equal(small, self._last)
        self._last = small
        why = fault(small, *self._limits)
        is_frozen = self._frozen.update(small, frozen_after, stamp_s, self._noisy)
        return 'frozen' if is_frozen else why

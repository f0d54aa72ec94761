# SPDX-License-Identifier: Apache-2.0
"""What is wrong with a camera's image, so that nobody tries to recognise a place in it."""

from __future__ import annotations

import math
import zlib

import cv2
import numpy as np

# Pixels of 250 and more, of 255, are burnt out. Of 2,900 real photos, night ones too, none has
# more than 0.42 of them.
_WHITE, _MOST_WHITE = 250, 0.8


def fault(image: np.ndarray, max_blur: float, min_light: float) -> str:
    """'nearly black', 'over-exposed', 'blurred', or '' for uint8 (H, W[, 3]) of about 224 pixels.

    Nearly black: 99 of 100 pixels are darker than `min_light` (of 255). Blurred: `blur` is above
    `max_blur`.
    """
    grey = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    mean, light = cv2.mean(grey)[0], math.ceil(min_light)
    # The histogram only where the mean leaves it open.
    if mean < light + 0.01 * 255 or mean >= _MOST_WHITE * _WHITE:
        counts = cv2.calcHist([np.ascontiguousarray(grey)], [0], None, [256], [0, 256]).ravel()
        if counts[:light].sum() >= 0.99 * grey.size:
            return 'nearly black'
        if counts[_WHITE:].sum() >= _MOST_WHITE * grey.size:
            return 'over-exposed'
    return 'blurred' if max_blur < 1.0 and blur(grey) > max_blur else ''


def blur(grey: np.ndarray, width: int = 9) -> float:
    """How blurred uint8 (H, W) is, from 0 (sharp) to 1, whatever is in the picture.

    The share of a picture's variation that survives another blur, along the worse axis: Crete et
    al., The blur effect: perception and estimation with a new no-reference perceptual blur
    metric, SPIE 2007. At 224 pixels real photos lie between 0.2 and 0.6, blank walls highest.
    Every other line is looked at; 1 where nothing varies.
    """
    half, worst = min(width // 2, min(grey.shape) // 2 - 1), 0.0
    if half < 1:
        return 1.0
    width = 2 * half + 1
    for lines in (grey[::2], cv2.transpose(grey)[::2]):
        steps = cv2.absdiff(lines[:, half + 1 : -half], lines[:, half : -half - 1])
        # Means over `width` pixels differ by what enters less what leaves: no filter is needed.
        # Their differences times `width` are compared, which lie below 256.
        blurred = cv2.absdiff(lines[:, width:], lines[:, :-width])
        total = width * cv2.sumElems(steps)[0]
        kept = cv2.sumElems(cv2.min(cv2.convertScaleAbs(steps, alpha=width), blurred))[0]
        worst = max(worst, kept / total if total else 1.0)
    return worst


class Frozen:
    """Tells a camera that sends one image again and again: a real one has noise."""

    def __init__(self):
        self._digest, self._same = None, 0

    def sees(self, image: np.ndarray, limit: int) -> bool:
        """Whether more than `limit` images in a row are equal, in every fourth line; 0: never."""
        digest = zlib.crc32(np.ascontiguousarray(image[::4]))
        self._same = self._same + 1 if digest == self._digest else 0
        self._digest = digest
        return 0 < limit <= self._same

# SPDX-License-Identifier: Apache-2.0
"""What is wrong with a camera's image, so that nobody tries to recognise a place in it."""

from __future__ import annotations

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
    counts = cv2.calcHist([np.ascontiguousarray(grey)], [0], None, [256], [0, 256]).ravel()
    if counts[: int(np.ceil(min_light))].sum() >= 0.99 * grey.size:
        return 'nearly black'
    if counts[_WHITE:].sum() >= _MOST_WHITE * grey.size:
        return 'over-exposed'
    return 'blurred' if max_blur < 1.0 and blur(grey) > max_blur else ''


def blur(grey: np.ndarray, width: int = 9) -> float:
    """How blurred uint8 (H, W) is, from 0 (sharp) to 1, whatever is in the picture.

    The share of a picture's variation that survives another blur, along the worse axis: Crete et
    al., The blur effect: perception and estimation with a new no-reference perceptual blur
    metric, SPIE 2007. At 224 pixels real photos lie between 0.2 and 0.6, blank walls highest.
    """
    # Sums in place of means, in whole numbers: exact, and several times faster than floats.
    grey, worst = np.ascontiguousarray(grey), 0.0
    scaled = grey.astype(np.int16) * width
    for axis, size in ((0, (1, width)), (1, (width, 1))):
        before = _steps(scaled, axis)
        after = _steps(cv2.boxFilter(grey, cv2.CV_16S, size, normalize=False), axis)
        total = cv2.sumElems(before)[0]
        worst = max(worst, cv2.sumElems(cv2.min(before, after))[0] / total if total else 1.0)
    return worst


def _steps(values: np.ndarray, axis: int) -> np.ndarray:
    """Differences between neighbours along an axis, without their sign."""
    if axis == 0:
        return cv2.absdiff(values[1:], values[:-1])
    return cv2.absdiff(values[:, 1:], values[:, :-1])


class Frozen:
    """Tells a camera that sends one image again and again: a real one has noise."""

    def __init__(self):
        self._digest, self._same = None, 0

    def sees(self, image: np.ndarray, limit: int) -> bool:
        """Whether more than `limit` images in a row are equal, pixel by pixel; 0: never."""
        digest = zlib.crc32(np.ascontiguousarray(image))
        self._same = self._same + 1 if digest == self._digest else 0
        self._digest = digest
        return 0 < limit <= self._same

# SPDX-License-Identifier: Apache-2.0
"""Faults of a camera image because of which no place should be recognised in it."""

from __future__ import annotations

import math
from collections import deque

import cv2
import numpy as np

# Pixels from 250 to 255 are over-exposed. In 2,900 real photos, some of them taken at night, at
# most 0.42 of the pixels are.
_WHITE, _MOST_WHITE = 250, 0.8
# To detect noise: darker pixels and white ones have none. A picture is compared in 8 x 8 blocks.
_BLACK, _BLOCKS, _PAIRS = 5, 8, 30


MAX_BLUR = 0.65  # default limits of `fault`
MIN_LIGHT = 32.0


def fault(image: np.ndarray, max_blur: float, min_light: float) -> str:
    """The fault of an image: 'nearly black', 'over-exposed' or 'blurred'; '' if it has none.

    `image`: uint8 (H, W[, 3]) of about 224 pixels. Nearly black: 99 of 100 pixels are darker than
    `min_light` (0 to 255). Blurred: `blur` is above `max_blur` (0 to 1).
    """
    grey = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    mean, light = cv2.mean(grey)[0], math.ceil(min_light)
    # The histogram is only needed if the mean does not decide.
    if mean < light + 0.01 * 255 or mean >= _MOST_WHITE * _WHITE:
        counts = cv2.calcHist([np.ascontiguousarray(grey)], [0], None, [256], [0, 256]).ravel()
        if counts[:light].sum() >= 0.99 * grey.size:
            return 'nearly black'
        if counts[_WHITE:].sum() >= _MOST_WHITE * grey.size:
            return 'over-exposed'
    return 'blurred' if max_blur < 1.0 and blur(grey) > max_blur else ''


def blur(grey: np.ndarray, width: int = 9) -> float:
    """How blurred a picture, uint8 (H, W), is: from 0 (sharp) to 1, whatever it shows.

    It is the share of the picture's variation that remains after another blur, along the worse
    axis: Crete et al., The blur effect: perception and estimation with a new no-reference
    perceptual blur metric, SPIE 2007. At 224 pixels real photos lie between 0.2 and 0.6, with
    blank walls highest. Every second line is used. A uniform picture gives 1.
    """
    half, worst = min(width // 2, min(grey.shape) // 2 - 1), 0.0
    if half < 1:
        return 1.0
    width = 2 * half + 1
    for lines in (grey[::2], cv2.transpose(grey)[::2]):
        steps = cv2.absdiff(lines[:, half + 1 : -half], lines[:, half : -half - 1])
        # Neighbouring means over `width` pixels differ by the pixel that enters minus the one that
        # leaves, so no filter is needed. These differences times `width` are below 256.
        blurred = cv2.absdiff(lines[:, width:], lines[:, :-width])
        total = width * cv2.sumElems(steps)[0]
        kept = cv2.sumElems(cv2.min(cv2.convertScaleAbs(steps, alpha=width), blurred))[0]
        worst = max(worst, kept / total if total else 1.0)
    return worst


class FrozenDetector:
    """Detects a camera that sends the same image again and again.

    A real camera has noise: any two of its images differ everywhere. A simulated camera that does
    not move sends equal images with new stamps, and while it moves some parts of the picture stay
    equal. So equal images mean a frozen camera if their stamps are equal too, or if the camera has
    shown noise before and the images could show it: black and white pixels have none.
    """

    def __init__(self):
        self._last: np.ndarray | None = None
        self._stamp_s, self._equal_images, self._equal_stamps = -math.inf, 0, 0
        self.same_stamps = False  # whether the last frozen images had equal stamps
        # For the last pairs of unequal images: whether the whole picture had changed.
        self._noise: deque[bool] = deque(maxlen=_PAIRS)

    def update(
        self, image: np.ndarray, limit: int, stamp_s: float = 0.0, noisy: bool = True
    ) -> bool:
        """Take the next image; whether the camera is frozen.

        It is if more than `limit` images in a row are equal in every fourth line; 0: never.
        `image`: uint8 (H, W[, 3]); `stamp_s`: its stamp in seconds; `noisy`: False if the camera
        is known to have no noise.
        """
        lines = np.ascontiguousarray(image[::4])
        last, self._last = self._last, lines
        if last is None or last.shape != lines.shape:
            self._equal_images = self._equal_stamps = 0
        elif np.array_equal(last, lines):
            self._equal_images += 1
            self._equal_stamps = self._equal_stamps + 1 if stamp_s == self._stamp_s else 0
        else:
            self._noise.append(_all_changed(last, lines))
            self._equal_images = self._equal_stamps = 0
        self._stamp_s = stamp_s
        if limit <= 0 or self._equal_images < limit:
            return False
        has_noise = noisy and 2 * sum(self._noise) > len(self._noise)
        self.same_stamps = self._equal_stamps >= limit
        return self.same_stamps or (has_noise and bool(_can_show_noise(lines).any()))


def _all_changed(before: np.ndarray, now: np.ndarray) -> bool:
    """Whether two pictures differ in every block that is neither black nor white."""
    differ = cv2.absdiff(_green(before), _green(now))
    changed = _shares(cv2.threshold(differ, 0, 255, cv2.THRESH_BINARY)[1])
    return not ((changed <= 0.0) & _can_show_noise(now)).any()


def _can_show_noise(image: np.ndarray) -> np.ndarray:
    """Which blocks are mostly neither black nor white, bool (rows, columns)."""
    return _shares(cv2.inRange(_green(image), _BLACK, _WHITE)) > 0.5


def _green(image: np.ndarray) -> np.ndarray:
    """One colour and every second column, which are enough: noise is everywhere."""
    return np.ascontiguousarray(image[:, ::2, 1] if image.ndim == 3 else image)


def _shares(mask: np.ndarray) -> np.ndarray:
    """Of a mask of 0 and 255, the share of each block that is set, float (rows, columns)."""
    rows, columns = (min(size, _BLOCKS) for size in mask.shape)
    whole = mask[: mask.shape[0] // rows * rows, : mask.shape[1] // columns * columns]
    blocks = (columns, rows)
    return cv2.resize(whole.astype(np.float32) / 255, blocks, interpolation=cv2.INTER_AREA)

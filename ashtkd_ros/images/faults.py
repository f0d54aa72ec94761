# SPDX-License-Identifier: Apache-2.0
"""What is wrong with a camera's image, so that nobody tries to recognise a place in it."""

from __future__ import annotations

import math
from collections import deque

import cv2
import numpy as np

# Pixels of 250 and more, of 255, are burnt out. Of 2,900 real photos, night ones too, none has
# more than 0.42 of them.
_WHITE, _MOST_WHITE = 250, 0.8
# For noise: what is darker has none either; a picture is looked at in 8 x 8 blocks.
_BLACK, _BLOCKS, _PAIRS = 5, 8, 30


MAX_BLUR = 0.65  # default limits of `fault`
MIN_LIGHT = 32.0


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
    """Tells a camera that sends one image again and again from one that sees one thing.

    A real camera has noise: two images of it differ everywhere. A simulated one that stands still
    sends equal images with new stamps, and while it moves leaves some part of the picture as it
    was. So equal images are frozen ones where their stamps stand still as well, or where the
    camera has shown noise before.
    """

    def __init__(self):
        self._last: np.ndarray | None = None
        self._stamp, self._same, self._same_stamps = -math.inf, 0, 0
        self.stamps_stand = False  # of the images that were found frozen last
        # Of the last pairs of unequal images: whether all of the picture had changed.
        self._noise: deque[bool] = deque(maxlen=_PAIRS)

    def sees(self, image: np.ndarray, limit: int, stamp: float = 0.0, noisy: bool = True) -> bool:
        """Whether more than `limit` images in a row are equal, in every fourth line; 0: never.

        `image`: uint8 (H, W[, 3]); `stamp`: its seconds; `noisy`: False where the camera is known
        to have no noise.
        """
        lines = np.ascontiguousarray(image[::4])
        last, self._last = self._last, lines
        if last is None or last.shape != lines.shape:
            self._same = self._same_stamps = 0
        elif np.array_equal(last, lines):
            self._same += 1
            self._same_stamps = self._same_stamps + 1 if stamp == self._stamp else 0
        else:
            self._noise.append(_all_changed(last, lines))
            self._same = self._same_stamps = 0
        self._stamp = stamp
        if limit <= 0 or self._same < limit:
            return False
        has_noise = noisy and 2 * sum(self._noise) > len(self._noise)
        self.stamps_stand = self._same_stamps >= limit
        return has_noise or self.stamps_stand


def _all_changed(before: np.ndarray, now: np.ndarray) -> bool:
    """Whether two pictures differ in every block of theirs that is neither black nor white."""
    if now.ndim == 3:  # one colour, every other column: noise is everywhere
        before, now = before[:, ::2, 1], now[:, ::2, 1]
    rows, columns = (size // _BLOCKS for size in now.shape)
    if not (rows and columns):
        return True
    whole = np.s_[: rows * _BLOCKS, : columns * _BLOCKS]
    now = np.ascontiguousarray(now[whole])
    differ = cv2.absdiff(np.ascontiguousarray(before[whole]), now)
    changed = cv2.threshold(differ, 0, 255, cv2.THRESH_BINARY)[1]
    grey = cv2.inRange(now, _BLACK, _WHITE)
    changed, grey = (
        cv2.resize(mask.astype(np.float32), (_BLOCKS, _BLOCKS), interpolation=cv2.INTER_AREA)
        for mask in (changed, grey)
    )
    return not ((changed <= 0.0) & (grey > 127.0)).any()

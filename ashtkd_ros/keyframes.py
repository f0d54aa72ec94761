# SPDX-License-Identifier: Apache-2.0
"""Which images of a traverse become places: far or turned enough, sharp, and not black."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from ashtkd_ros.sources import Pose

RULES = ('auto', 'distance', 'change', 'all')


@dataclass(frozen=True)
class KeyframeOptions:
    """`rule`: by distance (needs poses), by visual change, or all images; auto: all images of a
    folder, in which they were chosen already; of a bag by distance, without poses by change.

    A place every `metres` or `degrees` of turn; by change as soon as the similarity with the last
    place falls below `similarity`. An image is refused when its blur (see `blur`) is above
    `max_blur`, or when 99 of 100 pixels are darker than `min_light` (of 255).
    """

    rule: str = 'auto'
    metres: float = 1.0
    degrees: float = 15.0
    similarity: float = 0.9
    max_blur: float = 0.65
    min_light: float = 32.0


def moved(pose: Pose, last: Pose | None, options: KeyframeOptions) -> bool:
    """Whether `pose` is far or turned enough from the last place's."""
    if last is None:
        return True
    turn = abs((pose.yaw - last.yaw + math.pi) % (2 * math.pi) - math.pi)
    apart = math.dist((pose.x, pose.y, pose.z), (last.x, last.y, last.z))
    return apart >= options.metres or turn >= math.radians(options.degrees)


def fault(image: np.ndarray, options: KeyframeOptions) -> str:
    """Why an image, uint8 (H, W[, 3]), is no place: 'nearly black', 'blurred', or ''."""
    grey = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    if np.percentile(grey, 99) < options.min_light:
        return 'nearly black'
    return 'blurred' if blur(grey) > options.max_blur else ''


def blur(grey: np.ndarray, width: int = 9) -> float:
    """How blurred uint8 (H, W) is, from 0 (sharp) to 1, whatever is in the picture.

    The share of a picture's variation that survives another blur, along the worse axis: Crete et
    al., The blur effect: perception and estimation with a new no-reference perceptual blur
    metric, SPIE 2007. At 224 pixels real photos lie between 0.2 and 0.6, blank walls highest.
    """
    worst = 0.0
    for axis, size in ((0, (1, width)), (1, (width, 1))):
        before = np.abs(np.diff(grey.astype(np.float32), axis=axis))
        after = np.abs(np.diff(cv2.blur(grey.astype(np.float32), size), axis=axis))
        total = float(before.sum())
        lost = float(np.maximum(before - after, 0.0).sum())
        worst = max(worst, 1.0 - lost / total if total else 1.0)
    return worst

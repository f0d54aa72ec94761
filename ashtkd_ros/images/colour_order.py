# SPDX-License-Identifier: Apache-2.0
"""Pixels in any order of colours → RGB."""

from __future__ import annotations

import cv2
import numpy as np

_TO_RGB = {'BGR': cv2.COLOR_BGR2RGB, 'GREY': cv2.COLOR_GRAY2RGB}


def to_rgb(pixels: np.ndarray, order: str) -> np.ndarray:
    """uint8 (H, W, 3) in `order` (RGB or BGR), or (H, W) with order GREY → (H, W, 3), RGB."""
    if order in _TO_RGB:
        return cv2.cvtColor(pixels, _TO_RGB[order])
    return np.ascontiguousarray(pixels)

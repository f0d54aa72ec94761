# SPDX-License-Identifier: Apache-2.0
"""Descriptors without a network, to measure ours against: raw pixels and HOG."""

from __future__ import annotations

import cv2
import numpy as np

_SIDE, _CELL, _BINS = 128, 16, 9


def raw_pixels(image: np.ndarray) -> np.ndarray:
    """uint8 RGB (H, W, 3) → 32 x 32 grey brought to mean 0 and length 1: float32 (1024,)."""
    flat = _grey(image, 32).ravel()
    return _unit(flat - flat.mean())


def hog(image: np.ndarray) -> np.ndarray:
    """Histograms of oriented gradients (Dalal & Triggs, CVPR 2005): float32 (1764,), length 1.

    Of uint8 RGB (H, W, 3): 128 x 128 grey, cells of 16 pixels with 9 unsigned directions, blocks
    of 2 x 2 cells brought to length 1. OpenCV 5 no longer has it.
    """
    return _unit(_blocks(_grey(image, _SIDE)))


def _blocks(grey: np.ndarray) -> np.ndarray:
    dx, dy = (cv2.Sobel(grey, cv2.CV_32F, *order, ksize=1) for order in ((1, 0), (0, 1)))
    size, angle = np.hypot(dx, dy), np.arctan2(dy, dx) % np.pi
    low, share = np.divmod(angle / np.pi * _BINS, 1)
    cells = np.zeros((_SIDE // _CELL, _SIDE // _CELL, _BINS), np.float32)
    y, x = np.indices(grey.shape) // _CELL
    for index, part in ((low, 1 - share), (low + 1, share)):
        np.add.at(cells, (y, x, index.astype(int) % _BINS), size * part)
    windows = np.lib.stride_tricks.sliding_window_view(cells, (2, 2), axis=(0, 1))
    return _unit(windows.reshape(-1, 4 * _BINS)).ravel()


def _grey(image: np.ndarray, side: int) -> np.ndarray:
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return cv2.resize(grey, (side, side), interpolation=cv2.INTER_AREA).astype(np.float32)


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-6)


# Name → image to descriptor, in the order that reports show them.
BASELINES = {'HOG': hog, 'raw pixels 32x32': raw_pixels}

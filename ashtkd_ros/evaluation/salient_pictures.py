# SPDX-License-Identifier: Apache-2.0
"""Pictures of where a network looks, from the salient maps of `Embedder.salient_maps`."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

_HEIGHT = 224


def level_pictures(image: np.ndarray, levels: Sequence[np.ndarray]) -> np.ndarray:
    """The image, and for each level the image darkened where the level does not look.

    uint8 RGB (H, W, 3) and each level's maps (K, h, w) → uint8 RGB, 224 pixels high.
    """
    small = _small(image)
    tiles = [_with_heat_map(small, _weight(small, maps)) for maps in levels]
    return np.concatenate([small, *tiles], axis=1)


def overlay(image: np.ndarray, levels: Sequence[np.ndarray]) -> np.ndarray:
    """The image darkened where the levels together do not look: uint8 RGB, 224 pixels high."""
    small = _small(image)
    return _with_heat_map(small, np.mean([_weight(small, maps) for maps in levels], axis=0))


def _small(image: np.ndarray) -> np.ndarray:
    width = round(_HEIGHT * image.shape[1] / image.shape[0])
    size = min(max(1, width), 16 * _HEIGHT), _HEIGHT
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def _weight(small: np.ndarray, maps: np.ndarray) -> np.ndarray:
    """Mean of the maps at the picture's size, float (H, W), its highest 1."""
    size = small.shape[1], small.shape[0]
    weight = cv2.resize(maps.mean(axis=0), size, interpolation=cv2.INTER_CUBIC)
    return np.clip(weight / weight.max(), 0.0, 1.0)


def _with_heat_map(small: np.ndarray, weight: np.ndarray) -> np.ndarray:
    share = weight / weight.max()
    heat = cv2.applyColorMap((255 * share).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]
    return (0.45 * small + 0.55 * heat).astype(np.uint8)

# SPDX-License-Identifier: Apache-2.0
"""Baselines to measure the network against: descriptors of raw pixels and of gradients (HOG)."""

from __future__ import annotations

import cv2
import numpy as np

from ashtkd_ros.errors import VprError
from ashtkd_ros.evaluation.ground_truth import GroundTruth
from ashtkd_ros.evaluation.metrics import RECALL_AT, Metrics, metrics_of
from ashtkd_ros.maps.place_pictures import PlacePictures
from ashtkd_ros.network.parallel_embedding import in_parallel

_SIDE, _CELL, _BINS = 128, 16, 9
# The descriptors are long: those of more images than this would fill the memory.
_MOST_IMAGES = 30_000


def raw_pixels(image: np.ndarray) -> np.ndarray:
    """uint8 RGB (H, W, 3) → 32 x 32 grey with mean 0 and length 1: float32 (1024,)."""
    flat = _grey(image, 32).ravel()
    return _unit(flat - flat.mean())


def hog(image: np.ndarray) -> np.ndarray:
    """Histograms of oriented gradients (Dalal & Triggs, CVPR 2005): float32 (1764,), length 1.

    From uint8 RGB (H, W, 3): 128 x 128 grey, cells of 16 pixels with 9 unsigned directions, blocks
    of 2 x 2 cells with length 1. OpenCV 5 no longer has HOG.
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


def measure_baselines(
    pictures: PlacePictures, truth: GroundTruth, workers: int
) -> tuple[dict[str, Metrics], list[str]]:
    """Name → figures of each baseline in place of the network, and notes.

    `pictures`: those of the map; `workers`: images at a time, 0: one for each core. There are no
    figures, but a note that says why, where the images are too many or those of the map are gone.
    """
    places, frames = truth.places, truth.queries
    if len(places) + len(frames) > _MOST_IMAGES:
        return {}, [f'no baselines: more than {_MOST_IMAGES} images']
    try:
        jobs = ((None, (image,)) for _, image in pictures.all())
        mapped = [descriptors for _, descriptors in in_parallel(_describe, jobs, workers)]
    except VprError as error:
        return {}, [f"no baselines: the map's images are gone ({error})"]
    jobs = ((None, (frame.read(),)) for frame in frames)
    asked = [descriptors for _, descriptors in in_parallel(_describe, jobs, workers)]
    methods = {}
    for i, name in enumerate(BASELINES):
        similarity = np.stack([a[i] for a in asked]) @ np.stack([m[i] for m in mapped]).T
        ranking = np.argsort(-similarity, axis=1, kind='stable')[:, : max(RECALL_AT)]
        hits, has_positive = truth.judge(ranking)
        near = truth.within_twice(ranking[:, 0])
        methods[name] = metrics_of(hits, similarity.max(axis=1), has_positive, near)
    return methods, []


def _describe(image: np.ndarray) -> list[np.ndarray]:
    return [describe(image) for describe in BASELINES.values()]

# SPDX-License-Identifier: Apache-2.0
"""Two views of one scene whose matching positions are known: of one picture, or of one webcam."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from ashtkd_ros.files.tables import read_rows
from ashtkd_ros.images.image_file import read_image
from tools.training.data.augment import degrade
from tools.training.data.correspondence import UNIT, Correspondence, SeenView

_BOTH_DEGRADED = 0.3  # share of the pairs whose first view is degraded too


class MatchedViews(NamedTuple):
    """`first`, `second`: uint8 (S, S, 3) RGB; `partners`: int64 (P,), the position of the second
    view that shows what a position of the first shows, -1 where it is outside."""

    first: np.ndarray
    second: np.ndarray
    partners: np.ndarray


def picture_pairs(
    folder: Path, webcams: Sequence[str], each: int, rng: np.random.Generator
) -> list[tuple[Path, Path]]:
    """Pictures of every set (index.csv) under `folder`, twice each, with itself as partner.

    `each`: at most so many of a set. Pictures of `webcams`, whose `place` is a camera that does
    not move, also have other pictures of their camera as partners: real change of light and
    weather.
    """
    pairs: list[tuple[Path, Path]] = []
    for table in sorted(folder.glob('*/index.csv')):
        webcam = table.parent.name in webcams
        rows = [row for _, row in read_rows(table, ('file', 'place')[: 1 + webcam])]
        files = [table.parent / row['file'] for row in rows]
        pairs += [(files[i], files[i]) for i in rng.permutation(len(files))[:each]] * 2
        if webcam:
            cameras = defaultdict(list)
            for row, file in zip(rows, files, strict=True):
                cameras[row['place']].append(file)
            for same in cameras.values():
                others = rng.integers(len(same), size=(2, len(same)))
                pairs += [
                    (a, same[i]) for chosen in others for a, i in zip(same, chosen, strict=True)
                ]
    return pairs


def matched_views(
    pair: tuple[Path, Path], size: int, side: int, rng: np.random.Generator
) -> MatchedViews:
    """A mild crop of one picture and a strongly warped, degraded one of the other.

    `size`: of the views in pixels; `side`: positions along a side. VprError where a picture
    cannot be read.
    """
    corners = _corners(rng, strong=False), _corners(rng, strong=True)
    first, second = (
        _warped(read_image(path), quad, size) for path, quad in zip(pair, corners, strict=True)
    )
    if rng.random() < _BOTH_DEGRADED:
        first = degrade(first, rng)
    return MatchedViews(first, degrade(second, rng), partners_of(*corners, side))


def partners_of(first: np.ndarray, second: np.ndarray, side: int) -> np.ndarray:
    """int64 (P,): partners of two views of one picture by their `corners`, see `SeenView`."""
    views = SeenView('', first), SeenView('', second)
    return Correspondence().partners_between(*views, side, side)


def _corners(rng: np.random.Generator, strong: bool) -> np.ndarray:
    """float64 (4, 2): a view's corners in the picture, as shares of its sides."""
    scale = 0.75 * np.exp(rng.uniform(-0.4, 0.4) if strong else rng.uniform(-0.1, 0.1))
    aspect = np.exp(rng.uniform(-0.15, 0.15))
    angle = rng.uniform(-0.1, 0.1) if strong else 0.0
    centre = 0.5 + rng.uniform(-0.25, 0.25, 2) * (1.0 if strong else 0.3)
    sides = np.array([scale * aspect, scale / aspect])
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    corners = ((UNIT - 0.5) * sides) @ turn.T
    if strong:
        corners = corners + rng.uniform(-0.06, 0.06, (4, 2)) * sides
    return corners + centre


def _warped(image: np.ndarray, corners: np.ndarray, size: int) -> np.ndarray:
    height, width = image.shape[:2]
    source = (corners * (width, height)).astype(np.float32)
    target = UNIT * np.float32(size)
    homography = cv2.getPerspectiveTransform(source, target)
    flags, border = cv2.INTER_LINEAR, cv2.BORDER_REFLECT_101
    return cv2.warpPerspective(image, homography, (size, size), flags=flags, borderMode=border)

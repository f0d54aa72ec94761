# SPDX-License-Identifier: Apache-2.0
"""Two pictures side by side, with lines between the positions that match."""

from __future__ import annotations

import cv2
import numpy as np

from ashtkd_ros.sampling import thin

_HEIGHT, _WIDEST, _GAP = 240, 1920, 6
_MOST_LINES = 50  # more would hide the pictures
_DIMMED = 0.75  # of the pictures' brightness, so that the lines stand out
_PARTS = 4  # of a pixel, as bits, in which lines are drawn


def matched_pictures(
    left: np.ndarray,
    right: np.ndarray,
    matches: tuple[np.ndarray, np.ndarray],
    colour: tuple[int, int, int],
) -> np.ndarray:
    """uint8 RGB (H, W, 3) twice → both side by side, uint8 RGB, 240 pixels high.

    `matches`: x and y of matching positions in `left` and in `right`, float (M, 2) each, as shares
    of width and height in [0, 1]; at most 50 of them are drawn, evenly spread. `colour`: RGB.
    """
    tiles = [_tile(left), _tile(right)]
    gap = np.full((_HEIGHT, _GAP, 3), 255, np.uint8)
    both = np.ascontiguousarray(np.concatenate([tiles[0], gap, tiles[1]], axis=1))
    shown = thin(len(matches[0]), _MOST_LINES)
    ends = [
        np.asarray(m)[shown] * (t.shape[1], _HEIGHT) for m, t in zip(matches, tiles, strict=True)
    ]
    ends[1] = ends[1] + (tiles[0].shape[1] + _GAP, 0)
    lines = np.rint(np.stack(ends, axis=1) * 2**_PARTS).astype(int).tolist()
    for line in lines:
        cv2.line(both, *line, colour, 1, cv2.LINE_AA, _PARTS)
    for end in (end for line in lines for end in line):
        cv2.circle(both, end, 2 << _PARTS, colour, -1, cv2.LINE_AA, _PARTS)
    return both


def _tile(image: np.ndarray) -> np.ndarray:
    width = min(max(1, round(image.shape[1] * _HEIGHT / image.shape[0])), _WIDEST)
    small = cv2.resize(image, (width, _HEIGHT), interpolation=cv2.INTER_AREA)
    return (_DIMMED * small).astype(np.uint8)

# SPDX-License-Identifier: Apache-2.0
"""The picture for people: an image beside its place, with lines between what matches."""

from __future__ import annotations

import numpy as np
import pytest

from ashtkd_ros.recognition.matcher import Matches
from ashtkd_ros.ros.node.debug_picture import debug_picture

GREEN = (0, 255, 0)
ONE = Matches(np.array([[0.25, 0.5]], np.float32), np.array([[0.75, 0.25]], np.float32))


def picture(height: int, width: int, *channels: int) -> np.ndarray:
    return np.full((height, width, *channels), 90, np.uint8)


def test_a_line_joins_the_positions_that_match() -> None:
    shown = debug_picture(picture(240, 320, 3), 'RGB', picture(240, 480, 3), 'text', '', ONE)
    assert shown.shape == (268, 800, 3)
    green = np.argwhere((shown == GREEN).all(axis=2))
    for y, x in ((28 + 120, 80), (28 + 60, 320 + 360)):
        assert tuple(shown[y, x]) == GREEN
        assert (np.abs(green - (y, x)).max(axis=1) <= 2).sum() > 5
    halfway = shown[28 + 85 : 28 + 96, 380]
    assert (halfway[:, 1] > 100).any()
    assert shown[28:, :70].max() == shown[28:, 690:].max() == 90


@pytest.mark.parametrize('shape', [(240, 320), (1, 1, 3), (3000, 1, 3), (1, 3000)])
def test_any_shape_of_image_can_be_drawn_on(shape: tuple[int, ...]) -> None:
    for match in (picture(1, 1, 3), picture(1, 4000, 3), None):
        shown = debug_picture(picture(*shape), 'BGR', match, 'text', 'none', ONE)
        assert shown.dtype == np.uint8 and shown.shape[0] == 268


def test_without_matches_or_picture_nothing_is_drawn() -> None:
    image, match = picture(240, 320, 3), picture(240, 320, 3)
    none = Matches(np.empty((0, 2), np.float32), np.empty((0, 2), np.float32))
    for place, matches in ((match, None), (match, none), (None, ONE)):
        shown = debug_picture(image, 'RGB', place, 'text', '', matches)
        assert shown[28:].max() == 90

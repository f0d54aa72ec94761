# SPDX-License-Identifier: Apache-2.0
"""Keyframes: what is far enough, what is too dark or too blurred to be a place."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
import pytest

from ashtkd_ros.keyframes import KeyframeOptions, blur, fault, moved
from ashtkd_ros.sources import Pose, read_image

OPTIONS = KeyframeOptions()


def turned(degrees: float, x: float = 0.0) -> Pose:
    half = math.radians(degrees) / 2
    return Pose(x, 0.0, 0.0, 0.0, 0.0, math.sin(half), math.cos(half))


@pytest.mark.parametrize(
    ('pose', 'last', 'expected'),
    [
        (turned(0), None, True),
        (turned(0, 0.99), turned(0), False),
        (turned(0, 1.0), turned(0), True),
        (Pose(0.0, 0.0, 1.0), turned(0), True),
        (turned(14.9), turned(0), False),
        (turned(15.1), turned(0), True),
        (turned(-15.1), turned(0), True),
        (turned(-179), turned(179), False),
        (turned(-170), turned(174), True),
        (turned(14, 0.9), turned(0), False),
    ],
)
def test_a_place_is_a_metre_or_a_turn_away(pose: Pose, last: Pose | None, expected: bool):
    assert moved(pose, last, OPTIONS) is expected


@pytest.fixture
def street(town: Path) -> np.ndarray:
    return cv2.resize(read_image(town / 'day' / 'images' / '0000.jpg'), (224, 224))


def test_pictures_are_no_places_when_black_or_blurred(street: np.ndarray):
    picture = street
    night = (picture * 0.05).astype(np.uint8)
    assert fault(picture, OPTIONS) == ''
    assert fault(picture[..., 0].copy(), OPTIONS) == ''
    assert fault(night, OPTIONS) == 'nearly black'
    assert fault(cv2.GaussianBlur(picture, None, 5.0), OPTIONS) == 'blurred'
    assert fault(np.full((60, 80), 200, np.uint8), OPTIONS) == 'blurred'
    night[:5] = 255  # lamps: more than 1 of 100 pixels
    assert fault(night, OPTIONS) == ''
    assert fault(night, KeyframeOptions(max_blur=1.0, min_light=256.0)) == 'nearly black'


def test_blur_grows_with_the_blur_along_either_axis_and_not_with_contrast(street: np.ndarray):
    grey = street[..., 0].copy()
    sharp = blur(grey)
    assert 0.0 <= sharp < 0.4
    for kernel in ((1, 25), (25, 1)):  # motion up and down, sideways
        moving = [blur(cv2.blur(grey, tuple(min(k, n) for k in kernel))) for n in (3, 9, 25)]
        assert sharp < moving[0] < moving[1] < moving[2] <= 1.0
    assert blur((grey // 2 + 64).astype(np.uint8)) == pytest.approx(sharp, abs=0.05)


def test_pictures_of_the_town_are_places(town: Path):
    for walk in ('day', 'dusk'):
        for path in sorted((town / walk / 'images').iterdir())[::20]:
            assert fault(read_image(path), OPTIONS) == ''


@pytest.mark.parametrize('kernel', [(31, 1), (1, 31)], ids=['turning', 'bumping'])
def test_a_camera_in_motion_is_too_blurred(street: np.ndarray, kernel: tuple[int, int]):
    assert fault(cv2.blur(street, kernel), OPTIONS) == 'blurred'

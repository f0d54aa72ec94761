# SPDX-License-Identifier: Apache-2.0
"""Pictures in which no place can be recognised: black, over-exposed, blurred, frozen."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from ashtkd_ros.images.faults import MAX_BLUR, MIN_LIGHT, FrozenDetector, blur, fault
from ashtkd_ros.images.image_file import read_image

LIMITS = MAX_BLUR, MIN_LIGHT


@pytest.fixture
def street(town: Path) -> np.ndarray:
    return cv2.resize(read_image(town / 'day' / 'images' / '0000.jpg'), (224, 224))


def test_pictures_are_no_places_when_black_or_blurred(street: np.ndarray):
    picture = street
    night = (picture * 0.05).astype(np.uint8)
    assert fault(picture, *LIMITS) == ''
    assert fault(picture[..., 0].copy(), *LIMITS) == ''
    assert fault(night, *LIMITS) == 'nearly black'
    assert fault(cv2.GaussianBlur(picture, None, 5.0), *LIMITS) == 'blurred'
    assert fault(np.full((60, 80), 200, np.uint8), *LIMITS) == 'blurred'
    night[:5] = 255  # lamps: more than 1 of 100 pixels
    assert fault(night, *LIMITS) == ''
    assert fault(night, 1.0, 256.0) == 'nearly black'


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
            assert fault(read_image(path), *LIMITS) == ''


@pytest.mark.parametrize('kernel', [(31, 1), (1, 31)], ids=['turning', 'bumping'])
def test_a_camera_in_motion_is_too_blurred(street: np.ndarray, kernel: tuple[int, int]):
    assert fault(cv2.blur(street, kernel), *LIMITS) == 'blurred'


def test_an_over_exposed_picture(street: np.ndarray):
    white = street.copy()
    white[: int(0.9 * len(white))] = 255
    assert fault(white, *LIMITS) == 'over-exposed'
    white[: int(0.5 * len(white))] = street[: int(0.5 * len(white))]
    assert fault(white, *LIMITS) == ''


def test_limits_that_let_everything_pass(street: np.ndarray):
    assert fault(cv2.blur(street, (61, 61)), 1.0, 0.0) == ''
    assert fault(np.zeros((40, 60), np.uint8), 1.0, 0.0) == ''


def test_frozen_after_so_many_equal_images(street: np.ndarray):
    frozen, other = FrozenDetector(), street.copy()
    other[0, 0, 0] ^= 1  # the noise of a real camera
    assert [frozen.update(street, 3) for _ in range(5)] == [False, False, False, True, True]
    assert not frozen.update(other, 3)
    assert not any(FrozenDetector().update(street, 0) for _ in range(5))


def test_a_simulated_camera_that_stands_still_is_not_frozen(street: np.ndarray):
    """It moves for a while, a part of the picture (the sky) as it was; then it stands."""
    for images_before in (0, 1, 5, 60):
        frozen, stamp = FrozenDetector(), 0.0
        for i in range(images_before):
            moving = np.roll(street, 3 * i, axis=1)
            moving[: len(street) // 3] = 128
            stamp += 0.1
            assert not frozen.update(moving, 3, stamp)
        for _ in range(200):
            stamp += 0.1
            assert not frozen.update(street, 3, stamp)


def test_a_camera_with_noise_that_stops_is_frozen(street: np.ndarray):
    rng, frozen, stamp = np.random.default_rng(0), FrozenDetector(), 0.0
    for _ in range(5):
        noise = rng.normal(0.0, 1.0, street.shape)
        stamp += 0.1
        assert not frozen.update(np.clip(street + noise, 0, 255).astype(np.uint8), 3, stamp)
    seen = [frozen.update(street, 3, stamp + 0.1 * i) for i in range(1, 6)]
    assert seen == [False, False, False, True, True] and not frozen.same_stamps
    assert not frozen.update(street, 3, stamp + 1.0, noisy=False)


@pytest.mark.parametrize('level', [0, 255])
@pytest.mark.parametrize('colours', [(), (3,)], ids=['grey', 'colour'])
def test_black_and_white_images_are_equal_because_they_can_show_no_noise(level: int, colours):
    rng, frozen = np.random.default_rng(0), FrozenDetector()
    for i in range(5):
        noisy = rng.integers(90, 110, (224, 224, *colours), dtype=np.uint8)
        assert not frozen.update(noisy, 3, 0.1 * i)
    image = np.full((224, 224, *colours), level, np.uint8)
    assert not any(frozen.update(image, 3, 1.0 + 0.1 * i) for i in range(20))
    assert fault(image, *LIMITS) == ('over-exposed' if level else 'nearly black')
    image[:60, :60] = 100  # a part that would show noise
    assert [frozen.update(image, 3, 4.0 + 0.1 * i) for i in range(4)] == [False] * 3 + [True]


def test_equal_images_with_one_stamp_are_frozen_whatever_the_camera(street: np.ndarray):
    frozen = FrozenDetector()
    seen = [frozen.update(street, 3, 7.0, noisy=False) for _ in range(5)]
    assert seen == [False, False, False, True, True] and frozen.same_stamps


def test_pictures_of_any_shape_are_compared():
    rng = np.random.default_rng(1)
    for shape in ((1, 1), (3, 5, 3), (40, 7), (224, 224, 3), (9, 300)):
        frozen = FrozenDetector()
        for _ in range(4):
            frozen.update(rng.integers(0, 256, shape, dtype=np.uint8), 2, 1.0)

# SPDX-License-Identifier: Apache-2.0
"""Synthetic changes of view, light and weather: shape kept, the same again from the same seed."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from ashtkd_ros.images import synthetic_change as change_of

STEPS = [
    f'_{name}'
    for name in (
        *('small_camera', 'burnt_in', 'colour', 'exposure', 'night', 'fog'),
        *('rain', 'shadow', 'blur', 'noise', 'occlude', 'jpeg'),
    )
]


def picture(height: int = 60, width: int = 80) -> np.ndarray:
    small = np.random.default_rng(1).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


@pytest.mark.parametrize('step', STEPS)
@pytest.mark.parametrize('shape', [(60, 80), (64, 64)], ids=['wide', 'square'])
def test_every_change_keeps_shape_and_type_and_does_something(step: str, shape: tuple[int, int]):
    change, image = getattr(change_of, step), picture(*shape)
    changed = [change(image.copy(), np.random.default_rng(seed)) for seed in range(12)]
    for result in changed:
        assert result.dtype == np.uint8 and result.shape == image.shape
    assert sum((result != image).any() for result in changed) >= 10


def test_every_change_is_drawn_by_degrade():
    source = {name for name in dir(change_of) if name in change_of.degrade.__code__.co_names}
    assert set(STEPS) == {name for name in source if name.startswith('_')}


def test_degrade_is_the_generators_doing_alone():
    image = picture()
    before = image.copy()
    results = [change_of.degrade(image, np.random.default_rng(seed)) for seed in range(100)]
    np.testing.assert_array_equal(image, before)
    for seed, result in enumerate(results):
        assert result.shape == image.shape and result.dtype == np.uint8
        again = change_of.degrade(image, np.random.default_rng(seed))
        np.testing.assert_array_equal(again, result)
    assert len({result.tobytes() for result in results}) > 80


def test_degrade_takes_views_that_are_not_contiguous():
    image = picture()[:, :, ::-1]
    results = [change_of.degrade(image, np.random.default_rng(seed)) for seed in range(20)]
    copies = [change_of.degrade(image.copy(), np.random.default_rng(seed)) for seed in range(20)]
    np.testing.assert_array_equal(results, copies)


def drawn(count: int) -> np.ndarray:
    return np.stack([change_of.draw_corners(np.random.default_rng(s)) for s in range(count)])


def test_corners_leave_the_picture_little_and_overlap_differently():
    corners = drawn(300)
    np.testing.assert_array_equal(drawn(300), corners)
    areas = [cv2.contourArea(quad.astype(np.float32)) for quad in corners]
    assert min(areas) < 0.35 and max(areas) > 0.95
    assert np.ptp(corners.mean(axis=1), axis=0).min() > 0.4  # shifted
    outside = np.maximum(-corners, corners - 1).clip(0)
    assert outside.max() < 0.3 and np.median(outside.max(axis=(1, 2))) < 0.1
    for quad in corners:
        assert cv2.isContourConvex(quad.astype(np.float32))
        assert (quad[1] - quad[0])[0] > 0.2 and (quad[3] - quad[0])[1] > 0.2  # not mirrored


def test_a_view_shows_what_lies_between_its_corners():
    """Each pixel's two colours are where in the picture it was taken."""
    across, down = np.meshgrid(np.linspace(0, 255, 320), np.linspace(0, 255, 240))
    image = np.stack([across, down, 0 * across], axis=-1).round().astype(np.uint8)
    for size in (224, 112, 32):  # smaller than the crop: reduced first
        for corners in [change_of.UNIT, *drawn(10)]:
            view = change_of.warped(image, corners, size)
            assert view.shape == (size, size, 3) and view.dtype == np.uint8
            at = (np.array([[0.3, 0.6]]) * size).astype(int)[0]
            homography = cv2.getPerspectiveTransform(
                change_of.UNIT.astype(np.float32), corners.astype(np.float32)
            )
            expected = cv2.perspectiveTransform((at + 0.5)[None, None] / size, homography)[0, 0]
            np.testing.assert_allclose(view[at[1], at[0], :2] / 255, expected, atol=0.015)


def test_a_small_view_of_a_large_picture_does_not_flicker():
    board = (np.indices((240, 320)).sum(0) % 2 * 255).astype(np.uint8)
    for corners in drawn(20):
        view = change_of.warped(np.dstack([board] * 3), corners, 32)
        assert view.std() < 30  # a checkerboard of pixels, which any sample alone would show


def test_blur_is_as_strong_in_a_small_picture():
    large = cv2.resize(picture(), (224, 224), interpolation=cv2.INTER_CUBIC)
    gaps = []
    for image in (large, cv2.resize(large, (112, 112), interpolation=cv2.INTER_AREA)):
        seeds = [change_of._blur(image, np.random.default_rng(s)) for s in range(20)]
        gaps.append(np.mean([np.abs(x.astype(float) - image).mean() for x in seeds]))
    assert 0.5 < gaps[0] / gaps[1] < 1.5

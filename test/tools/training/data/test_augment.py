# SPDX-License-Identifier: Apache-2.0
"""Training's changes of view, light and weather: shape kept, the same again from the same seed."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from tools.training.data import augment

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
    change, image = getattr(augment, step), picture(*shape)
    changed = [change(image.copy(), np.random.default_rng(seed)) for seed in range(12)]
    for result in changed:
        assert result.dtype == np.uint8 and result.shape == image.shape
    assert sum((result != image).any() for result in changed) >= 10


def test_every_change_is_drawn_by_degrade():
    source = {name for name in dir(augment) if name in augment.degrade.__code__.co_names}
    assert set(STEPS) == {name for name in source if name.startswith('_')}


def test_degrade_is_the_generators_doing_alone():
    image = picture()
    before = image.copy()
    results = [augment.degrade(image, np.random.default_rng(seed)) for seed in range(100)]
    np.testing.assert_array_equal(image, before)
    for seed, result in enumerate(results):
        assert result.shape == image.shape and result.dtype == np.uint8
        again = augment.degrade(image, np.random.default_rng(seed))
        np.testing.assert_array_equal(again, result)
    assert len({result.tobytes() for result in results}) > 80


def test_degrade_takes_views_that_are_not_contiguous():
    image = picture()[:, :, ::-1]
    results = [augment.degrade(image, np.random.default_rng(seed)) for seed in range(20)]
    copies = [augment.degrade(image.copy(), np.random.default_rng(seed)) for seed in range(20)]
    np.testing.assert_array_equal(results, copies)


def test_viewpoint_is_square_deterministic_and_different_each_time():
    image, size = picture(), 48
    views = [augment.change_viewpoint(image, np.random.default_rng(s), size) for s in range(10)]
    for seed, view in enumerate(views):
        assert view.shape == (size, size, 3) and view.dtype == np.uint8
        again = augment.change_viewpoint(image, np.random.default_rng(seed), size)
        np.testing.assert_array_equal(again, view)
    assert len({view.tobytes() for view in views}) == 10


def test_viewpoint_shows_the_same_scene():
    """Crop, homography and mirror keep the colours of a picture that has one colour a side."""
    image = np.zeros((60, 80, 3), np.uint8)
    image[30:] = 255
    for seed in range(10):
        view = augment.change_viewpoint(image, np.random.default_rng(seed), 48)
        assert view[:8].mean() <= view[-8:].mean()  # what is above stays above

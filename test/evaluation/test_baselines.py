# SPDX-License-Identifier: Apache-2.0
"""Raw pixels and HOG: what they are blind to, and what they see."""

from __future__ import annotations

import numpy as np
import pytest

from ashtkd_ros.evaluation import baselines
from ashtkd_ros.evaluation.baselines import hog, measure_baselines, raw_pixels
from ashtkd_ros.evaluation.ground_truth import GroundTruth


@pytest.fixture
def stripes() -> np.ndarray:
    """Vertical stripes, grey as RGB."""
    wave = 128 + 100 * np.sin(np.arange(128) / 4)
    return np.repeat(np.broadcast_to(wave, (128, 128))[..., None], 3, axis=2).astype(np.uint8)


@pytest.mark.parametrize(('describe', 'size'), [(raw_pixels, 1024), (hog, 1764)])
def test_light_is_not_seen_and_direction_is(describe, size: int, stripes: np.ndarray):
    darker = (stripes * 0.5 + 20).astype(np.uint8)
    one, dark, turned = map(describe, (stripes, darker, stripes.transpose(1, 0, 2)))
    assert one.shape == (size,) and one.dtype == np.float32
    assert np.linalg.norm(one) == pytest.approx(1.0, abs=1e-5)
    assert one @ dark > 0.99 and one @ turned < 0.5


def test_hog_of_vertical_stripes_is_all_in_the_horizontal_gradients(stripes: np.ndarray):
    bins = hog(stripes).reshape(49, 9, 2, 2)
    assert (bins[:, 1:] < 1e-3).all() and (bins[:, 0] > 0).all()


def test_a_blank_picture_has_finite_descriptors():
    blank = np.full((40, 60, 3), 200, np.uint8)
    for describe in (raw_pixels, hog):
        assert not describe(blank).any()


def test_too_many_images_are_noted_and_not_read(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(baselines, '_MOST_IMAGES', 3)
    truth = GroundTruth([None] * 2, [None] * 2, lambda *_: pytest.fail('judged'))
    assert measure_baselines(None, truth, 1) == ({}, ['no baselines: more than 3 images'])

# SPDX-License-Identifier: Apache-2.0
"""Whether an image shows nothing: by networks of any kind, also those that fail on black."""

from __future__ import annotations

import numpy as np
import pytest

from ashtkd_ros.errors import VprError
from ashtkd_ros.network.embedder import Embedder
from ashtkd_ros.network.emptiness import NOT_EMPTY, Emptiness, pictures_of_nothing

pytest_plugins = ['runtime_fixtures']
SIZE = 64


def rows(rng: np.random.Generator, count: int, centre: np.ndarray, spread: float) -> np.ndarray:
    found = np.abs(centre) + spread * np.abs(rng.normal(size=(count, SIZE)))
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


def test_descriptors_that_are_never_negative_are_all_alike_but_not_all_empty():
    rng = np.random.default_rng(0)
    nothing = rows(rng, 11, rng.normal(size=SIZE), 0.3)
    emptiness = Emptiness(nothing)
    images = rows(rng, 200, np.zeros(SIZE), 1.0)  # any picture has 0.6 to 0.7 to any other one
    assert np.median(images @ nothing.T) > 0.5
    assert np.mean([emptiness.of(image) > NOT_EMPTY for image in images]) <= 0.02
    covers = rows(rng, 50, nothing[3], 0.01)
    assert np.mean([emptiness.of(cover) > NOT_EMPTY for cover in covers]) == 1.0


def test_pictures_of_nothing_that_are_unlike_each_other_tell_little():
    emptiness = Emptiness(np.eye(11, SIZE, dtype=np.float32))
    image = np.full(SIZE, SIZE**-0.5, np.float32)
    assert emptiness.of(image) == NOT_EMPTY


def test_a_network_that_fails_on_black_knows_the_other_pictures(model, monkeypatch):
    embed = Embedder.embed

    def fails_on_black(self, image: np.ndarray, order: str = 'RGB') -> np.ndarray:
        if image.mean() < 20:
            raise VprError('not of length 1')
        return embed(self, image, order)

    monkeypatch.setattr(Embedder, 'embed', fails_on_black)
    embedder = Embedder(model)
    few = len(embedder._empty._rows)
    assert 2 < few < len(list(pictures_of_nothing(8, 8)))
    monkeypatch.setattr(Embedder, 'embed', lambda *_: (_ for _ in ()).throw(VprError('none')))
    assert Embedder(model).describe(np.zeros((8, 8, 3), np.uint8)).emptiness == NOT_EMPTY


@pytest.mark.parametrize(('height', 'width'), [(1, 1), (8, 20), (224, 224)])
def test_pictures_are_of_the_size_of_the_network(height: int, width: int):
    pictures = list(pictures_of_nothing(height, width))
    assert all(p.shape == (height, width, 3) and p.dtype == np.uint8 for p in pictures)

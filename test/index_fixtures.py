# SPDX-License-Identifier: Apache-2.0
"""Maps of a few thousand places by each kind of index; a plugin of pytest."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from conftest import places_along_x, unit_rows

from ashtkd_ros.maps.index_choice import IndexOptions
from ashtkd_ros.maps.place_map import PlaceMap

COUNT, SIZE = 1500, 48


@cache
def crowded_rows(count: int = COUNT, size: int = SIZE, seed: int = 0) -> np.ndarray:
    """Descriptors in groups of about ten that look alike, float32 (count, size) of length 1."""
    rng = np.random.default_rng(seed)
    rows = unit_rows(max(1, count // 10), size, seed)[rng.integers(0, max(1, count // 10), count)]
    return unit(rows + 0.8 * unit_rows(count, size, seed + 1))


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def noisy(rows: np.ndarray, noise: float, seed: int = 7) -> np.ndarray:
    """Rows moved by so much, float32 of length 1."""
    return unit(rows + noise * unit_rows(*rows.shape, seed))


@pytest.fixture
def make_map(fake_network):
    """A function: kind of index, or its options, and rows → the map of them."""

    def make(options: str | IndexOptions, rows: np.ndarray | None = None) -> PlaceMap:
        rows = crowded_rows() if rows is None else rows
        fake_network.dimensions = rows.shape[1]
        given = IndexOptions(options) if isinstance(options, str) else options
        places = places_along_x(range(len(rows)))
        return PlaceMap.build(rows, places, fake_network, index_options=given)

    return make


@pytest.fixture
def save_map(make_map, tmp_path: Path):
    """A function: the same, saved; its folder."""

    def save(kind: str, rows: np.ndarray | None = None, name: str = 'map') -> Path:
        make_map(kind, rows).save(tmp_path / name)
        return tmp_path / name

    return save

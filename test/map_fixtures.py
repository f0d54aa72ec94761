# SPDX-License-Identifier: Apache-2.0
"""A small map with all that one can have, and how often random tests try; a plugin of pytest."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
from conftest import unit_rows

from ashtkd_ros.geometry.pose import Pose
from ashtkd_ros.maps.place_map import Place, PlaceMap
from ashtkd_ros.network.local_features import LocalShape

TRIES = float(os.environ.get('MAP_TRIES', '1'))
LOCAL = LocalShape((2, 3), 4)
PICTURE = b'\xff\xd8 a picture \xff\xd9' * 9


def local_rows(count: int, seed: int = 0, shape: LocalShape = LOCAL) -> np.ndarray:
    """Random local features of `count` places, int8 (count, P, L)."""
    rows = unit_rows(count * shape.positions, shape.channels, seed)
    return np.rint(127 * rows).astype(np.int8).reshape(count, shape.positions, shape.channels)


@pytest.fixture
def rich(fake_network, tmp_path: Path) -> Path:
    """A map with all that one can have: poses, coordinates, pictures, local features, more."""
    fake_network.confidence = {'similarity': 3.1, 'margin': 9.1, 'offset': -2.3}
    digest = hashlib.sha256(PICTURE).hexdigest()
    places = [
        Place(i, 0.1 * i, i, Pose(i, 0, 0), f'{i}#1', 'hall', 0, (48.1, 11.5 + i), digest)
        for i in range(5)
    ]
    (tmp_path / 'thumbnails').mkdir()
    for i in range(5):
        (tmp_path / 'thumbnails' / f'{i:06d}.jpg').write_bytes(PICTURE)
    (tmp_path / 'route').write_bytes(b'a route')
    built = {
        'traverses': [{'source': '/bags/day', 'image_topic': '/camera'}],
        'keyframes': {'rule': 'distance', 'metres': 1.0},
        'origin': {'lat': 48.1, 'lon': 11.5, 'alt': 520.0},
    }
    fake_network.local = LOCAL
    local = local_rows(5)
    made = PlaceMap.build(unit_rows(5, 4), places, fake_network, 'site', local, **built)
    made.save(tmp_path / 'map', tmp_path / 'thumbnails', tmp_path / 'route')
    return tmp_path / 'map'

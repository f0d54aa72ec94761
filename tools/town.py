# SPDX-License-Identifier: Apache-2.0
"""The rendered town that is shipped with the tests: one walk by day, the same walk at dusk."""

from __future__ import annotations

from pathlib import Path

from ashtkd_ros.mapping.build import build_map
from ashtkd_ros.network.embedder import Embedder
from ashtkd_ros.network.shipped_model import shipped_model
from ashtkd_ros.traverses.opening import open_traverse

_TOWN = Path(__file__).resolve().parents[1] / 'test' / 'data' / 'town'
DAY, DUSK = _TOWN / 'day', _TOWN / 'dusk'


def build_town_map(folder: Path, model: Path | None = None) -> Path:
    """Build the map of the walk by day in `folder`/map; that folder.

    `model`: the network, the shipped one if None.
    """
    embedder = Embedder(model or shipped_model(), num_threads=1)
    build_map([open_traverse(DAY)], embedder, folder / 'map')
    return folder / 'map'

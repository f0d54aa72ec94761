# SPDX-License-Identifier: Apache-2.0
"""One small bag, and a copy of it that a test may spoil; a plugin of pytest."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from bag_helpers import write_bag
from test_bags import records

from ashtkd_ros.bags.bag import Bag


@pytest.fixture(scope='module')
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bag(tmp_path_factory.mktemp('bags') / 'plain', records=records())


@pytest.fixture
def bag(plain: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(plain, tmp_path / 'bag'))


def notes(path: Path) -> list[str]:
    """What the user is told of a bag."""
    bag = Bag(path)
    bag.close()
    assert all(n.isprintable() for n in bag.notes)
    return bag.notes

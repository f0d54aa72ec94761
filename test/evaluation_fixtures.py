# SPDX-License-Identifier: Apache-2.0
"""Both town walks as bags, and a map of one; a plugin of pytest."""

from __future__ import annotations

from pathlib import Path

import pytest
from evaluation_helpers import FEW, ORIGIN, run

from ashtkd_ros.commands.build_map import main as build_map
from ashtkd_ros.traverses.bag_writer import BagOptions, make_bag
from ashtkd_ros.traverses.image_folder import read_source


@pytest.fixture(scope='module')
def bags(tmp_path_factory: pytest.TempPathFactory, town: Path) -> Path:
    """The first images of both town walks as bags, raw, with odometry, tf and fixes."""
    folder = tmp_path_factory.mktemp('bags')
    for name in ('day', 'dusk'):
        options = BagOptions(tf=True, origin=ORIGIN)
        make_bag(read_source(town / name)[:FEW], folder / name, options)
    return folder


@pytest.fixture(scope='module')
def day_map(bags: Path) -> Path:
    """Map of the day bag by odometry."""
    out = bags / 'day_map'
    assert run(build_map, bags / 'day', '-o', out, '--pose-topic', '/odom') == 0
    return out

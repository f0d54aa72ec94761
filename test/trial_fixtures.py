# SPDX-License-Identifier: Apache-2.0
"""A map of the town by day with its origin on earth, and a maker of trials; a plugin of pytest."""

from __future__ import annotations

from pathlib import Path

import pytest
from evaluation_helpers import ORIGIN
from trial_maker import TrialMaker

from ashtkd_ros.mapping.build import build_map
from ashtkd_ros.network.embedder import Embedder
from ashtkd_ros.traverses.bag_writer import BagOptions, make_bag
from ashtkd_ros.traverses.image_folder import read_source
from ashtkd_ros.traverses.opening import open_traverse
from ashtkd_ros.traverses.traverse import TraverseOptions


@pytest.fixture(scope='session')
def maker(tmp_path_factory: pytest.TempPathFactory, town: Path, student: Path) -> TrialMaker:
    folder = tmp_path_factory.mktemp('trials')
    frames = read_source(town / 'day')
    make_bag(frames, folder / 'day', BagOptions(origin=ORIGIN, jpeg=True))
    embedder = Embedder(student, num_threads=1)
    options = TraverseOptions(pose_topic='/fix', origin=ORIGIN)
    build_map([open_traverse(folder / 'day', options)], embedder, folder / 'map')
    return TrialMaker(folder / 'map', embedder, town / 'dusk', ORIGIN)

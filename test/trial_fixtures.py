# SPDX-License-Identifier: Apache-2.0
"""A map of the town by day with its origin on earth, and a maker of trials; a plugin of pytest."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from evaluation_helpers import ORIGIN
from trial_maker import TrialMaker

from ashtkd_ros.mapping.build import build_map
from ashtkd_ros.maps.place_map import PlaceMap
from ashtkd_ros.maps.places import Places
from ashtkd_ros.network.embedder import Embedder
from ashtkd_ros.traverses.bag_writer import BagOptions, make_bag
from ashtkd_ros.traverses.image_folder import read_source
from ashtkd_ros.traverses.opening import open_traverse
from ashtkd_ros.traverses.traverse import TraverseOptions
from tools.town import build_town_map


@pytest.fixture(scope='session')
def maker(tmp_path_factory: pytest.TempPathFactory, town: Path, student: Path) -> TrialMaker:
    folder = tmp_path_factory.mktemp('trials')
    frames = read_source(town / 'day')
    make_bag(frames, folder / 'day', BagOptions(origin=ORIGIN, jpeg=True))
    embedder = Embedder(student, num_threads=1)
    options = TraverseOptions(pose_topic='/fix', origin=ORIGIN)
    build_map([open_traverse(folder / 'day', options)], embedder, folder / 'map')
    return TrialMaker(folder / 'map', embedder, town / 'dusk', ORIGIN)


@pytest.fixture(scope='session')
def flat_map(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same town without an origin on earth: poses in frame `map`."""
    return build_town_map(tmp_path_factory.mktemp('flat'))


@pytest.fixture(scope='session')
def named_map(maker: TrialMaker, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The map of `maker`, whose places have no poses but names: two halves of the walk."""
    place_map = PlaceMap.load(maker.map_folder)
    half = len(place_map.places) // 2
    places = [
        replace(p, pose=None, geo=None, label='market' if p.row < half else 'church')
        for p in place_map.places
    ]
    place_map.places = Places.of(places)
    folder = tmp_path_factory.mktemp('named') / 'map'
    place_map.save(folder)
    return folder

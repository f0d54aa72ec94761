# SPDX-License-Identifier: Apache-2.0
"""A map loses what it can do without, and nothing else; how much it loses is measured."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import line_of, places_along_x, unit_rows
from map_tools_fixtures import built, contents, ids, tools

from ashtkd_ros.errors import VprError
from ashtkd_ros.mapping.experiences import SamePlace
from ashtkd_ros.mapping.pruning import VIEWS, Pruned, Pruning, prune
from ashtkd_ros.mapping.stand_ins import StandIns
from ashtkd_ros.maps.place_map import PlaceMap
from ashtkd_ros.network.embedder import Embedder

CLOSE = SamePlace(1.0, 15.0)
COUNT = 40  # images of a short walk


def map_at(fake_network, xs: list[float], **columns: list) -> PlaceMap:
    """A map of places at x = xs, with other values in some columns."""
    places = places_along_x(xs)
    for name, values in columns.items():
        places = [replace(p, **{name: v}) for p, v in zip(places, values, strict=True)]
    return PlaceMap.build(unit_rows(len(xs), 4), places, fake_network)


def pruned(place_map: PlaceMap, ranks: list[list[int]], hits=None, keep: float = 1.0) -> Pruned:
    """Each picture was asked about once; `ranks`: what was answered, best first."""
    count = len(place_map.places)
    found = np.array(ranks)
    hits = np.ones(count, bool) if hits is None else np.array(hits)
    close = StandIns(place_map, CLOSE, 0.9)
    return Pruning(place_map.places, np.arange(count), found, hits, close).run(keep)


def test_stand_ins_are_closer_than_keyframes(fake_network):
    close = StandIns(map_at(fake_network, [0.0, 0.5, 1.0, 1.4, 9.0]), CLOSE, 0.9)
    assert [close.of(row).tolist() for row in range(5)] == [[1], [0, 2, 3], [1, 3], [1, 2], []]


def test_looks_of_one_place_stand_in_for_each_other(fake_network):
    close = StandIns(map_at(fake_network, [0.0, 5.0, 9.0], id=[4, 7, 4]), CLOSE, 0.9)
    assert [close.of(row).tolist() for row in range(3)] == [[2], [], [0]]


def test_without_poses_pictures_must_look_alike(fake_network):
    places = places_along_x(range(4), with_poses=False)
    rows = unit_rows(4, 4)
    rows[1] = rows[0]
    rows[3] = rows[2]
    place_map = PlaceMap.build(rows, places, fake_network)
    close = StandIns(place_map, CLOSE, 0.99)
    assert [close.of(row).tolist() for row in range(4)] == [[1], [0], [3], [2]]


def test_of_two_that_answer_for_each_other_the_known_number_stays(fake_network):
    found = pruned(map_at(fake_network, [0.0, 0.1, 5.0]), [[0, 1, 2], [1, 0, 2], [2, 0, 1]])
    assert found.dropped.tolist() == [False, True, False]
    assert (found.asked, found.before, found.after) == (3, 1.0, 1.0)


def test_of_two_looks_of_a_place_the_latest_stays(fake_network):
    place_map = map_at(fake_network, [0.0, 5.0, 0.1], id=[0, 1, 0])
    found = pruned(place_map, [[0, 2, 1], [1, 0, 2], [2, 0, 1]])
    assert found.dropped.tolist() == [True, False, False]


def test_what_nothing_stands_in_for_stays(fake_network):
    # 1 m apart, each answers, even for others
    found = pruned(
        map_at(fake_network, [0.0, 1.0, 2.0]), [[1, 0, 2], [1, 0, 2], [1, 2, 0]], keep=0
    )
    assert not found.dropped.any()


def test_a_chain_keeps_a_stand_in_for_each_that_went(fake_network):
    xs = np.arange(0, 10, 0.5)
    ranks = [[row, *(r for r in range(20) if r != row)] for row in range(20)]
    dropped = pruned(map_at(fake_network, xs.tolist()), ranks, keep=0.0).dropped
    assert 8 <= dropped.sum() <= 14
    for x in xs[dropped]:
        assert np.abs(xs[~dropped] - x).min() < 1.0


def test_what_costs_an_answer_stays_unless_that_is_allowed(fake_network):
    # without 1, what it is asked about is answered by 2, elsewhere
    place_map = map_at(fake_network, [0.0, 0.1, 5.0])
    ranks = [[0, 2, 1], [1, 2, 0], [2, 0, 1]]
    assert not pruned(place_map, ranks).dropped.any()
    found = pruned(place_map, ranks, keep=0.6)
    assert found.dropped.sum() == 1 and found.after == pytest.approx(2 / 3)


def test_a_picture_of_no_use_goes(fake_network):
    # nothing near is answered by 1, nor is 1 found near
    place_map = map_at(fake_network, [0.0, 50.0, 5.0])
    ranks, hits = [[0, 1, 2], [2, 0, 1], [2, 1, 0]], [True, False, True]
    assert pruned(place_map, ranks, hits).dropped.tolist() == [False, True, False]
    named = map_at(fake_network, [0.0, 50.0, 5.0], label=['', 'stairs', ''])
    assert not pruned(named, ranks, hits).dropped.any()


def test_a_name_is_not_lost(fake_network):
    ranks = [[0, 1, 2], [1, 0, 2], [2, 0, 1]]
    named = map_at(fake_network, [0.0, 0.1, 5.0], label=['', 'door', ''])
    assert pruned(named, ranks).dropped.tolist() == [True, False, False]
    both = map_at(fake_network, [0.0, 0.1, 5.0], label=['hall', 'door', ''])
    assert not pruned(both, ranks).dropped.any()


def test_one_place_stays_at_least(fake_network):
    ranks, hits = [[1, 0], [0, 1]], [False, False]
    place_map = map_at(fake_network, [0.0, 50.0])
    assert pruned(place_map, ranks, hits, keep=0.0).dropped.sum() == 1


def test_a_map_without_pictures_cannot_be_asked(fake_network, tmp_path: Path):
    place_map = map_at(fake_network, [0.0, 0.1])
    place_map.save(tmp_path / 'map')
    place_map = PlaceMap.load(tmp_path / 'map')
    close = StandIns(place_map, CLOSE, 0.9)
    with pytest.raises(VprError) as error:
        prune(place_map, SimpleNamespace(embed=None), close, 1.0, 1)
    assert 'has no sound pictures' in line_of(error)


# --- the command, with the student that ships


@pytest.fixture(scope='module')
def walk(town: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first images of the shipped walk."""
    folder = tmp_path_factory.mktemp('walk') / 'day'
    (folder / 'images').mkdir(parents=True)
    table = (town / 'day' / 'poses.csv').read_text().splitlines()[: COUNT + 1]
    (folder / 'poses.csv').write_text('\n'.join(table) + '\n')
    for row in table[1:]:
        name = row.partition(',')[0]
        shutil.copyfile(town / 'day' / name, folder / name)
    return folder


@pytest.fixture(scope='module')
def day(walk: Path, student: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The map of it."""
    return built(tmp_path_factory.mktemp('day') / 'map', walk, model=student)


def test_a_map_of_one_walk_loses_nothing(day: Path, capsys):
    before = contents(day)
    assert tools('prune', day) == 0
    printed = capsys.readouterr().out
    asked = COUNT * VIEWS
    assert f'nothing to drop, {COUNT} places stay; R@1 of {asked} changed pictures' in printed
    assert contents(day) == before


def test_a_walk_that_is_there_twice_is_pruned_to_one(
    day: Path, walk: Path, tmp_path: Path, capsys, student: Path
):
    shutil.copytree(walk, tmp_path / 'again')
    out = tmp_path / 'map'
    assert tools('append', day, tmp_path / 'again', '-o', out) == 0
    capsys.readouterr()
    assert tools('prune', out, '--dry-run') == 0
    dry = capsys.readouterr().out
    assert ids(out) == list(range(2 * COUNT)) and f'would drop {COUNT} places' in dry
    assert tools('prune', out) == 0
    assert ids(out) == list(range(COUNT))
    place_map = PlaceMap.load(out, Embedder(student, (), 1))
    entry = place_map.info.built['history'][-1]
    assert entry['what'] == 'prune' and entry['places'] == [2 * COUNT, COUNT]
    assert entry['result'].startswith(f'R@1 of {2 * COUNT * VIEWS} changed pictures ')
    assert place_map.places.traverses.max() == 0

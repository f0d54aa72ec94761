# SPDX-License-Identifier: Apache-2.0
"""A place of several pictures is one place, by its best picture."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from conftest import places_along_x

from ashtkd_ros.geometry.pose import Pose
from ashtkd_ros.maps.place_map import PlaceMap
from ashtkd_ros.maps.places import Place, Places
from ashtkd_ros.network.local_features import Look
from ashtkd_ros.recognition.following import Follower
from ashtkd_ros.recognition.matcher import Matcher
from ashtkd_ros.recognition.place_graph import PlaceGraph
from ashtkd_ros.recognition.prior import Prior
from ashtkd_ros.recognition.recogniser import Recogniser

SIMILARITIES = [0.9, 0.5, 0.7, 0.8, 0.6]  # of the rows
IDS = [4, 7, 4, 9, 7]


def looks_of(ids: list[int], step: float = 100.0, poses: bool = True) -> list[Place]:
    """Places whose pictures are far apart unless they share a number."""
    places = places_along_x([step * i for i in range(len(ids))], with_poses=poses)
    return [
        replace(p, id=i, pose=p.pose and Pose(step * i, 0.0, 0.0))
        for p, i in zip(places, ids, strict=True)
    ]


def with_looks(network, poses: bool = True) -> PlaceMap:
    rows = np.zeros((len(IDS), 8), np.float32)
    rows[:, 0] = SIMILARITIES
    for k, s in enumerate(SIMILARITIES):
        rows[k, 1 + k] = np.sqrt(1 - s**2)
    return PlaceMap.build(rows, looks_of(IDS, poses=poses), network)


QUERY = np.eye(8, dtype=np.float32)[0]


def test_a_place_is_named_once_by_its_best_picture(fake_network):
    fake_network.dimensions = 8
    matcher = Matcher(with_looks(fake_network))
    found = matcher.match(QUERY)
    assert [(c.place.id, c.place.row) for c in found] == [(4, 0), (9, 3), (7, 4)]
    assert [c.similarity for c in found] == pytest.approx([0.9, 0.8, 0.6])
    assert [c.place.id for c in matcher.match(QUERY, 2)] == [4, 9]
    every = matcher.answer(Look(QUERY, None), every_picture=True).candidates
    assert [c.place.row for c in every] == [0, 3, 2, 4, 1]


def test_many_pictures_of_a_place_leave_room_for_other_places(fake_network):
    ids = np.repeat(np.arange(20), 40)
    rows = np.zeros((len(ids), 4), np.float32)
    rows[:, 0] = np.linspace(0.9, 0.1, len(ids))
    rows[:, 1] = np.sqrt(1 - rows[:, 0] ** 2)
    matcher = Matcher(PlaceMap.build(rows, looks_of(ids.tolist()), fake_network))
    query = np.eye(4, dtype=np.float32)[0]
    for count in (1, 5, 20):
        assert [c.place.id for c in matcher.match(query, count)] == list(range(count))
    near = matcher.answer(Look(query, None), 20, prior=Prior(0.0, 0.0, 550.0)).candidates
    assert [c.place.id for c in near] == list(range(6))


@pytest.mark.parametrize('poses', [True, False])
def test_another_picture_of_the_place_is_no_rival(fake_network, poses: bool):
    fake_network.dimensions = 8
    best = Matcher(with_looks(fake_network, poses)).match(QUERY)[0]
    if poses:  # without them all are within five frames
        assert best.margin == pytest.approx(0.1, abs=1e-6)


def test_a_sequence_names_a_place_once(fake_network):
    fake_network.dimensions = 8
    matcher = Matcher(with_looks(fake_network))
    follower = Follower(matcher, 10)
    answer = matcher.answer(Look(QUERY, None), 30, every_picture=True)
    found = follower.follow(answer, QUERY, 0.0, 5).candidates
    assert [c.place.id for c in found][0] == 4
    assert sorted(c.place.id for c in found) == [4, 7, 9]


@pytest.mark.parametrize('poses', [True, False])
def test_pictures_of_one_place_are_one_graph(poses: bool):
    day, night = looks_of(list(range(20)), 2.0, poses), looks_of(list(range(20)), 2.0, poses)
    places = Places.of([*day, *(replace(p, traverse=1) for p in night)])
    graph = PlaceGraph(places, 10.0)
    for row in range(20):
        there = graph.rows[graph.links[graph.position[row]].max()]
        assert places.ids[there] == row and there == row + 20


def test_a_recogniser_names_a_place_once(fake_network):
    fake_network.dimensions = 8
    fake_network.describe = lambda image, order: Look(QUERY, None)
    found = Recogniser(fake_network, with_looks(fake_network)).recognise(np.zeros((4, 4, 3)))
    assert [c.place.id for c in found.candidates] == [4, 9, 7]

# SPDX-License-Identifier: Apache-2.0
"""Answers that know the images before, from the matcher's to the recogniser's."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import places_along_x, unit_rows

from ashtkd_ros.geometry.pose import Pose
from ashtkd_ros.maps.place_map import PlaceMap
from ashtkd_ros.network.local_features import Look
from ashtkd_ros.recognition.following import Follower
from ashtkd_ros.recognition.matcher import Matcher
from ashtkd_ros.recognition.recogniser import Moment, Recogniser

COUNT, SIZE = 80, 16


@pytest.fixture
def place_map(fake_network: SimpleNamespace) -> PlaceMap:
    """80 places, 4 m apart; a third of them looks like the place 40 further on."""
    fake_network.dimensions = SIZE
    fake_network.confidence = {'similarity': 8.0, 'margin': 6.0, 'offset': -6.0}
    rows = unit_rows(COUNT, SIZE, seed=4)
    rows[:40:3] = rows[40::3][: len(rows[:40:3])]
    return PlaceMap.build(rows, places_along_x(4.0 * np.arange(COUNT)), fake_network)


def image_of(place_map: PlaceMap, place: int, noise: float, rng: np.random.Generator):
    seen = place_map.index.rows([int(place)])[0] + rng.normal(0, noise, SIZE)
    return (seen / np.linalg.norm(seen)).astype(np.float32)


def drive(place_map: PlaceMap, route: list[int], noise: float = 0.18) -> tuple[list, list]:
    """Best candidates along a route: of the follower, and of single images."""
    matcher, rng = Matcher(place_map), np.random.default_rng(0)
    follower, followed, single = Follower(matcher, 10), [], []
    for k, place in enumerate(route):
        seen = image_of(place_map, place, noise, rng)
        answer = matcher.answer(Look(seen, None), 30)
        followed.append(follower.follow(answer, seen, float(k), 5).candidates[0])
        single.append(answer.candidates[0])
    return followed, single


def share_right(found: list, route: list[int]) -> float:
    return np.mean([abs(c.place.id - at) <= 1 for c, at in zip(found, route, strict=True)])


def test_it_is_right_where_single_images_are_not(place_map: PlaceMap):
    route = list(range(5, 38))
    followed, single = drive(place_map, route)
    assert share_right(single[6:], route[6:]) < 0.85
    assert share_right(followed[6:], route[6:]) > 0.95
    late = [c.confidence for c in followed[8:]]
    assert np.mean(late) > 0.9 and max(late) < 1


def test_candidates_come_with_falling_confidence_and_a_similarity_of_their_own(place_map):
    matcher, rng = Matcher(place_map), np.random.default_rng(1)
    follower = Follower(matcher, 10)
    for k in range(12):
        seen = image_of(place_map, 10 + k, 0.15, rng)
        found = follower.follow(matcher.answer(Look(seen, None), 30), seen, float(k), 5)
    scores = [c.confidence for c in found.candidates]
    assert len(scores) == 5 and scores == sorted(scores, reverse=True)
    assert len({c.place.id for c in found.candidates}) == 5
    for c in found.candidates:
        expected = place_map.index.rows([c.place.id])[0] @ seen
        assert c.similarity == pytest.approx(float(expected), abs=1e-5)
    assert 0 <= found.lost < 0.1


def test_the_recogniser_follows_where_a_moment_says_so(place_map: PlaceMap, fake_network):
    rng, seen = np.random.default_rng(2), []
    fake_network.describe = lambda image, order: Look(seen[-1], None)
    recogniser = Recogniser(fake_network, place_map, min_confidence=0.9)
    image, found = np.zeros((4, 4, 3), np.uint8), []
    for k in range(15):
        seen.append(image_of(place_map, 5 + k, 0.15, rng))
        found.append(recogniser.recognise(image, moment=Moment(float(k), 10)))
    assert found[-1].accepted
    assert found[-1].single is not None and len(found[-1].candidates) == 5
    alone = recogniser.recognise(image, moment=Moment(20.0, 1))
    assert alone.single is None and alone.followed is None
    assert alone.candidates[0].confidence == found[-1].single.confidence
    again = recogniser.recognise(image, moment=Moment(21.0, 10))
    fresh = Recogniser(fake_network, place_map).recognise(image, moment=Moment(0.0, 10))
    assert again.candidates == fresh.candidates  # nothing is remembered from before


def test_the_pose_is_the_mean_of_what_is_probable_and_its_spread_is_told(place_map: PlaceMap):
    matcher, rng = Matcher(place_map), np.random.default_rng(3)
    follower = Follower(matcher, 10)
    for k in range(15):
        seen = image_of(place_map, 10 + k, 0.15, rng)
        found = follower.follow(matcher.answer(Look(seen, None), 30), seen, float(k), 5)
    belief, best = found.pose, found.candidates[0].place
    assert abs(belief.pose.x - best.pose.x) <= 8 and belief.pose.y == 0
    assert len(belief.variance) == 4 and min(belief.variance) >= 0
    assert belief.variance[0] < 8**2 and belief.variance[1] == 0


def test_a_jump_is_told(place_map: PlaceMap):
    matcher, rng = Matcher(place_map), np.random.default_rng(3)
    follower, jumps = Follower(matcher, 10), []
    for k, place in enumerate([*range(5, 17), *range(60, 75)]):
        seen = image_of(place_map, place, 0.1, rng)
        answer = matcher.answer(Look(seen, None), 30)
        jumps.append(follower.follow(answer, seen, float(k), 5).jumped)
    assert not any(jumps[3:12]) and 1 <= sum(jumps[12:]) <= 3 and not any(jumps[-5:])


def test_a_robot_that_turns_on_the_spot_has_not_jumped(fake_network: SimpleNamespace):
    """The way back is a traverse of its own, seen the other way."""
    fake_network.dimensions = SIZE
    places = [
        replace(
            place, traverse=k // 40, pose=Pose(2.0 * (k % 40), 0, 0, qz=k // 40, qw=1 - k // 40)
        )
        for k, place in enumerate(places_along_x(np.arange(COUNT)))
    ]
    place_map = PlaceMap.build(unit_rows(COUNT, SIZE, seed=4), places, fake_network)
    matcher, jumps = Matcher(place_map), []
    follower, rng = Follower(matcher, 10), np.random.default_rng(3)
    for k, place in enumerate([*range(5, 18), *range(57, 45, -1)]):
        seen = image_of(place_map, place, 0.05, rng)
        followed = follower.follow(matcher.answer(Look(seen, None), 30), seen, float(k), 5)
        jumps.append(followed.jumped)
    assert not any(jumps) and followed.candidates[0].place.id == 46


def test_a_map_without_poses_has_no_pose(fake_network: SimpleNamespace):
    fake_network.dimensions = SIZE
    places = places_along_x(np.arange(COUNT), with_poses=False)
    place_map = PlaceMap.build(unit_rows(COUNT, SIZE), places, fake_network)
    matcher, seen = Matcher(place_map), image_of(place_map, 3, 0.1, np.random.default_rng(0))
    found = Follower(matcher, 10).follow(matcher.answer(Look(seen, None), 30), seen, 0.0, 5)
    assert found.pose is None

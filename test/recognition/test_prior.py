# SPDX-License-Identifier: Apache-2.0
"""A prior limits the answers to places near a position, and never makes them surer."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import change_place, line_of, places_along_x, unit_rows
from map_fixtures import local_rows
from test_matcher import COEFFICIENTS, QUERY, map_with

from ashtkd_ros.errors import VprError
from ashtkd_ros.geometry.pose import Pose
from ashtkd_ros.maps.place_map import PlaceMap
from ashtkd_ros.maps.places import Places
from ashtkd_ros.network.local_features import LocalShape, Look
from ashtkd_ros.recognition.matcher import Answer, Matcher, MatcherConfig
from ashtkd_ros.recognition.place_grid import PlaceGrid
from ashtkd_ros.recognition.prior import Prior, PriorTrack
from ashtkd_ros.recognition.recogniser import Moment, Recogniser

LOOK = Look(QUERY, None)
IMAGE = np.zeros((4, 4, 3), np.uint8)
SHAPE = LocalShape((2, 3), 4)


def ids(answer: Answer) -> list[int]:
    return [c.place.id for c in answer.candidates]


def random_map(network: SimpleNamespace, count: int, seed: int = 0) -> PlaceMap:
    """Places 10 m apart with random descriptors."""
    return PlaceMap.build(
        unit_rows(count, 4, seed), places_along_x(10.0 * np.arange(count)), network
    )


@pytest.mark.parametrize('radius', [0.5, 30.0, 300.0, 5e4])
def test_grid_finds_the_rows_that_are_within(radius: float):
    rng = np.random.default_rng(0)
    places = places_along_x(np.zeros(500))
    at = np.concatenate([rng.uniform(-200, 200, (250, 2)), rng.uniform(-2e4, 2e4, (250, 2))])
    poses = [Pose(*map(float, xy), 0.0) for xy in at]
    made = Places.of(
        SimpleNamespace(**{**vars(p), 'pose': None if k % 7 == 0 else poses[k]})
        for k, p in enumerate(places)
    )
    for x, y in rng.uniform(-250, 250, (20, 2)):
        near = np.hypot(*(at - (x, y)).T) <= radius
        near[::7] = False
        assert PlaceGrid(made).within(x, y, radius).tolist() == np.flatnonzero(near).tolist()


def test_only_places_within_are_candidates(fake_network):
    place_map = map_with([0.9, 0.5, 0.7, 0.2], [0, 100, 110, 500], fake_network)
    answer = Matcher(place_map).answer(LOOK, prior=Prior(105.0, 0.0, 20.0))
    assert ids(answer) == [2, 1]
    assert (len(answer.prior.rows), answer.prior.beyond) == (2, True)
    assert not Matcher(place_map).answer(LOOK, prior=Prior(0.0, 0.0, 1.0)).prior.beyond


def test_the_margin_is_over_the_best_of_the_whole_map(fake_network):
    fake_network.confidence = COEFFICIENTS
    place_map = map_with([0.9, 0.7, 0.2], [0, 500, 600], fake_network)
    matcher = Matcher(place_map)
    (best,) = matcher.answer(LOOK, prior=Prior(500.0, 0.0, 50.0)).candidates
    assert best.margin == pytest.approx(-0.2, abs=1e-6)
    same = matcher.answer(LOOK).candidates[1]
    assert (best.place.id, best.confidence) == (1, pytest.approx(same.confidence))


def test_a_place_within_is_found_however_far_down_it_ranks(fake_network):
    place_map = random_map(fake_network, 1000)
    similarities = place_map.descriptors(np.arange(1000)) @ QUERY
    for row in np.argsort(-similarities)[[0, 500, 999]].tolist():
        answer = Matcher(place_map).answer(LOOK, prior=Prior(10.0 * row, 0.0, 5.0))
        assert ids(answer) == [row]
        assert answer.candidates[0].similarity == pytest.approx(similarities[row], abs=1e-6)


@pytest.mark.parametrize('exact', [1, 10**6])
def test_many_places_within_are_ranked_as_without_others(fake_network, monkeypatch, exact: int):
    monkeypatch.setattr('ashtkd_ros.recognition.candidate_search._EXACT', exact)
    place_map = random_map(fake_network, 3000)
    prior = Prior(20_000.0, 0.0, 8000.0)
    answer = Matcher(place_map).answer(LOOK, 50, prior=prior)
    within = np.arange(1200, 2801)
    similarities = place_map.descriptors(within) @ QUERY
    assert ids(answer) == within[np.argsort(-similarities)[:50]].tolist()


def test_places_without_a_pose_stay_out(fake_network):
    place_map = map_with([0.9, 0.5], [0, 0], fake_network)
    change_place(place_map, 0, pose=None)
    assert ids(Matcher(place_map).answer(LOOK, prior=Prior(0.0, 0.0, 10.0))) == [1]


def test_a_map_without_poses_ignores_a_prior_and_says_so(fake_network):
    place_map = map_with([0.9, 0.5], [0, 100], fake_network, with_poses=False)
    matcher = Matcher(place_map)
    answer = matcher.answer(LOOK, prior=Prior(0.0, 0.0, 10.0))
    assert answer.candidates == matcher.answer(LOOK).candidates
    assert str(answer.prior) == 'ignored: the map has no poses'


def test_where_no_place_is_the_place_is_unknown_whatever_the_least_confidence(fake_network):
    fake_network.describe = lambda image, order: LOOK
    recogniser = Recogniser(fake_network, map_with([1.0, 0.5], [0, 100], fake_network))
    for moment in (None, Moment(1.0, 5)):
        found = recogniser.recognise(
            IMAGE, min_confidence=0.0, moment=moment, prior=Prior(1000.0, 0.0, 50.0)
        )
        assert not found.accepted
        assert found.refusal == (
            'no place of the map lies within 50 m of 1000.0, 0.0, where the prior is'
        )
        assert {c.confidence for c in found.candidates} == {0.0}


def random_local(network: SimpleNamespace, count: int) -> tuple[PlaceMap, np.ndarray]:
    """Places 50 m apart whose pictures look nothing alike, and their local features."""
    network.local, network.confidence = (
        SHAPE,
        {
            **COEFFICIENTS,
            'verified_similarity': 5.0,
            'verified_margin': 5.0,
            'verified_lead': 6.0,
            'verified_agreement': 3.0,
            'verified_offset': -4.0,
        },
    )
    rows, local = unit_rows(count, 4, 1), local_rows(count, 1, SHAPE)
    made = PlaceMap.build(rows, places_along_x(50.0 * np.arange(count)), network, local=local)
    return made, local


def test_a_wrong_prior_gives_no_sure_answer(fake_network):
    place_map, local = random_local(fake_network, 400)
    matcher, sure = Matcher(place_map), []
    for row in range(0, 400, 8):
        look = Look(unit_rows(400, 4, 1)[row], local[row])
        assert matcher.answer(look).candidates[0].confidence > 0.9
        right = matcher.answer(look, prior=Prior(50.0 * row, 0.0, 80.0)).candidates[0]
        assert right.place.id == row and right.confidence > 0.9
        jumped = Prior(50.0 * ((row + 100) % 400), 0.0, 80.0)
        sure.append(matcher.answer(look, prior=jumped).candidates[0].confidence)
    assert max(sure) < 0.5


def test_rivals_of_the_whole_map_are_verified_beside_the_candidates(fake_network):
    place_map, local = random_local(fake_network, 400)
    look = Look(unit_rows(400, 4, 1)[7], local[7])
    for radius, inside in ((80.0, 3), (1e5, 30)):
        answer = Matcher(place_map, MatcherConfig(top_k=64)).answer(
            look, prior=Prior(350.0, 0.0, radius)
        )
        checks = [c.check for c in answer.candidates if c.check is not None]
        assert len(checks) == inside and answer.candidates[0].place.id == 7
        assert checks[0].rivals == 29
    assert answer.matches is not None


def test_a_sequence_answers_within_the_prior_and_survives_one_that_jumps(fake_network):
    rows = unit_rows(60, 4, 3)
    place_map = PlaceMap.build(rows, places_along_x(20.0 * np.arange(60)), fake_network)
    fake_network.confidence = {}
    recogniser, found = Recogniser(fake_network, place_map), []
    for k in range(30):
        look = Look(rows[10 + k], None)
        fake_network.describe = lambda image, order, look=look: look
        where = 900.0 if 12 <= k < 14 else 20.0 * (10 + k)
        prior = Prior(where, 0.0, 60.0)
        found.append(recogniser.recognise(IMAGE, moment=Moment(k, 5), prior=prior))
        places = [c.place.pose.x for c in found[-1].candidates if c.confidence > 0]
        assert all(abs(x - where) <= 60.0 for x in places)
    wrong = [r for k, r in enumerate(found) if r.accepted and r.candidates[0].place.id != 10 + k]
    assert not wrong
    assert sum(r.accepted for r in found[20:]) >= 8


@pytest.mark.parametrize(
    'circle',
    [(math.nan, 0, 1), (0, math.nan, 1), (0, 0, math.nan), (0, 0, 0), (0, 0, -1), (1e9, 0, 1)],
)
def test_a_circle_that_is_none_is_refused(circle: tuple[float, float, float]):
    with pytest.raises(VprError) as error:
        Prior(*circle)
    assert 'is no circle on earth' in line_of(error)


def test_a_prior_grows_with_its_age_and_its_uncertainty():
    track = PriorTrack()
    assert track.at(1.0, 50.0) == (None, 'no position has come')
    track.add(10.0, 1.0, 2.0, 4.0)
    assert track.at(10.0, 50.0) == (Prior(1.0, 2.0, 60.0), '')
    assert track.at(12.0, 50.0)[0].radius_m == pytest.approx(90.0)
    assert track.at(8.0, 50.0)[0].radius_m == pytest.approx(90.0)
    assert track.at(16.0, 50.0)[1] == 'the nearest position is 6.0 s before the image'
    assert track.at(1e9, 50.0)[0] is None
    track.add(20.0, 0.0, 0.0, 150.0)
    assert track.at(20.0, 50.0)[1] == 'the position is uncertain by 150 m'


@pytest.mark.parametrize(
    'told', [(math.nan, 0, 0, 0), (0, math.inf, 0, 0), (0, 1, math.nan, 0), (0, 0, 0, math.nan)]
)
def test_positions_that_are_none_are_refused_and_not_kept(told):
    track = PriorTrack()
    with pytest.raises(VprError):
        track.add(*told)
    assert track.at(0.0, 50.0)[0] is None

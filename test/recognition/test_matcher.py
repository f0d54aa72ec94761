# SPDX-License-Identifier: Apache-2.0
"""Descriptor → candidates: order, margins over rivals elsewhere, confidence."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from conftest import change_place, line_of, places_along_x

from ashtkd_ros.errors import VprError
from ashtkd_ros.geometry.pose import Pose
from ashtkd_ros.maps.place_map import PlaceMap
from ashtkd_ros.network.confidence import probability
from ashtkd_ros.network.embedder import Embedder
from ashtkd_ros.network.local_features import Look
from ashtkd_ros.recognition.matcher import Check, Matcher, MatcherConfig
from ashtkd_ros.recognition.recogniser import Recogniser
from ashtkd_ros.traverses.image_folder import read_source


def known(similarity: float, margin: float) -> dict[str, float]:
    return {'similarity': similarity, 'margin': margin}


_PARTS = 'descriptor', 'local'  # of a look
COEFFICIENTS = {'similarity': 10.0, 'margin': 20.0, 'offset': -6.0}
QUERY = np.array([1, 0, 0, 0], np.float32)


def map_with(similarities, positions, network, with_poses: bool = True) -> PlaceMap:
    """Places whose descriptors have these inner products with QUERY."""
    s = np.array(similarities, np.float32)
    rows = np.zeros((len(s), 4), np.float32)
    rows[:, 0], rows[:, 1] = s, np.sqrt(1 - s**2)
    return PlaceMap.build(rows, places_along_x(positions, with_poses), network)


def test_candidates_are_best_first_and_top_k_many(fake_network):
    place_map = map_with([0.2, 0.9, 0.5, 0.7], [0, 100, 200, 300], fake_network)
    found = Matcher(place_map, MatcherConfig(top_k=3)).match(QUERY)
    assert [c.place.id for c in found] == [1, 3, 2]
    assert [c.similarity for c in found] == pytest.approx([0.9, 0.7, 0.5], abs=1e-6)


def test_k_beyond_the_map_gives_every_place(fake_network):
    place_map = map_with([0.2, 0.9], [0, 100], fake_network)
    assert len(Matcher(place_map, MatcherConfig(top_k=50)).match(QUERY)) == 2


def test_margin_is_over_the_best_place_elsewhere(fake_network):
    # 0.88 stands 5 m from the best and is no rival; 0.6 stands 50 m off and is one
    place_map = map_with([0.9, 0.88, 0.6, 0.1], [0, 5, 50, 90], fake_network)
    found = Matcher(place_map, MatcherConfig(neighbour_m=10.0)).match(QUERY)
    assert found[0].margin == pytest.approx(0.3, abs=1e-6)
    assert found[2].place.id == 2 and found[2].margin == pytest.approx(-0.3, abs=1e-6)
    narrow = Matcher(place_map, MatcherConfig(neighbour_m=1.0)).match(QUERY)
    assert narrow[0].margin == pytest.approx(0.02, abs=1e-6)


def test_neighbours_are_told_by_height_too(fake_network):
    place_map = map_with([0.9, 0.6], [0, 0], fake_network)
    change_place(place_map, 1, pose=Pose(0.0, 0.0, 20.0))
    assert Matcher(place_map).match(QUERY)[0].margin == pytest.approx(0.3, abs=1e-6)


def test_without_poses_neighbours_are_told_by_frames(fake_network):
    similarities = [0.9, 0.88, 0.7, 0.4, 0.5]
    place_map = map_with(similarities, range(5), fake_network, with_poses=False)
    for frames, margin in ((1, 0.2), (2, 0.4), (0, 0.02)):
        config = MatcherConfig(neighbour_frames=frames)
        best = Matcher(place_map, config).match(QUERY)[0]
        assert best.margin == pytest.approx(margin, abs=1e-6)


def test_without_poses_places_of_another_drive_are_rivals(fake_network):
    place_map = map_with([0.9, 0.88, 0.4], range(3), fake_network, with_poses=False)
    change_place(place_map, 1, order=0, traverse=1)
    assert Matcher(place_map).match(QUERY)[0].margin == pytest.approx(0.02, abs=1e-6)


def test_where_few_places_are_elsewhere_the_margin_is_to_one_that_the_map_lacks(fake_network):
    fake_network.confidence = {'similarity': 0.0, 'margin': 25.0, 'offset': -2.0}
    for similarity, confidence in ((0.8, 1.0), (0.3, 0.12), (0.2, 0.01)):
        for others in ([], [0.1], 28 * [0.1]):  # an image from elsewhere is like none of them
            positions = 100 * np.arange(1 + len(others))
            place_map = map_with([similarity, *others], positions, fake_network)
            first = Matcher(place_map).match(QUERY)[0]
            assert first.place.id == 0
            assert first.margin == pytest.approx(similarity - 0.3, abs=1e-6)
            assert first.confidence == pytest.approx(confidence, abs=0.01)
    place_map = map_with([0.3, *(30 * [0.1])], 100 * np.arange(31), fake_network)
    first = Matcher(place_map).match(QUERY)[0]
    assert first.margin == pytest.approx(0.2, abs=1e-6)


@pytest.mark.parametrize('others', [0, 3, 14, 15, 29])
def test_a_map_of_one_spot_takes_no_image_from_elsewhere(fake_network, others):
    """However many pictures it has, few are elsewhere, and the image is like none of them."""
    fake_network.confidence = {'similarity': 0.0, 'margin': 25.0, 'offset': -2.0}
    for similarity, margin in ((0.8, 0.5), (0.35, 0.05)):
        similarities = [*np.linspace(similarity, 0.1, 40), *(others * [0.1])]
        positions = [*np.linspace(0, 9, 40), *(100 * np.arange(1, 1 + others))]
        first = Matcher(map_with(similarities, positions, fake_network)).match(QUERY)[0]
        assert first.margin == pytest.approx(margin, abs=1e-6)
        assert (first.confidence > 0.5) == (similarity > 0.5)


def test_in_a_room_that_looks_alike_everywhere_its_images_are_known(fake_network):
    """No picture is elsewhere, so that the least similar one of the room is no rival."""
    place_map = map_with(np.linspace(0.9, 0.85, 40), np.linspace(0, 9, 40), fake_network)
    assert Matcher(place_map).match(QUERY)[0].margin == pytest.approx(0.6, abs=1e-6)


def test_a_large_map_of_one_spot_takes_no_image_from_elsewhere(fake_network):
    similarities, positions = np.linspace(0.35, -0.9, 3000), np.linspace(0, 9, 3000)
    first = Matcher(map_with(similarities, positions, fake_network)).match(QUERY)[0]
    assert first.margin == pytest.approx(0.05, abs=1e-6)


def test_what_is_like_no_place_is_of_none_whatever_local_features_say(fake_network):
    """By chance one place has more matches than the others. From 0.1 on they decide."""
    coefficients = {'similarity': 0.0, 'margin': 24.0, 'offset': -1.5, 'limited': 1.0}
    coefficients |= {'verified_' + name: 0.0 for name in ('similarity', 'margin')}
    coefficients |= {'verified_lead': 7.0, 'verified_agreement': 5.0, 'verified_offset': -4.0}
    check, confidences = Check(1.0, 1.4, 0.05, displacement=(0.0, 0.0), rivals=25), []
    for similarity in (-0.1, 0.0, 0.099, 0.101):
        place_map = map_with([similarity, *(40 * [-0.4])], 100 * np.arange(41), fake_network)
        matcher = Matcher(place_map)
        best = replace(matcher.match(QUERY)[0], check=check)
        confidences.append(probability(matcher.known(best), coefficients))
    assert confidences == pytest.approx([0.0, 0.18, 0.96, 0.99], abs=0.01)


@pytest.mark.parametrize(('pictures', 'margin'), [(64, 0.12), (900, 0.12), (5000, 0.004)])
def test_in_a_dense_map_the_margin_is_that_to_a_place_elsewhere(fake_network, pictures, margin):
    """Up to a thousand pictures of its spot may be more like the image."""
    similarities = [*np.linspace(0.62, 0.6, pictures), *(400 * [0.5])]
    positions = [*np.linspace(0, 9, pictures), *(500 + np.arange(400))]
    place_map = map_with(similarities, positions, fake_network)
    first = Matcher(place_map).match(QUERY)[0]
    assert first.margin == pytest.approx(margin, abs=1e-3)


def test_a_small_map_takes_no_photograph_from_elsewhere(shared, student):
    network = Embedder(student)
    town, others = (
        [
            network.describe(*frame.pixels())
            for frame in read_source(shared / 'data' / 'val' / name)
        ]
        for name in ('tour_places', 'corridor')
    )
    for count in (1, 2, 5, 12, 29):
        looks = town[:count]
        descriptors, local = (np.stack([getattr(x, n) for x in looks]) for n in _PARTS)
        places = places_along_x(100 * np.arange(count), True)
        matcher = Matcher(PlaceMap.build(descriptors, places, network, local=local))
        again, elsewhere = (
            [matcher.answer(look, 1).candidates[0].confidence for look in asked]
            for asked in (looks, others)
        )
        assert min(again) > 0.8 and np.mean(np.array(elsewhere) >= 0.5) <= 0.01, count


def test_rivals_are_found_behind_many_candidates_of_the_same_spot(fake_network):
    similarities = [*np.linspace(0.99, 0.9, 30), 0.3]
    place_map = map_with(similarities, [*np.linspace(0, 5, 30), 500], fake_network)
    best = Matcher(place_map, MatcherConfig(top_k=1)).match(QUERY)[0]
    assert best.margin == pytest.approx(0.69, abs=1e-6)


def test_confidence_rises_with_similarity_and_margin():
    grid = np.linspace(-1, 1, 9)
    for fixed in grid:
        by_similarity = [probability(known(float(s), float(fixed)), COEFFICIENTS) for s in grid]
        by_margin = [probability(known(float(fixed), float(m)), COEFFICIENTS) for m in grid]
        assert (np.diff(by_similarity) > 0).all() and (np.diff(by_margin) > 0).all()
        assert all(0.0 < p < 1.0 for p in by_similarity + by_margin)


def test_confidence_is_the_logistic_function():
    assert probability(known(0.6, 0.0), COEFFICIENTS) == pytest.approx(0.5)
    assert probability(known(0.7, 0.1), COEFFICIENTS) == pytest.approx(1 / (1 + np.exp(-3)))
    assert probability(
        {'similarity': 1.0, 'margin': 1.0}, {**COEFFICIENTS, 'offset': 1e6}
    ) == pytest.approx(1.0)
    assert probability(
        {'similarity': 1.0, 'margin': 1.0}, {**COEFFICIENTS, 'offset': -1e6}
    ) == pytest.approx(0.0)


def test_without_coefficients_confidence_is_the_similarity_cut_to_a_probability():
    assert [probability(known(s, 0.5), {}) for s in (-0.3, 0.4, 1.0000001)] == [
        0.0,
        0.4,
        1.0,
    ]


def test_matcher_takes_the_coefficients_from_the_map(fake_network):
    fake_network.confidence = COEFFICIENTS
    best = Matcher(map_with([0.9, 0.6], [0, 100], fake_network)).match(QUERY)[0]
    assert best.confidence == pytest.approx(probability(known(0.9, 0.3), COEFFICIENTS), abs=1e-5)


@pytest.mark.parametrize('wrong', [{'similarity': 1.0}, {**COEFFICIENTS, 'margin': 'much'}])
def test_a_calibration_that_is_none_is_refused(fake_network, wrong):
    fake_network.confidence = wrong
    with pytest.raises(VprError) as error:
        Matcher(map_with([0.9, 0.6], [0, 100], fake_network))
    assert 'calibration' in line_of(error)


def test_confidence_falls_with_the_rank_even_where_the_margin_grows(fake_network):
    # The first two are each other's rivals; the third, between them, has none but the last
    fake_network.confidence = COEFFICIENTS
    place_map = map_with([0.9, 0.89, 0.88, 0.3], [0, 15, 8, 200], fake_network)
    confidences = [c.confidence for c in Matcher(place_map).match(QUERY)]
    assert confidences == sorted(confidences, reverse=True)


def test_recogniser_refuses_below_the_least_confidence_and_says_so(fake_network):
    fake_network.describe = lambda image, order: Look(QUERY, None)
    place_map = map_with([0.7, 0.1], [0, 100], fake_network)
    image = np.zeros((4, 4, 3), np.uint8)
    accepted = Recogniser(fake_network, place_map, min_confidence=0.6).recognise(image)
    assert accepted.accepted and accepted.refusal == ''
    refused = Recogniser(fake_network, place_map, min_confidence=0.8).recognise(image)
    assert not refused.accepted
    assert refused.refusal == 'confidence 0.70 is below min_confidence 0.80'
    for least, said in (
        (0.999, '0.700 is below min_confidence 0.999'),
        (0.9999, '0.7000 is below min_confidence 0.9999'),
        (0.70001, '0.70000 is below min_confidence 0.70001'),
    ):
        near = Recogniser(fake_network, place_map, min_confidence=least).recognise(image)
        assert near.refusal == f'confidence {said}'
    assert [c.place.id for c in refused.candidates] == [0, 1]
    assert refused.embed_s >= 0 and refused.match_s > 0

# SPDX-License-Identifier: Apache-2.0
"""A map tells by itself how far its answers can be trusted."""

from __future__ import annotations

from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from ashtkd_ros.errors import VprError
from ashtkd_ros.geometry.pose import Pose
from ashtkd_ros.mapping import calibration
from ashtkd_ros.mapping.calibration import (
    FEWEST,
    PRECISIONS,
    Answered,
    Calibrated,
    ask_itself,
    calibrated,
    fit,
    trust_of,
)
from ashtkd_ros.maps.place_map import Place, PlaceMap
from ashtkd_ros.network.confidence import DESCRIPTOR, LIMITED, ON_THE_MAP, VERIFIED, probability
from ashtkd_ros.network.local_features import LocalShape, Look
from ashtkd_ros.recognition.matcher import Matcher

GRID, SPACING_M = (6, 6), 6.0


def picture(number: int) -> np.ndarray:
    """A texture of its own for each place, as a thumbnail, 120 x 160."""
    rng = np.random.default_rng(number)
    return cv2.resize(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8), (160, 120))


def describe(image: np.ndarray, order: str = 'RGB') -> Look:
    """Colours of a grid of cells: a descriptor of 108 numbers, and local features of 12."""
    small = cv2.resize(image, (12, 12), interpolation=cv2.INTER_AREA).astype(np.float32) - 128
    small += np.random.default_rng(0).normal(0, 1, small.shape).astype(np.float32)
    cells = small.reshape(6, 2, 6, 2, 3).transpose(0, 2, 1, 3, 4).reshape(36, 12)
    local = cells / np.linalg.norm(cells, axis=1, keepdims=True)
    flat = cells.reshape(-1)
    return Look(flat / np.linalg.norm(flat), np.rint(127 * local).astype(np.int8))


@pytest.fixture
def network(fake_network: SimpleNamespace) -> SimpleNamespace:
    fake_network.describe = describe
    fake_network.embed = lambda image, order='RGB': describe(image).descriptor
    fake_network.dimensions, fake_network.confidence = 432, {}
    fake_network.local = LocalShape(GRID, 12)
    return fake_network


def a_map(network: SimpleNamespace, count: int = 60, local: bool = True) -> PlaceMap:
    looks = [describe(picture(i)) for i in range(count)]
    places = [Place(i, float(i), i, Pose(SPACING_M * i, 0, 0), f'{i}') for i in range(count)]
    rows = np.stack([look.descriptor for look in looks])
    return PlaceMap.build(
        rows, places, network, local=np.stack([k.local for k in looks]) if local else None
    )


def of_place(place: Place) -> np.ndarray:
    return picture(place.id)


def test_a_fit_finds_the_coefficients_it_was_made_with():
    rng, answers = np.random.default_rng(0), []
    for on_the_map in rng.random(20_000) < ON_THE_MAP:
        margin, lead, agreement = rng.uniform([-0.1, -1.2, 0], [0.2, 1.2, 0.6])
        right = rng.random() < 1 / (1 + np.exp(-(3 * margin + 2 * lead + 4 * agreement - 1)))
        known = {'similarity': 0.5, 'margin': margin, 'lead': lead, 'agreement': agreement}
        answers.append(Answered(known, bool(right), bool(on_the_map)))
    found = fit([answers], VERIFIED, 'verified_', {})
    assert list(found) == [f'verified_{name}' for name in VERIFIED]
    assert list(found.values()) == pytest.approx([0, 3, 2, 4, -1], rel=0.15, abs=0.05)


def test_what_speaks_against_the_right_answer_has_no_part():
    rng = np.random.default_rng(0)
    answers = []
    for right in rng.random(400) < 0.5:
        known = {'margin': rng.normal(0.1 * right, 0.05), 'agreement': 0.0}
        known['lead'] = rng.normal(-1.0 * right)
        answers.append(Answered(known, bool(right), True))
    found = fit([answers], VERIFIED, '', {})
    assert found['lead'] == 0 and found['margin'] > 1


def test_answers_that_are_all_right_or_all_wrong_tell_nothing():
    for right in (True, False):
        answers = [Answered({'margin': 0.1}, right, k % 2 == 0) for k in range(20)]
        assert fit([answers], DESCRIPTOR, '', {}) == {}
    assert fit([[]], DESCRIPTOR, '', {}) == {}


def test_a_few_answers_do_not_carry_it_far_from_where_it_started():
    start = {'similarity': 0.0, 'margin': 20.0, 'offset': -1.0}
    known = {'similarity': 0.5, 'margin': 0.15}
    odd = [Answered({'margin': 0.1}, not there, there) for there in (True, False)]
    few, many = (
        probability(known, fit([odd * count], DESCRIPTOR, '', start)) for count in (1, 100)
    )
    assert many < 0.25 < 0.4 < few < probability(known, start)


def test_every_place_is_asked_about_with_and_without_its_neighbourhood(network):
    place_map = a_map(network)
    answers = [verified for _, verified in ask_itself(place_map, network, of_place)]
    there = [a for a in answers if a.on_the_map]
    hidden = [a for a in answers if not a.on_the_map]
    assert len(there) == len(hidden) >= 30
    assert np.mean([a.right for a in there]) > 0.4 and not any(a.right for a in hidden)
    assert np.mean([a.known['lead'] for a in there]) > np.mean([a.known['lead'] for a in hidden])


def test_a_hidden_place_and_its_neighbours_are_never_an_answer(network):
    place_map = a_map(network)
    matcher = Matcher(place_map)
    near = frozenset(np.flatnonzero(matcher.near.of(20)).tolist())
    assert near == {19, 20, 21}
    found = matcher.answer(describe(picture(20)), top_k=50, hidden=near).candidates
    assert len(found) == 50 and not near & {c.place.id for c in found}
    assert matcher.answer(describe(picture(20))).candidates[0].place.id == 20


def test_a_map_trusts_what_it_has_and_not_what_it_never_saw(network):
    place_map = a_map(network)
    numbers = calibrated(place_map, network, of_place).coefficients
    assert numbers[LIMITED] == 1 and set(numbers) > {'verified_lead'}
    place_map.info.calibration.update(numbers)
    matcher = Matcher(place_map)

    def confidence(number: int) -> float:
        """Of the answer to a picture with half the contrast."""
        return matcher.answer(describe(picture(number) // 2 + 60)).candidates[0].confidence

    known, unknown = ([confidence(i) for i in of] for of in (range(60), range(100, 160)))
    assert np.mean(known) > 0.9 and np.mean(np.array(unknown) > 0.9) <= 0.02


@pytest.mark.parametrize('count', [1, 2, FEWEST - 1])
def test_a_small_map_has_the_numbers_of_its_model(network, count: int):
    network.confidence = {'similarity': 3.0, 'margin': 9.0, 'offset': -2.3}
    assert calibrated(a_map(network, count), network, of_place) == Calibrated(
        network.confidence, []
    )


def test_without_pictures_a_map_has_the_numbers_of_its_model(network):
    network.confidence = {'similarity': 3.0, 'margin': 9.0, 'offset': -2.3}
    assert calibrated(a_map(network), network, lambda _: None) == Calibrated(
        network.confidence, []
    )


def test_a_map_without_local_features_is_calibrated_by_the_descriptor(network):
    network.local = None
    numbers = calibrated(a_map(network, local=False), network, of_place).coefficients
    assert set(numbers) == {*DESCRIPTOR, LIMITED} and numbers['margin'] > 0


def test_a_map_that_cannot_tell_its_places_apart_trusts_little(network, monkeypatch):
    monkeypatch.setattr(calibration, 'degrade', lambda image, _: np.full_like(image, 90))
    place_map = a_map(network)
    place_map.info.calibration.update(calibrated(place_map, network, of_place).coefficients)
    best = Matcher(place_map).answer(describe(np.full((120, 160, 3), 90, np.uint8))).candidates[0]
    assert best.confidence < 0.3


def test_one_seed_gives_the_same_numbers_with_any_number_of_workers(network):
    place_map = a_map(network)
    one, two = (calibrated(place_map, network, of_place, workers=n) for n in (1, 2))
    assert one == two


def test_what_is_trusted_is_right_as_often_and_lacks_little_of_what_was_never_seen():
    rng, coefficients = np.random.default_rng(0), {'similarity': 0, 'margin': 30, 'offset': -1.5}
    answers = []
    for on_the_map in rng.random(4000) < ON_THE_MAP:
        margin = rng.normal(0.12 if on_the_map else -0.05, 0.06)
        known = {'similarity': 0.0, 'margin': margin}
        right = on_the_map and rng.random() < probability(known, coefficients)
        answers.append(Answered(known, bool(right), bool(on_the_map)))
    table, recalls = trust_of(answers, coefficients), []
    assert [row['precision'] for row in table] == list(PRECISIONS)
    for row in table:
        least = row['min_confidence']
        accepted = [a for a in answers if probability(a.known, coefficients) >= least]
        assert np.mean([a.right for a in accepted]) >= row['precision'] - 0.01
        unseen = [probability(a.known, coefficients) for a in answers if not a.on_the_map]
        assert np.mean(np.array(unseen) >= least) <= 1 - row['precision']
        recalls.append(row['recall'])
    assert recalls == sorted(recalls, reverse=True) and recalls[0] > 0.5


def test_a_map_that_reaches_no_high_precision_tells_the_highest_that_it_can():
    """Else it would be taken for one that has told nothing, and accept from 0.5 on."""
    coefficients = {'similarity': 0, 'margin': 10, 'offset': 0}
    for elsewhere, accepts in ((0.0, True), (0.2, False)):
        margins = [(0.15, True)] * 27 + [(0.05, True)] * 3 + [(elsewhere, False)] * 30
        answers = [Answered({'similarity': 0.5, 'margin': m}, t, t) for m, t in margins]
        (row,) = trust_of(answers, coefficients)
        assert 0.5 < row['precision'] < PRECISIONS[0]
        unseen = probability({'similarity': 0.5, 'margin': elsewhere}, coefficients)
        assert row['min_confidence'] > unseen and (row['recall'] > 0) == accepts


def test_without_answers_about_elsewhere_nothing_is_told(network):
    """All places are near each other: none can be hidden."""
    looks = [describe(picture(i)) for i in range(40)]
    places = [Place(i, float(i), i, Pose(0.1 * i, 0, 0), f'{i}') for i in range(40)]
    rows = np.stack([look.descriptor for look in looks])
    place_map = PlaceMap.build(rows, places, network, local=np.stack([k.local for k in looks]))
    assert calibrated(place_map, network, of_place) == Calibrated({}, [])
    known = [Answered({'similarity': 0.5, 'margin': 0.1}, k > 0, True) for k in range(9)]
    assert trust_of(known, {'similarity': 0, 'margin': 9, 'offset': 0}) == []


ROW = {'precision': 0.9, 'min_confidence': 0.6, 'recall': 0.8}


@pytest.mark.parametrize(
    'trust',
    [
        'text',
        [ROW, 'text'],
        [{**ROW, 'precision': 2}],
        [{**ROW, 'recall': -0.1}],
        [{'precision': 0.9}],
        [ROW, {**ROW, 'precision': 0.99, 'min_confidence': 0.5}],
        [ROW] * 101,
    ],
)
def test_a_table_of_trust_that_cannot_be_is_refused(network, tmp_path, trust):
    place_map = a_map(network, 3)
    place_map.info.built['trust'] = trust
    with pytest.raises(VprError, match='trust') as error:
        place_map.save(tmp_path / 'map')
    assert '\n' not in str(error.value) and not (tmp_path / 'map').exists()


def test_a_new_calibration_takes_the_place_of_the_old_one(network):
    info = a_map(network, 3).info
    once = info.calibrated({'similarity': 1.0}, [ROW])
    assert once.trusted_from(0.99) == (0.6, 0.9), 'the highest that it can tell'
    again = once.calibrated({}, [])
    assert again.trusted_from(0.5) is None and again.built == info.built

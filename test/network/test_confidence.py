# SPDX-License-Identifier: Apache-2.0
"""Certainty never comes out of nothing: not of NaN, nor of numbers that no fit can give."""

from __future__ import annotations

import math

import numpy as np
import pytest
from conftest import line_of, places_along_x, unit_rows

from ashtkd_ros.errors import VprError
from ashtkd_ros.maps.place_map import PlaceMap
from ashtkd_ros.network.confidence import check_coefficients, probability
from ashtkd_ros.recognition.matcher import Matcher

FIT = {'similarity': 3.1, 'margin': 9.1, 'offset': -2.3}
EIGHT = {
    **FIT,
    'verified_similarity': 2.0,
    'verified_margin': 3.0,
    'verified_lead': 0.8,
    'verified_agreement': 4.0,
    'verified_offset': -2.5,
}


@pytest.mark.parametrize('coefficients', [{}, FIT])
@pytest.mark.parametrize('similarity', [math.nan, math.inf, -math.inf])
def test_what_is_no_number_has_no_confidence(coefficients: dict, similarity: float):
    with pytest.raises(ValueError, match='no confidence'):
        probability({'similarity': similarity, 'margin': 0.1}, coefficients)


@pytest.mark.parametrize(
    'wrong',
    [
        None,
        [],
        [['similarity', 1.0]],
        {'similarity': 1.0},
        {**FIT, 'more': 1.0},
        *({**FIT, name: value} for name in FIT for value in (math.nan, math.inf, '1', True, None)),
        {**FIT, 'offset': 2.3},  # a flipped sign: every image would be trusted
        {**FIT, 'offset': 1e300},
        {'similarity': 1000.0, 'margin': 0.0, 'offset': 0.0},  # sure of what is like nothing
        {'similarity': 150.0, 'margin': 0.0, 'offset': -2.0},
        {'similarity': 0.0, 'margin': 1000.0, 'offset': -1.0},
        {'similarity': 200.0, 'margin': 200.0, 'offset': -42.0},  # a step
        {'similarity': 200.0, 'margin': 0.0, 'offset': -21.0},
        {'similarity': 0.0, 'margin': 200.0, 'offset': -3.0},
        {**FIT, 'similarity': -3.1, 'margin': -9.1},  # the less alike, the surer
        {'similarity': 0.0, 'margin': 0.0, 'offset': 0.0},
    ],
)
def test_coefficients_that_no_fit_gives_are_refused(wrong):
    with pytest.raises(ValueError, match='calibration'):
        check_coefficients(wrong)


def test_coefficients_of_a_fit_and_none_are_taken():
    for given in ({}, FIT, EIGHT):
        assert check_coefficients(given) == given


@pytest.mark.parametrize('name', EIGHT)
def test_one_of_eight_coefficients_must_not_be_missing(name: str):
    with pytest.raises(ValueError, match='the calibration must name'):
        check_coefficients({k: v for k, v in EIGHT.items() if k != name})


@pytest.mark.parametrize(
    'wrong',
    [
        *({name: value} for name in EIGHT for value in (math.nan, math.inf, 1e300, '1', True)),
        {'verified_offset': 2.5},  # a flipped sign: every image would be trusted
        {'verified_lead': -20.0, 'verified_agreement': -20.0},  # the better, the less sure
        {'verified_agreement': 200.0},  # sure of an agreement of two hundredths
        {'verified_similarity': 50.0},  # sure of a poor match
        {'verified_margin': 200.0},
        {'verified_more': 1.0},
        {'lead': 1.0},
    ],
    ids=str,
)
def test_coefficients_of_verified_answers_are_held_to_the_same(wrong: dict):
    with pytest.raises(ValueError, match='calibration'):
        check_coefficients({**EIGHT, **wrong})


def test_only_a_verified_match_is_judged_by_the_coefficients_of_verified_ones():
    plain = {'similarity': 0.7, 'margin': 0.1}
    verified = {**plain, 'lead': 2.0, 'agreement': 0.4}
    by_descriptor, by_features = 3.1 * 0.7 + 9.1 * 0.1 - 2.3, 1.4 + 0.3 + 1.6 + 1.6 - 2.5
    for known, coefficients, x in (
        (plain, EIGHT, by_descriptor),
        (verified, EIGHT, by_features),
        (verified, FIT, by_descriptor),
    ):
        assert probability(known, coefficients) == pytest.approx(1 / (1 + math.exp(-x)))
    assert probability(verified, {}) == pytest.approx(0.7)
    with pytest.raises(ValueError, match='no confidence'):
        probability({**verified, 'lead': math.nan}, EIGHT)


@pytest.mark.parametrize('coefficients', [{}, FIT])
@pytest.mark.parametrize('value', [np.nan, np.inf, 1e38])
def test_a_descriptor_that_is_no_vector_matches_nothing(fake_network, coefficients, value: float):
    fake_network.confidence = coefficients
    matcher = Matcher(PlaceMap.build(unit_rows(6, 4), places_along_x(range(6)), fake_network))
    query = np.array([value, value, 0, 0], np.float32)
    with pytest.raises(VprError) as error:
        matcher.match(query)
    assert 'descriptor' in line_of(error)


@pytest.mark.parametrize('value', [np.nan, np.inf, 0.0, 2.0])
def test_no_map_is_made_of_descriptors_that_are_not_of_length_1(fake_network, value: float):
    rows = unit_rows(6, 4)
    rows[3] *= value
    with pytest.raises(VprError) as error:
        PlaceMap.build(rows, places_along_x(range(6)), fake_network)
    assert 'place 3 is not of length 1' in line_of(error)

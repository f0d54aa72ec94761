# SPDX-License-Identifier: Apache-2.0
"""How many of the most similar places are verified, by configuration and for one image."""

from __future__ import annotations

import numpy as np
from conftest import places_along_x, unit_rows
from map_fixtures import LOCAL, local_rows

from ashtkd_ros.maps.place_map import PlaceMap
from ashtkd_ros.network.local_features import Look
from ashtkd_ros.recognition.matcher import Matcher, MatcherConfig

COUNT = 150


def checked(fake_network, verify_top: int, image: int | None = None) -> list[bool]:
    """For each of the places in order of an answer: whether it was verified."""
    fake_network.local = LOCAL
    places, local = places_along_x(np.arange(COUNT) * 50.0), local_rows(COUNT)
    place_map = PlaceMap.build(unit_rows(COUNT, 4), places, fake_network, local=local)
    matcher = Matcher(place_map, MatcherConfig(verify_top=verify_top))
    answer = matcher.answer(Look(unit_rows(1, 4, seed=7)[0], local[0]), COUNT, image)
    assert len({c.place.id for c in answer.candidates}) == COUNT
    assert (
        (answer.matches is not None) == (answer.verify_s > 0) == bool(answer.candidates[0].check)
    )
    return [c.check is not None for c in answer.candidates]


def test_so_many_come_first_and_the_others_as_they_were(fake_network) -> None:
    assert checked(fake_network, 3) == [True] * 3 + [False] * (COUNT - 3)
    assert checked(fake_network, 0) == [False] * COUNT


def test_more_than_the_rivals_of_a_margin_can_be_verified(fake_network) -> None:
    assert checked(fake_network, 100) == [True] * 100 + [False] * (COUNT - 100)
    assert checked(fake_network, COUNT + 1) == [True] * COUNT


def test_for_one_image_another_number_holds(fake_network) -> None:
    assert checked(fake_network, 20, 5) == [True] * 5 + [False] * (COUNT - 5)
    assert checked(fake_network, 20, 0) == [False] * COUNT

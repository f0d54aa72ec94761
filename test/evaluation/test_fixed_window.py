# SPDX-License-Identifier: Apache-2.0
"""The baseline of following: single answers added up along the route."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import places_along_x

from ashtkd_ros.evaluation.fixed_window import FixedWindow
from ashtkd_ros.maps.places import Places
from ashtkd_ros.recognition.following import evidence_of
from ashtkd_ros.recognition.matcher import Answer, Candidate
from ashtkd_ros.recognition.place_graph import PlaceGraph


@pytest.mark.parametrize('speed', [1, 2, -1, 0])
def test_what_agrees_along_the_route_wins(speed: int):
    places = Places.of(places_along_x(2.0 * np.arange(100)))
    rng = np.random.default_rng(0)
    window, right = FixedWindow(PlaceGraph(places, 10.0), 10), []
    for k in range(20):
        true, other = 50 + speed * k, int(rng.integers(0, 100))
        first, second = (other, true) if k % 3 else (true, other)  # mostly the wrong one is first
        answer = Answer(
            [Candidate(places[first], 0.9, 0, 0.5), Candidate(places[second], 0.89, 0, 0.5)]
        )
        seen = evidence_of(answer, np.zeros(3, np.float32), float(k))
        ids, share = window.step(seen, 5)
        right.append(ids[0] == true)
        assert len(ids) == 5 and 0 < share <= 1
    assert all(right[6:])

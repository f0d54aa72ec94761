# SPDX-License-Identifier: Apache-2.0
"""Candidate lists: right ones are known to be right, wrong ones are known to be wrong."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import unit_rows

from tools.training.data.candidate_lists import CANDIDATES, candidate_lists, some_pictures
from tools.training.data.places import TrainingPlaces


def walk(length: int, apart: float) -> TrainingPlaces:
    """A picture a step; it and its neighbours show one place, others from `apart` on another."""
    places = TrainingPlaces()
    for k in range(length):
        near = [i for i in (k, k - 1, k + 1) if 0 <= i < length]
        places.add(near, 'walk', 'walk', (float(k),), apart)
    return places


def lists_of(places: TrainingPlaces, count: int, most: int = 100):
    rows = unit_rows(count, 8)
    return candidate_lists(places, range(count), rows, rows, most)


def test_what_may_be_the_same_place_is_no_candidate():
    found = lists_of(walk(20, apart=5.0), 20)
    assert found
    for row in found:
        right, wrong = row.candidates[row.right], row.candidates[~row.right]
        assert row.query not in row.candidates
        assert (abs(right - row.query) <= 2).all() and len(right)
        assert (abs(wrong - row.query) > 2).all()


def test_places_of_one_tour_are_no_candidates_of_each_other():
    places = TrainingPlaces()
    for k in range(12):
        places.add([2 * k, 2 * k + 1], 'tours', f'tour{k // 4}', (0.0,), np.inf)
    for row in lists_of(places, 24):
        assert {i // 8 for i in row.candidates[~row.right]} == {0, 1, 2} - {row.query // 8}
        assert row.candidates[row.right].tolist() == [row.query ^ 1]


def test_unknown_pictures_and_places_of_one_picture_are_not_asked_for():
    places = TrainingPlaces()
    places.add([0, 1], 'set', 'a')
    for i in range(2, 8):
        places.add([i], 'set', f'{i}')
    places.add([8], 'set', 'set', known=False)
    found = lists_of(places, 9)
    assert {row.query for row in found} == {0, 1}
    assert all(8 not in row.candidates for row in found)
    assert not lists_of(walk(6, apart=np.inf), 6), 'nothing is known to be wrong'


def test_the_most_similar_come_first_and_a_right_one_is_always_there():
    places = TrainingPlaces()
    for k in range(40):
        places.add([2 * k, 2 * k + 1], 'set', f'{k}')
    mapped, queries = unit_rows(80, 8, seed=1), unit_rows(80, 8, seed=2)
    found = candidate_lists(places, range(80), mapped, queries, 100)
    assert len(found) == 80
    for row in found:
        assert len(row.candidates) == CANDIDATES and row.right.any()
        similar = mapped[row.candidates] @ queries[row.query]
        np.testing.assert_allclose(row.similarity, similar, atol=1e-6)
        assert (np.diff(row.similarity[:-1]) <= 0).all()
    assert any(row.right[-1] and row.similarity[-1] < row.similarity[-2] for row in found)


@pytest.mark.parametrize('most', [1, 10])
def test_pictures_are_drawn_by_places(most: int):
    places = walk(30, apart=5.0)
    places.add([40], 'single', 'single')
    chosen = some_pictures(places, most)
    assert most <= len(chosen) <= most + 2 and 40 not in chosen

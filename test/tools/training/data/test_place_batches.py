# SPDX-License-Identifier: Apache-2.0
"""Batches of places: decided by seed and step alone, of places that are certainly different."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import line_of
from small_places import index_set, places_of, walk

from ashtkd_ros.errors import VprError
from tools.training.data.place_batches import PlaceBatches
from tools.training.data.places import TrainingPlace, TrainingPlaces


@pytest.fixture
def places(tmp_path: Path) -> TrainingPlaces:
    """A walk of 60, and 20 single photos."""
    index_set(tmp_path / 'walk', [(f'{i}.png', '') for i in range(60)])
    index_set(tmp_path / 'single', [(f'{i}.png', f'p{i}') for i in range(20)])
    source = {'kind': 'sets', 'path': tmp_path, 'positives': {'walk': 'neighbours'}}
    return places_of([source])


def test_a_batch_is_decided_by_seed_and_step_alone(places: TrainingPlaces):
    draw = PlaceBatches(places, 6, 4, seed=3)
    seventh = PlaceBatches(places, 6, 4, seed=3).batch(7)
    assert [draw.batch(i) for i in range(8)][7] == seventh
    assert draw.batch(6) != seventh != PlaceBatches(places, 6, 4, seed=4).batch(7)


def test_batches_hold_p_places_certainly_different_with_k_views(places: TrainingPlaces):
    draw = PlaceBatches(places, 5, 4, seed=0)
    for step in range(60):
        batch = draw.batch(step)
        drawn = [batch[i][2] for i in range(0, 20, 4)]
        assert len(set(drawn)) == 5
        assert [a for _, _, a in batch] == [a for a in drawn for _ in range(4)]
        at = [places.places[a].at[0] for a in drawn if places.places[a].domain == 'walk']
        assert all(abs(a - b) >= 10 for i, a in enumerate(at) for b in at[:i])
        for place in range(5):
            views = batch[4 * place : 4 * place + 4]
            pictures = places.places[drawn[place]].pictures
            assert {p for p, _, _ in views} == set(pictures)  # different pictures first
            assert len(set(views)) == min(4, 2 * len(pictures))


def test_domains_and_weights_decide_what_is_drawn(places: TrainingPlaces):
    only = PlaceBatches(places, 4, 2, seed=0, domains={'single'})
    drawn = {places.places[a].domain for s in range(20) for _, _, a in only.batch(s)}
    assert drawn == {'single'}
    places.weights['walk'] = 0.01
    draw = PlaceBatches(places, 4, 2, seed=0)
    walks = [places.places[a].domain == 'walk' for s in range(50) for _, _, a in draw.batch(s)]
    assert np.mean(walks) < 0.05
    with pytest.raises(VprError) as error:
        PlaceBatches(places, 4, 2, seed=0, domains={'moon'})
    assert 'domains: no set is named moon; there are single, walk' in line_of(error)
    with pytest.raises(VprError) as error:
        PlaceBatches(places, 40, 2, seed=0, domains={'walk'}).batch(0)
    assert 'no 40 places that are certainly different' in line_of(error)


def test_a_domain_is_a_whole_name_or_a_folder_of_its_path(tmp_path: Path):
    for name in ('cmu8', 'cmu8b'):
        index_set(tmp_path / name, [(f'{i}.png', f'{i}') for i in range(3)])
    day = walk(tmp_path / 'towns' / '21' / 'day', [0, 20, 40])
    sources = [{'kind': 'sets', 'path': tmp_path}, {'kind': 'walks', 'paths': [day]}]
    places = places_of(sources)
    for domain, expected in (('cmu8', 'cmu8'), ('towns', str(tmp_path / 'towns' / '21'))):
        batch = PlaceBatches(places, 2, 2, seed=0, domains={domain}).batch(0)
        assert {places.places[a].domain for _, _, a in batch} == {expected}
    with pytest.raises(VprError) as error:
        PlaceBatches(places, 2, 2, seed=0, domains={'cmu8', 'cmu'})
    assert 'no set is named cmu; there are' in line_of(error)


@pytest.mark.parametrize(
    ('pictures', 'views_of_picture', 'views'),
    [(1, 2, 2), (1, 2, 4), (1, 3, 4), (2, 1, 4), (2, 2, 4), (3, 1, 4), (1, 2, 3), (2, 2, 8)],
)
def test_the_halves_of_a_place_share_no_view(pictures: int, views_of_picture: int, views: int):
    places = TrainingPlaces(places=[TrainingPlace(tuple(range(pictures)), 'd', 'g')])
    draw = PlaceBatches(places, 1, views, seed=0, views_of_picture=views_of_picture)
    seen = set()
    for step in range(20):
        batch = draw.batch(step)
        database, query = set(batch[: views // 2]), set(batch[views // 2 :])
        assert len(batch) == views and not database & query
        seen |= database
    assert len(seen) == pictures * views_of_picture


def test_a_single_view_is_shown_in_both_halves():
    places = TrainingPlaces(places=[TrainingPlace((0,), 'd', 'g')])
    assert PlaceBatches(places, 1, 4, seed=0, views_of_picture=1).batch(0) == [(0, 0, 0)] * 4

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


def pool(known: int, unknown: int, domain: str = 'd') -> TrainingPlaces:
    """Places of one picture each; the last are of unknown place."""
    places = TrainingPlaces()
    for i in range(known + unknown):
        places.add([i], domain, f'{domain}/{i}', known=i < known)
    return places


@pytest.mark.parametrize('views', [2, 3, 4, 5])
def test_a_share_of_a_batch_is_of_unknown_places_in_both_halves(views: int):
    draw = PlaceBatches(pool(30, 60), 8, views, seed=0, unlabelled=0.25)
    seen = set()
    for step in range(20):
        batch = draw.batch(step)
        assert len(batch) == 8 * views and len({p for _, _, p in batch}) == 7
        unknown = [k for k, (_, _, place) in enumerate(batch) if place == -1]
        assert len(unknown) == 2 * views
        assert all((batch[k][0] >= 30) == (k in unknown) for k in range(len(batch)))
        database, query = (
            [batch[k][:2] for k in unknown if (k % views >= views // 2) == q] for q in (0, 1)
        )
        assert {p for p, _ in database} == {p for p, _ in query} and not set(database) & set(query)
        assert len({p for p, _ in database}) == len(database) == 2 * (views // 2)
        seen |= {p for p, _ in database}
    assert len(seen) > 30


def test_where_all_or_no_places_are_unknown_the_batch_is_full_all_the_same():
    cases = (0, 20, 0.25, 4), (20, 0, 0.25, 0), (20, 20, 0.0, 0), (20, 1, 0.5, 0), (20, 3, 0.5, 1)
    for known, unknown, share, expected in cases:
        batch = PlaceBatches(pool(known, unknown), 4, 4, seed=0, unlabelled=share).batch(0)
        assert len(batch) == 16 and sum(place == -1 for _, _, place in batch) == 4 * expected


def similar_places(count: int = 200) -> tuple[TrainingPlaces, np.ndarray]:
    """Places in two domains, in the first the pictures of a walk; descriptors of 5 kinds."""
    places = TrainingPlaces()
    for i in range(count):
        if i < count // 2:
            places.add([i], 'walk', 'walk', (i,), 10)
        else:
            places.add([i], 'tours', f'tour{i % 20}', (0.0,), np.inf)
    rng = np.random.default_rng(0)
    kinds = rng.normal(size=(5, 16))
    vectors = kinds[np.arange(count) // 5 % 5] + 0.3 * rng.normal(size=(count, 16))
    return places, vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def similarity_in_batches(draw: PlaceBatches, vectors: np.ndarray) -> float:
    """The mean similarity of different places of a batch."""
    means = []
    for step in range(30):
        x = vectors[[p for p, _, _ in draw.batch(step)][:: draw.views]]
        means.append((x @ x.T)[~np.eye(len(x), dtype=bool)].mean())
    return float(np.mean(means))


def test_places_that_teachers_find_similar_come_together():
    places, vectors = similar_places()
    by_chance = PlaceBatches(places, 8, 2, seed=0)
    grouped = PlaceBatches(places, 8, 2, seed=0, group=4, descriptors=vectors.astype(np.float16))
    gain = similarity_in_batches(grouped, vectors) - similarity_in_batches(by_chance, vectors)
    assert gain > 0.15
    for step in range(60):
        drawn = [places.places[place] for _, _, place in grouped.batch(step)[::2]]
        at = [a.at[0] for a in drawn if a.domain == 'walk']
        assert all(abs(a - b) >= 10 for i, a in enumerate(at) for b in at[:i])
        tours = [a.group for a in drawn if a.domain == 'tours']
        assert len(set(tours)) == len(tours)  # of one tour no place is another's negative
    assert grouped.batch(3) == PlaceBatches(
        places, 8, 2, 0, group=4, descriptors=vectors.astype(np.float16)
    ).batch(3)
    assert len({place for s in range(60) for _, _, place in grouped.batch(s)}) > 100


def test_unknown_places_come_in_similar_groups_too():
    places, vectors = similar_places()
    unknown = TrainingPlaces()
    for i in range(len(places.places)):
        unknown.add([i], 'd', 'd', known=False)
    by_chance, grouped = (
        similarity_in_batches(
            PlaceBatches(unknown, 4, 2, seed=0, group=group, descriptors=vectors), vectors
        )
        for group in (1, 4)
    )
    assert grouped > by_chance + 0.3

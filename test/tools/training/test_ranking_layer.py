# SPDX-License-Identifier: Apache-2.0
"""Step 5: local features learn to rank, from what the body sees of true revisits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from small_student import SMALL_WITH_LOCAL, small_student, torch

from tools.training import ranking
from tools.training.data.candidate_lists import CandidateList
from tools.training.data.places import TrainingPlaces
from tools.training.data.views import Views
from tools.training.ranking import Gallery, recall, teach_ranking, train_layer

SIDE, TOLD, OTHERS = 4, 32, 10  # channels that tell places apart; wrong candidates of a list


def gallery(network, places: int, seed: int) -> Gallery:
    """Two pictures a place: few channels tell what stands where, the rest is louder and random."""
    rng = np.random.default_rng(seed)
    channels = network.local.project.in_features
    shown = 3 * rng.normal(size=(places, SIDE**2, TOLD))
    pictures = []
    for _ in range(2):
        loud = rng.normal(size=(places, SIDE**2, channels - TOLD))
        pictures.append(torch.from_numpy(np.concatenate([shown, loud], 2)).half())
    lists = []
    for i in range(places):
        others = rng.permutation(np.delete(np.arange(places), i))[:OTHERS]
        rows = np.append(i, others)
        lists.append(CandidateList(i, rows, np.zeros(len(rows), np.float32), rows == i, 'set', i))
    return Gallery(*pictures, lists)


def test_it_learns_what_tells_places_apart():
    network = small_student(config=SMALL_WITH_LOCAL)
    taught, unseen = gallery(network, 60, 0), gallery(network, 60, 1)
    before = recall(network, unseen, unseen.lists)
    body = [p.clone() for p in network.levels.parameters()]
    train_layer(network, taught, taught.lists, 150)
    after = recall(network, unseen, unseen.lists)
    assert before < 75 and after > before + 20, (before, after)
    assert all(torch.equal(a, b) for a, b in zip(body, network.levels.parameters(), strict=True))


def test_one_seed_gives_one_layer():
    weights = []
    for _ in range(2):
        network = small_student(config=SMALL_WITH_LOCAL)
        taught = gallery(network, 20, 0)
        train_layer(network, taught, taught.lists, 5, seed=3)
        weights.append(network.local.project.weight.detach().clone())
    assert torch.equal(*weights)


def revisits(pictures: list[Path]) -> TrainingPlaces:
    places = TrainingPlaces()
    for k, path in enumerate(pictures[:16]):
        places.add(places.take([path, pictures[16 + k]], 'set'), 'set', f'{k}')
    return places


def test_a_layer_that_ranks_no_better_is_not_kept(pictures: list[Path], views: Views, monkeypatch):
    network = small_student(config=SMALL_WITH_LOCAL)
    old = network.local.project.weight.detach().clone()
    found = iter([50.0, 50.0])
    monkeypatch.setattr(ranking, 'recall', lambda *_: next(found))
    assert teach_ranking(network, views, revisits(pictures), 3) == (50.0, 50.0)
    assert torch.equal(network.local.project.weight, old)
    found = iter([50.0, 60.0])
    assert teach_ranking(network, views, revisits(pictures), 3) == (50.0, 60.0)
    assert not torch.equal(network.local.project.weight, old)


def test_without_revisits_nothing_is_taught(pictures: list[Path], views: Views):
    places = TrainingPlaces()
    for k, index in enumerate(places.take(pictures, 'set')):
        places.add([index], 'set', f'{k}')
    network = small_student(config=SMALL_WITH_LOCAL)
    assert teach_ranking(network, views, places, 3) is None

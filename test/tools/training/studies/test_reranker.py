# SPDX-License-Identifier: Apache-2.0
"""The re-ranker: what it may take for wrong, what it learns, what it is written as."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
from small_student import torch

from tools.training.data.places import TrainingPlace
from tools.training.losses.loss_network import LossNetwork
from tools.training.studies.reranker import DrawnViews, maybe_same, pairs_of, train_reranker, write


def test_neighbours_on_a_walk_are_no_wrong_candidates():
    all_places = [TrainingPlace((k,), 'd', 'walk', (float(k),), 2.0) for k in range(3)]
    all_places += [
        TrainingPlace((9,), 'd', 'other', (0.0,), 2.0),
        TrainingPlace((10,), 'd', 'set/a'),
    ]
    rows = torch.tensor([0, 1, 2, 3, 4, 0])
    same = maybe_same(all_places, rows)
    assert same[0].tolist() == [False, True, False, False, False, False]
    assert same[1].tolist() == [True, False, True, False, False, True]
    assert not same[3].any() and not same[4].any()


def test_it_learns_which_dimensions_to_trust(monkeypatch):
    monkeypatch.setattr('tools.training.studies.reranker._STEPS', 150)
    rng = torch.Generator().manual_seed(0)
    places = torch.arange(60).repeat_interleave(4)
    signal = torch.randn(60, 4, generator=rng).repeat_interleave(4, 0)
    noise = 1.5 * torch.randn(240, 4, generator=rng)  # similarity alone counts both alike
    vectors = torch.nn.functional.normalize(torch.cat([signal, noise], dim=1), dim=1)
    query = torch.arange(240) % 2 == 1
    all_places = [TrainingPlace((k,), 'd', f'set/{k}') for k in range(60)]
    network = train_reranker(DrawnViews(vectors, places, query, torch.arange(240)), all_places, 32)
    q, d = vectors[query], vectors[~query]
    right = places[query][:, None] == places[~query]
    similarity = q @ d.T
    with torch.no_grad():
        scores = network(q, d.expand(len(q), -1, -1))
    before, after = (
        right.gather(1, s.argmax(1, keepdim=True)).float().mean() for s in (similarity, scores)
    )
    assert after > before + 0.1


def test_the_very_same_view_is_neither_right_nor_a_candidate():
    drawn = DrawnViews(
        torch.eye(6),
        torch.tensor([0, 0, 0, 1, 1, 2]),
        torch.tensor([False, False, True, True, False, True]),
        torch.tensor(
            [7, 8, 7, 9, 9, 5]
        ),  # the query of place 0 is also in the map; as is place 1's
    )
    all_places = [TrainingPlace((k,), 'd', f'set/{k}') for k in range(3)]
    pairs = pairs_of(drawn, all_places, drawn.query, ~drawn.query)
    assert pairs.positive.tolist() == [[False, True, False]]  # of places 1 and 2 nothing is left
    assert pairs.unsure.tolist() == [[True, False, False]]
    assert pairs.query.tolist() == [drawn.descriptors[2].tolist()]


def test_what_does_not_help_held_out_places_is_not_kept(monkeypatch):
    monkeypatch.setattr('tools.training.studies.reranker._STEPS', 50)
    monkeypatch.setattr('tools.training.studies.reranker.recall_of', lambda *_: 0.5)
    places = torch.arange(20).repeat_interleave(2)
    query = torch.arange(40) % 2 == 1
    vectors = torch.nn.functional.normalize(torch.rand(40, 8), dim=1)
    all_places = [TrainingPlace((k,), 'd', f'set/{k}') for k in range(20)]
    network = train_reranker(DrawnViews(vectors, places, query, torch.arange(40)), all_places, 4)
    assert not network.layers[-1].weight.any()  # the start: by similarity


def test_the_file_scores_as_the_network_for_any_number(tmp_path: Path):
    network = LossNetwork(8, 16).eval()
    torch.nn.init.normal_(network.layers[-1].weight)

    class Student:
        dimensions, hash = 8, 'abc'

    write(network, Student(), tmp_path / 'r.onnx')
    session = onnxruntime.InferenceSession(str(tmp_path / 'r.onnx'))
    assert session.get_modelmeta().custom_metadata_map['student'] == 'abc'
    for queries, candidates in ((1, 20), (5, 3)):
        q, d = torch.rand(queries, 8), torch.rand(queries, candidates, 8)
        inputs = {'query': q.numpy(), 'candidates': d.numpy()}
        with torch.no_grad():
            expected = network(q, d).numpy()
        np.testing.assert_allclose(session.run(['score'], inputs)[0], expected, atol=1e-4)

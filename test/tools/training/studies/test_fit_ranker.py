# SPDX-License-Identifier: Apache-2.0
"""The ranking network: starts as the vote, learns where it is wrong, ships only if better."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import onnxruntime
import pytest
from conftest import line_of
from small_student import torch

from ashtkd_ros.errors import VprError
from ashtkd_ros.network.local_features import LocalShape
from ashtkd_ros.recognition.verification import verify
from tools.training.data.candidate_lists import CandidateList
from tools.training.data.places import TrainingPlaces
from tools.training.networks.ranker import Ranker, list_loss
from tools.training.studies.fit_ranker import (
    _refuse_evaluation,
    read_lists,
    train_ranker,
    verdict,
    write_ranker,
)

GRID, CHANNELS, COUNT = (4, 4), 8, 6
P = GRID[0] * GRID[1]


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def many(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return unit(rng.normal(size=(*shape, CHANNELS)))


class Row(NamedTuple):
    """A query's local features (P, L), its candidates' (K, P, L), similarity (K,), right (K,)."""

    local: np.ndarray
    candidates: np.ndarray
    similarity: np.ndarray
    right: np.ndarray


def misleading(rng: np.random.Generator) -> Row:
    """The right candidate shows the query's left half, exactly; a wrong one all of it, vaguely.

    The vote counts all matches; the similarity of each tells the truth.
    """
    query, candidates = many(rng, P), many(rng, COUNT, P)
    left = np.arange(P) % GRID[1] < 2
    candidates[0, left] = query[left]
    candidates[1] = unit(query + 0.12 * rng.normal(size=query.shape))
    order = rng.permutation(COUNT)
    right = order == 0
    return Row(query, candidates[order], np.zeros(COUNT, np.float32), right)


def gallery(rows: list[Row]) -> tuple[list, list, list[CandidateList]]:
    """Looks as a robot has them, int8, and the lists of these rows."""
    look = lambda x: SimpleNamespace(local=np.rint(127 * x).astype(np.int8))  # noqa: E731
    mapped = [look(c) for row in rows for c in row.candidates]
    lists = [
        CandidateList(i, COUNT * i + np.arange(COUNT), row.similarity, row.right, 'set', i)
        for i, row in enumerate(rows)
    ]
    return mapped, [look(row.local) for row in rows], lists


def scores(network: Ranker, row: Row) -> np.ndarray:
    tensors = map(torch.from_numpy, row[:3])
    with torch.no_grad():
        return network(*tensors).numpy()


def hits(network: Ranker, rows: list[Row]) -> float:
    return np.mean([row.right[scores(network, row).argmax()] for row in rows])


def test_untrained_it_ranks_as_the_vote():
    rng = np.random.default_rng(0)
    local = np.rint(127 * many(rng, P)).astype(np.int8)
    candidates = np.rint(127 * many(rng, COUNT, P)).astype(np.int8)
    candidates[2, :8] = local[:8]
    similarity = rng.random(COUNT, dtype=np.float32)
    vote = verify(local, candidates, similarity, GRID).scores
    features = local.astype(np.float32) / 127, candidates.astype(np.float32) / 127
    row = Row(*features, similarity, np.zeros(COUNT, bool))
    np.testing.assert_allclose(scores(Ranker(GRID), row), vote, atol=1e-3)


def test_it_learns_what_the_vote_gets_wrong():
    rng = np.random.default_rng(1)
    network = Ranker(GRID)
    taught, unseen = ([misleading(rng) for _ in range(n)] for n in (200, 100))
    before = hits(network, unseen)
    train_ranker(network, read_lists(network, *gallery(taught)), 300)
    assert before < 0.7 and hits(network, unseen) > before + 0.15


def test_a_list_without_a_right_answer_teaches_nothing():
    rng = np.random.default_rng(2)
    network = Ranker(GRID)
    with pytest.raises(VprError, match='no place has two pictures'):
        read_lists(network, [], [], [])
    kept = read_lists(network, *gallery([misleading(rng), misleading(rng)]))
    nothing = torch.zeros_like(kept.right)
    loss = list_loss(network, kept.pairs.float(), kept.similarity, nothing, kept.known)
    loss.backward()
    assert loss.item() == 0 and not any(p.grad.any() for p in network.parameters())


def test_a_mirrored_image_has_the_same_scores():
    row = misleading(np.random.default_rng(3))
    network = Ranker(GRID)
    torch.nn.init.normal_(network.last.weight)
    turn = np.arange(P).reshape(GRID)[:, ::-1].ravel()
    mirrored = Row(row.local[turn], row.candidates[:, turn], row.similarity, row.right)
    np.testing.assert_allclose(scores(network, row), scores(network, mirrored), atol=1e-4)


def test_the_file_scores_as_the_network_for_any_number(tmp_path: Path):
    network = Ranker(GRID).eval()
    torch.nn.init.normal_(network.last.weight)
    student = SimpleNamespace(local=LocalShape(GRID, CHANNELS), hash='abc')
    write_ranker(network, student, tmp_path / 'r.onnx')
    session = onnxruntime.InferenceSession(str(tmp_path / 'r.onnx'))
    assert session.get_modelmeta().custom_metadata_map['student'] == 'abc'
    row = misleading(np.random.default_rng(4))
    fed = {'query': row.local, 'candidates': row.candidates, 'similarity': row.similarity}
    found = session.run(['score'], fed)[0]
    np.testing.assert_allclose(found, scores(network, row), atol=1e-3)


@pytest.mark.parametrize(
    'found, fault',
    [
        ({'a': (90.0, 91.0), 'b': (80.0, 80.0)}, ''),
        ({'a': (90.0, 90.0), 'b': (80.0, 80.0)}, 'the mean changes by +0.00 points'),
        ({'a': (90.0, 88.5), 'b': (80.0, 85.0)}, 'a loses 1.5 points'),
        ({'a': (90.0, 89.0), 'b': (80.0, 85.0)}, ''),
    ],
)
def test_it_ships_only_where_it_beats_the_vote(found, fault):
    assert verdict(found) == fault


def test_it_does_not_learn_from_the_towns_that_it_is_measured_by():
    places = TrainingPlaces()
    places.add([0, 1], 'runs/towns/town22', 'runs/towns/town22')
    _refuse_evaluation(places)
    places.add([2, 3], 'runs/towns/town21', 'runs/towns/town21')
    with pytest.raises(VprError) as error:
        _refuse_evaluation(places)
    assert 'runs/towns/town21: is for evaluation' in line_of(error)

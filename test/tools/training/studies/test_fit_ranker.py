# SPDX-License-Identifier: Apache-2.0
"""The ranking network: starts as the vote, learns where it is wrong, ships only if better."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest
from conftest import line_of
from small_student import torch

from ashtkd_ros.errors import VprError
from ashtkd_ros.network.local_features import LocalShape
from ashtkd_ros.recognition.verification import verify
from tools.training.data.candidate_lists import CandidateList, _list, _relations
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


def misleading(rng: np.random.Generator, has_right: bool = True) -> CandidateList:
    """The right candidate shows the query's left half, exactly; a wrong one all of it, vaguely.

    The vote counts all matches; the similarity of each tells the truth.
    """
    query, candidates = many(rng, P), many(rng, COUNT, P)
    left = np.arange(P) % GRID[1] < 2
    candidates[0, left] = query[left]
    candidates[1] = unit(query + 0.12 * rng.normal(size=query.shape))
    right = np.zeros(COUNT, bool)
    right[0] = has_right
    order = rng.permutation(COUNT)
    zero = np.zeros(COUNT, np.float32)
    return CandidateList(query, candidates[order], zero, right[order], 'set')


def scores(network: Ranker, row: CandidateList) -> np.ndarray:
    tensors = map(torch.from_numpy, (row.local, row.candidates, row.similarity))
    with torch.no_grad():
        return network(*tensors).numpy()


def hits(network: Ranker, rows: list[CandidateList]) -> float:
    return np.mean([row.right[scores(network, row).argmax()] for row in rows])


def test_untrained_it_ranks_as_the_vote():
    rng = np.random.default_rng(0)
    local = np.rint(127 * many(rng, P)).astype(np.int8)
    candidates = np.rint(127 * many(rng, COUNT, P)).astype(np.int8)
    candidates[2, :8] = local[:8]
    similarity = rng.random(COUNT, dtype=np.float32)
    vote = verify(local, candidates, similarity, GRID).scores
    row = CandidateList(
        local.astype(np.float32) / 127,
        candidates.astype(np.float32) / 127,
        similarity,
        np.zeros(COUNT, bool),
        'set',
    )
    np.testing.assert_allclose(scores(Ranker(GRID), row), vote, atol=1e-3)


def test_it_learns_what_the_vote_gets_wrong():
    rng = np.random.default_rng(1)
    network = Ranker(GRID)
    taught, unseen = ([misleading(rng) for _ in range(n)] for n in (200, 100))
    before = hits(network, unseen)
    train_ranker(network, read_lists(network, taught), 300)
    assert before < 0.7 and hits(network, unseen) > before + 0.15


def test_a_list_without_a_right_answer_teaches_nothing():
    rng = np.random.default_rng(2)
    network = Ranker(GRID)
    kept = read_lists(network, [misleading(rng), misleading(rng, False), misleading(rng)])
    assert len(kept.weight) == 2
    with pytest.raises(VprError, match='no list has a right'):
        read_lists(network, [misleading(rng, False)])
    nothing = torch.zeros_like(kept.right)
    loss = list_loss(network, kept.pairs.float(), kept.similarity, nothing, kept.known)
    loss.backward()
    assert loss.item() == 0 and not any(p.grad.any() for p in network.parameters())


def test_a_mirrored_image_has_the_same_scores():
    row = misleading(np.random.default_rng(3))
    network = Ranker(GRID)
    torch.nn.init.normal_(network.last.weight)
    turn = np.arange(P).reshape(GRID)[:, ::-1].ravel()
    mirrored = CandidateList(
        row.local[turn], row.candidates[:, turn], row.similarity, row.right, row.domain
    )
    np.testing.assert_allclose(scores(network, row), scores(network, mirrored), atol=1e-4)


def test_candidates_are_neither_the_query_nor_unsure():
    members = [('a/0', 0, ''), ('a/0', 1, ''), ('a/1', 2, ''), ('b/0', 3, ''), ('', 4, '')]
    right, unsure = _relations(members, 'place', 1.0)
    assert right[0].tolist() == [False, True, False, False, False]
    assert unsure[0].tolist() == [False, False, True, False, False]
    assert not right[4].any() and not unsure[4].any()
    walk = [('w', float(k), '') for k in range(6)]
    right, unsure = _relations(walk, 'neighbours', 1.0)
    assert right[0].tolist() == [False, True, False, False, False, False]
    assert unsure[0].tolist() == [False, False, True, True, False, False]
    looks = [
        SimpleNamespace(descriptor=np.eye(6, dtype=np.float32)[k], local=np.zeros((P, 2), np.int8))
        for k in range(6)
    ]
    excluded = np.array([True, False, False, False, False, False])
    (found,) = _list(looks[0], looks, right[0], excluded, 'w')
    assert len(found.candidates) == 5 and found.right.sum() == 1


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


def test_it_does_not_learn_from_the_towns_that_it_is_measured_by(tmp_path: Path):
    (tmp_path / 'town22').mkdir()
    _refuse_evaluation(tmp_path)
    (tmp_path / 'town21').mkdir()
    with pytest.raises(VprError) as error:
        _refuse_evaluation(tmp_path)
    assert 'holds town21, which is for evaluation' in line_of(error)

# SPDX-License-Identifier: Apache-2.0
"""Step 6 against a plain reference with loops, and against pytorch-metric-learning."""

from __future__ import annotations

import math

import pytest
from small_losses import unit
from small_student import torch

from tools.training.losses.metric import multi_similarity
from tools.training.losses.ranking import same_place


def loss_of_batch(x: torch.Tensor, places: torch.Tensor, **constants: float) -> torch.Tensor:
    """The loss of a batch with itself; views of unknown place, -1, are in no pair."""
    known = (places[:, None] >= 0) & (places >= 0)
    same, own = same_place(places, places), torch.eye(len(places), dtype=torch.bool)
    return multi_similarity(x @ x.T, same & ~own, known & ~same, **constants)


def plain_multi_similarity(x: torch.Tensor, places: list[int], eps: float = 0.1) -> torch.Tensor:
    """Wang et al. (CVPR 2019), equations 4 to 8 and 15, with loops; alpha 1, beta 50, lambda 0."""
    total = x.sum() * 0
    for i, place in enumerate(places):
        similarities = [(x[i] * x[j]).sum() for j in range(len(places))]
        right = [s for j, s in enumerate(similarities) if j != i and places[j] == place != -1]
        wrong = [s for s, p in zip(similarities, places, strict=True) if -1 != p != place != -1]
        hard_right = [s for s in right if wrong and s < max(wrong) + eps]
        hard_wrong = [s for s in wrong if right and s > min(right) - eps]
        if hard_right:
            total = total + torch.log(1 + sum(torch.exp(-s) for s in hard_right))
        if hard_wrong:
            total = total + torch.log(1 + sum(torch.exp(50 * s) for s in hard_wrong)) / 50
    return total / sum(place != -1 for place in places)


def test_multi_similarity_and_its_gradient_are_the_papers():
    places = [0, 0, 0, 1, 1, 2, -1, -1]
    for seed in range(5):
        ours, plain = unit(8, 4, seed), unit(8, 4, seed)
        a = loss_of_batch(ours, torch.tensor(places))
        b = plain_multi_similarity(plain, places)
        assert float(a) == pytest.approx(float(b))
        a.backward()
        b.backward()
        torch.testing.assert_close(ours.grad, plain.grad)


def test_multi_similarity_counts_from_its_base():
    pair = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.8, 0.6]], dtype=torch.float64)
    loss = loss_of_batch(pair, torch.tensor([0, 0, 1]), base=0.5)
    right = 2 * math.log1p(math.exp(-(0.6 - 0.5)))
    wrong = sum(math.log1p(math.exp(50 * (s - 0.5))) / 50 for s in (0.8, 0.96))
    assert float(loss) == pytest.approx((right + wrong) / 3)


def library_loss(descriptors: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """The loss with its miner of pytorch-metric-learning; skips where that is not installed."""
    reason = 'pytorch-metric-learning is not installed: see tools/requirements/training.txt'
    pytest.importorskip('pytorch_metric_learning', reason=reason)
    from pytorch_metric_learning import distances, losses, miners

    dot = distances.DotProductSimilarity(normalize_embeddings=False)
    miner = miners.MultiSimilarityMiner(epsilon=0.1, distance=dot)
    loss = losses.MultiSimilarityLoss(alpha=1.0, beta=50.0, base=0.0, distance=dot)
    return loss(descriptors, places, miner(descriptors, places))


@pytest.mark.parametrize('seed', range(6))
@pytest.mark.parametrize('places', [[0, 0, 0, 1, 1, 1, 2, 2], [0, 0, 1, 2, 3, 4, 5, 6], [0] * 8])
def test_multi_similarity_and_its_gradient_are_those_of_the_library(places: list[int], seed: int):
    ours, theirs, labels = unit(8, 4, seed), unit(8, 4, seed), torch.tensor(places)
    a, b = loss_of_batch(ours, labels), library_loss(theirs, labels)
    torch.testing.assert_close(a, b)
    a.backward()
    b.backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_where_we_mine_no_pair_the_library_mines_none():
    # Alike within a place and far from the other one: there is nothing to learn.
    apart = torch.eye(4, dtype=torch.float64)[[0, 0, 1, 1]].requires_grad_()
    labels = torch.tensor([0, 0, 1, 1])
    assert float(loss_of_batch(apart, labels)) == 0.0
    assert float(library_loss(apart, labels)) == 0.0


def test_the_memory_counts_as_further_pairs_as_in_the_librarys_cross_batch_memory():
    from pytorch_metric_learning import distances, losses, miners

    dot = distances.DotProductSimilarity(normalize_embeddings=False)
    miner = miners.MultiSimilarityMiner(epsilon=0.1, distance=dot)
    inner = losses.MultiSimilarityLoss(alpha=1.0, beta=50.0, base=0.0, distance=dot)
    library = losses.CrossBatchMemory(inner, embedding_size=4, memory_size=12, miner=miner)
    library.embedding_memory = library.embedding_memory.double()
    old, old_places = unit(4, 4, 7).detach(), torch.tensor([0, 3, 1, 5])
    library(old, old_places)
    ours, theirs, places = unit(6, 4), unit(6, 4), torch.tensor([0, 0, 1, 1, 2, 2])
    both = torch.cat([ours, old])
    every = torch.cat([places, old_places])
    same, own = same_place(places, every), torch.eye(6, 10, dtype=torch.bool)
    a, b = multi_similarity(ours @ both.T, same & ~own, ~same), library(theirs, places)
    torch.testing.assert_close(a, b)
    alone = loss_of_batch(ours, places)
    assert abs(float(a - alone)) > 1e-3

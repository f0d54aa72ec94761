# SPDX-License-Identifier: Apache-2.0
"""Step 5: pairs that are ranked, and the network that learns to rank them."""

from __future__ import annotations

from small_student import torch

from tools.training.losses.loss_network import LossNetwork, ranking_network_loss, top_pairs
from tools.training.losses.ranking import same_place

pytest_plugins = ['loss_fixtures']
F = torch.nn.functional


def test_top_pairs_keep_the_positives_and_their_order(query, database, positive):
    similarity = (query @ database.T).detach()
    pairs = top_pairs(similarity, positive, 3)
    for i in range(4):
        kept = pairs[i].tolist()
        values = [float(similarity[i, j]) for j in kept]
        assert values == sorted(values, reverse=True) and len(set(kept)) == 3
        right = [j for j in range(6) if positive[i, j]]
        rest = sorted((j for j in range(6) if j not in right), key=lambda j: -similarity[i, j])
        assert set(kept) == set(right + rest[: 3 - len(right)])
    assert top_pairs(similarity, positive, 50).shape == (4, 6)


def test_ranking_network_starts_as_the_similarity_and_learns_to_beat_it():
    torch.manual_seed(0)
    size, network = 8, LossNetwork(8, 16)
    place = torch.arange(12)
    # The place is told by the last four dimensions; the first four, louder, are noise
    signal = torch.randn(12, 4)

    def views() -> torch.Tensor:
        return F.normalize(torch.cat([2.0 * torch.randn(12, 4), signal], dim=1), dim=1)

    q, d = views(), views()
    scores = network(q, d.expand(12, 12, size))
    assert torch.equal(scores.argsort(1), (q @ d.T).argsort(1))
    positive = same_place(place, place)
    optimiser = torch.optim.Adam(network.parameters(), 1e-2)
    for _ in range(300):
        loss = ranking_network_loss(network, views(), views(), positive, 12)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    by_network = by_similarity = 0
    for _ in range(20):
        q, d = views(), views()
        by_network += int((network(q, d.expand(12, 12, size)).argmax(1) == place).sum())
        by_similarity += int(((q @ d.T).argmax(1) == place).sum())
    assert by_network > 1.2 * by_similarity


def test_ranking_network_teaches_both_branches(query, database, positive):
    network = LossNetwork(8, 16).double()
    ranking_network_loss(network, query, database, positive, 4).backward()
    assert query.grad.abs().sum() > 0 and database.grad.abs().sum() > 0
    assert network.layers[-1].weight.grad.abs().sum() > 0


def test_ranking_network_loss_is_the_mean_over_queries_with_a_positive(query, database, positive):
    network = LossNetwork(8, 16).double()
    torch.nn.init.normal_(network.layers[-1].weight)
    terms = []
    for i in range(3):  # the fourth has no positive
        scores = [network(query[i : i + 1], d[None, None])[0, 0] for d in database]
        right = sum(s.exp() for s, p in zip(scores, positive[i], strict=True) if p)
        terms.append(-(right / sum(s.exp() for s in scores)).log())
    expected = sum(terms) / 3
    loss = ranking_network_loss(network, query, database, positive, 6)
    torch.testing.assert_close(loss, expected)
    for ours, plain in zip(
        torch.autograd.grad(loss, (query, database)),
        torch.autograd.grad(expected, (query, database)),
        strict=True,
    ):
        torch.testing.assert_close(ours, plain)

# SPDX-License-Identifier: Apache-2.0
"""Local features learn to rank: the robot's score of the right view shall be the best."""

from __future__ import annotations

import pytest
from small_student import torch

from tools.training.losses.relations import KnownViews, Relations, relations
from tools.training.losses.votes import vote_loss

SHARPNESS = torch.tensor(2.0)


def known(places: list[int], query: torch.Tensor) -> Relations:
    numbers = torch.tensor(places)
    views = KnownViews(torch.eye(len(places)), [], numbers, torch.arange(len(places)), numbers)
    return relations(views, views.rows(query & ~query), query)


def views(places: list[int], seed: int = 0) -> torch.Tensor:
    """Local features (B, 16, 8) of views; those of one place are nearly the same."""
    draw = torch.Generator().manual_seed(seed)
    scenes = torch.randn(max(places) + 1, 16, 8, generator=draw)
    noise = torch.randn(len(places), 16, 8, generator=draw)
    return torch.nn.functional.normalize(scenes[places] + 0.3 * noise, dim=2)


PLACES = [0, 0, 1, 1, 2, 2, 3, 3]
QUERY = torch.tensor([False, True] * 4)


def loss_of(local: torch.Tensor, places: list[int], similarity: float = 0.5) -> float:
    same = torch.full((len(places),) * 2, similarity)
    return float(vote_loss(local, same, known(places, QUERY), QUERY, SHARPNESS))


def test_features_of_the_right_place_have_less_loss_than_those_of_another():
    swapped = [0, 1, 1, 0, 2, 3, 3, 2]  # what the queries show is elsewhere
    assert loss_of(views(PLACES), PLACES) < 0.5 < loss_of(views(swapped), PLACES)


def test_what_is_not_certainly_elsewhere_is_no_rival():
    local = views([0, 0, 0, 1, 1, 1, 2, 2])
    relation = known(PLACES, QUERY)
    certain = vote_loss(local, torch.ones(8, 8), relation, QUERY, SHARPNESS)
    relation.negative[1, 2] = relation.negative[1, 4] = False
    fewer = vote_loss(local, torch.ones(8, 8), relation, QUERY, SHARPNESS)
    assert fewer != certain


@pytest.mark.parametrize('places', [[-1] * 8, [0] * 8, [0, 0, 0, 0, 1, 1, 1, 1]])
def test_without_a_list_there_is_nothing_to_learn(places: list[int]):
    local = views([max(p, 0) for p in places]).requires_grad_()
    relation = known(places, QUERY)
    relation.negative[:, [0, 4]] = False  # of two places one wrong view is left, too few
    loss = vote_loss(local, torch.ones(8, 8), relation, QUERY, SHARPNESS)
    loss.backward()
    assert loss == 0
    assert not local.grad.any()


def test_a_layer_that_learns_by_it_ranks_better():
    """What tells places apart is drowned by what does not; the layer learns to look past it."""
    draw = torch.Generator().manual_seed(1)
    seen = torch.cat([views(PLACES), 3 * torch.randn(8, 16, 8, generator=draw)], dim=2)
    layer = torch.nn.Linear(16, 8, bias=False)
    torch.nn.init.normal_(layer.weight, std=0.3, generator=draw)
    optimiser, losses = torch.optim.Adam(layer.parameters(), 0.03), []
    for _ in range(60):
        local = torch.nn.functional.normalize(layer(seen), dim=2)
        loss = vote_loss(local, torch.ones(8, 8), known(PLACES, QUERY), QUERY, SHARPNESS)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]

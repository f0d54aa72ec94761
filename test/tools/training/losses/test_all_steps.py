# SPDX-License-Identifier: Apache-2.0
"""What holds for every step: right gradients, and nothing where there is no positive."""

from __future__ import annotations

from small_losses import D_PLACE, Q_PLACE, salient_maps, unit
from small_student import torch

from tools.training.losses.adaptive_weights import adaptive_weights, gate_loss, mean_weights
from tools.training.losses.guidance import descriptor_guidance, map_guidance, salient_guidance
from tools.training.losses.hard_labels import hard_loss
from tools.training.losses.matches import known_points, match_loss
from tools.training.losses.metric import multi_similarity
from tools.training.losses.ranking import ranking_loss
from tools.training.losses.soft_labels import soft_loss

pytest_plugins = ['loss_fixtures']
ALL = torch.ones(4, 6, dtype=torch.bool)
NONE = ~ALL


def test_gradients_are_right(query, database, teachers, positive):
    weights = mean_weights(teachers).double()
    partners, none = torch.tensor([[1, -1, 0, 1]] * 2), torch.zeros(2, 2) > 0
    points = known_points(torch.tensor([0]), torch.tensor([1]), partners[:1])
    functions = {
        'ranking': lambda q: ranking_loss(q @ database.T, positive, 0.2).sum(),
        'guidance': lambda q: descriptor_guidance([q], [unit(4, seed=5)], weights[:, :1]),
        'hard': lambda q: hard_loss(q @ database.T, ALL, Q_PLACE, D_PLACE, 0.2),
        'salient': lambda m: salient_guidance(
            salient_maps(m, 2),
            salient_maps(unit(4, 32, 5), 4),
            partners.repeat(2, 1),
            weights[:, 0],
        ),
        'maps': lambda m: map_guidance(
            [m.view(2, 4, 4)], [unit(8, 4, 3).view(2, 4, 4)], partners, weights[:2, :1]
        ),
        'match': lambda m: match_loss(m.view(2, 4, 4), *points, none, 0.2),
        'gate': lambda w: gate_loss(w[:, :3], teachers, positive, ALL, 0.2),
    }
    for function in functions.values():
        assert torch.autograd.gradcheck(function, (query,))


def test_without_any_positive_everything_is_finite_and_zero(query, database, teachers):
    features, no_pairs = query.view(2, 4, 4), torch.zeros(0, dtype=torch.int64)
    points = known_points(no_pairs, no_pairs, torch.zeros(0, 4, dtype=torch.int64))
    unknown = torch.full((2, 4), -1)
    similarity = query @ database.T
    losses = [
        ranking_loss(similarity, NONE, 0.1).sum(),
        hard_loss(similarity, ALL, torch.full((4,), -1), torch.full((6,), -3), 0.1),
        soft_loss(similarity, teachers[0], NONE, NONE, 1.0),
        multi_similarity(similarity, NONE, NONE),
        match_loss(features, *points, torch.zeros(2, 2) > 0, 0.1),
        map_guidance([features], [features.detach()], unknown, torch.ones(2, 1)),
    ]
    for loss in losses:
        assert loss.item() == 0.0
        loss.backward(retain_graph=True)
    assert query.grad.isfinite().all() and not query.grad.any()
    weights = adaptive_weights(teachers, NONE, ALL, 0.1, 0.5)
    torch.testing.assert_close(weights, torch.full_like(weights, 1 / 3))

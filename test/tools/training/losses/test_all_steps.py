# SPDX-License-Identifier: Apache-2.0
"""What holds for every step: right gradients, and nothing where there is no positive."""

from __future__ import annotations

from small_losses import D_PLACE, Q_PLACE, salient_maps, unit
from small_student import torch

from tools.training.losses.adaptive_weights import adaptive_weights, gate_loss, mean_weights
from tools.training.losses.guidance import descriptor_guidance, salient_guidance
from tools.training.losses.hard_labels import hard_loss
from tools.training.losses.loss_network import LossNetwork, ranking_network_loss
from tools.training.losses.ranking import ranking_loss
from tools.training.losses.soft_labels import soft_loss

pytest_plugins = ['loss_fixtures']


def test_gradients_are_right(query, database, teachers, positive):
    weights = mean_weights(teachers).double()
    functions = {
        'soft': lambda q: soft_loss(q, database, teachers, weights, 0.2),
        'ranking': lambda q: ranking_loss(q @ database.T, positive, 0.2).sum(),
        'guidance': lambda q: descriptor_guidance([q], [unit(4, seed=5)], weights[:, :1]),
        'hard': lambda d: hard_loss(unit(4), d, D_PLACE[:4], Q_PLACE, 0.2),
        'salient': lambda m: salient_guidance(
            salient_maps(m, 2), salient_maps(unit(4, 32, 5), 4), weights[:, 0]
        ),
        'gate': lambda w: gate_loss(w[:, :3], teachers, positive, 0.2),
    }
    for function in functions.values():
        assert torch.autograd.gradcheck(function, (query,))


def test_without_any_positive_everything_is_finite_and_zero(query, database, teachers):
    nobody, empty = torch.full((4,), -1), torch.zeros(4, 6, dtype=torch.bool)
    losses = [
        ranking_loss(query @ database.T, empty, 0.1).sum(),
        hard_loss(query, database, torch.full((6,), -1), nobody, 0.1),
        ranking_network_loss(LossNetwork(8, 4).double(), query, database, empty, 3),
    ]
    for loss in losses:
        assert loss.item() == 0.0
        loss.backward()
    assert query.grad.isfinite().all() and not query.grad.any()
    weights = adaptive_weights(teachers, empty, 0.1, 0.5)
    torch.testing.assert_close(weights, torch.full_like(weights, 1 / 3))

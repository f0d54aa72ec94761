# SPDX-License-Identifier: Apache-2.0
"""Step 1: who has the weight, and what the learned gate is taught."""

from __future__ import annotations

import math

import pytest
from small_losses import softmax, unit
from small_student import torch

from tools.training.losses.adaptive_weights import (
    LearnedGate,
    adaptive_weights,
    gate_loss,
    mean_weights,
    standardised,
)
from tools.training.losses.ranking import ranking_loss

pytest_plugins = ['loss_fixtures']
ALL = torch.ones(4, 6, dtype=torch.bool)


def test_weights_follow_each_teachers_own_loss(teachers, positive):
    weights = adaptive_weights(teachers, positive, ALL, 0.1, 0.5)
    for i in range(4):
        losses = [float(ranking_loss(t, positive, 0.1)[i]) for t in teachers]
        expected = softmax([-loss / 0.5 for loss in losses])
        assert weights[i].tolist() == pytest.approx(expected)
    assert weights[3].tolist() == pytest.approx([1 / 3] * 3)


def test_one_teacher_has_all_the_weight_and_twins_share_it(teachers, positive):
    alone = adaptive_weights(teachers[:1], positive, ALL, 0.1, 0.5)
    assert torch.equal(alone, torch.ones(4, 1, dtype=alone.dtype))
    twins = adaptive_weights(teachers[[0, 0]], positive, ALL, 0.1, 0.5)
    assert torch.equal(twins, torch.full((4, 2), 0.5, dtype=twins.dtype))
    mean = mean_weights(teachers)
    assert torch.equal(mean, torch.full_like(mean, 1 / 3))


def test_a_teacher_that_is_always_wrong_loses_its_weight(positive):
    right = positive[:3].double()
    both = torch.stack([right, -right])
    shares = [
        float(adaptive_weights(both, positive[:3], ALL[:3], 0.1, tau_w)[:, 1].max())
        for tau_w in (10.0, 2.0, 0.5)
    ]
    assert shares == sorted(shares, reverse=True) and shares[-1] < 1e-3


def test_the_gate_starts_fair():
    weights = LearnedGate(8, 3)(unit(4).float())
    torch.testing.assert_close(weights, torch.full((4, 3), 1 / 3))


def test_gate_loss_is_the_ranking_of_the_mixed_teacher(teachers, positive):
    weights = unit(4, 3).detach().softmax(1)
    loss = gate_loss(weights, teachers, positive, ALL, 0.2)
    terms = []
    for i in range(3):  # the fourth has no positive
        mixed = [sum(float(weights[i, k] * teachers[k, i, j]) for k in range(3)) for j in range(6)]
        mass = softmax([m / 0.2 for m in mixed])
        right = sum(m for m, p in zip(mass, positive[i], strict=True) if p)
        terms.append(-math.log(right))
    assert float(loss) == pytest.approx(sum(terms) / 3)


def test_a_view_that_is_no_candidate_does_not_count(teachers, positive):
    candidates = ALL.clone()
    candidates[:, 4:] = False
    few = adaptive_weights(teachers, positive, candidates, 0.1, 0.5)
    cut = adaptive_weights(teachers[..., :4], positive[:, :4], ALL[:, :4], 0.1, 0.5)
    torch.testing.assert_close(few, cut)


def test_a_loud_teacher_does_not_drown_a_quiet_one():
    torch.manual_seed(0)
    noise = torch.randn(2, 40, 40)
    right = torch.eye(40, dtype=torch.bool)
    quiet = 0.5 + 0.01 * (noise[0] + 6.0 * right)  # always right, in a narrow range
    loud = 1.0 * noise[1]  # always wrong, in a wide one
    scales = [(0.5, 0.01), (0.0, 1.0)]
    as_they_are = (quiet + loud).argmax(1) == right.int().argmax(1)
    both = [standardised(s, *scale) for s, scale in zip((quiet, loud), scales, strict=True)]
    measured = sum(both).argmax(1) == right.int().argmax(1)
    assert as_they_are.float().mean() < 0.2 and measured.float().mean() > 0.9
    weights = adaptive_weights(torch.stack(both), right, torch.ones_like(right), 1.0, 0.5)
    assert weights[:, 0].min() > 0.9

# SPDX-License-Identifier: Apache-2.0
"""Step 2: distillation with the mixed teacher, through the query branch alone."""

from __future__ import annotations

import math

import pytest
from small_losses import dot, softmax
from small_student import torch

from tools.training.losses.adaptive_weights import adaptive_weights, mean_weights
from tools.training.losses.soft_labels import soft_loss

pytest_plugins = ['loss_fixtures']


def test_soft_loss_is_distillation_with_the_mixed_teacher(query, database, teachers, positive):
    weights = adaptive_weights(teachers, positive, 0.1, 0.5)
    loss = soft_loss(query, database, teachers, weights, 0.3)
    expected = 0.0
    for i in range(4):
        mixed = [sum(float(weights[i, k] * teachers[k, i, j]) for k in range(3)) for j in range(6)]
        p = softmax([m / 0.3 for m in mixed])
        s = softmax([dot(query[i], database[j]) / 0.3 for j in range(6)])
        expected += sum(a * math.log(a / b) for a, b in zip(p, s, strict=True)) / 4
    assert float(loss) == pytest.approx(0.3**2 * expected)
    loss.backward()
    assert query.grad.abs().sum() > 0 and database.grad is None


def test_a_student_that_agrees_with_its_teacher_is_left_alone(query, database):
    similarity = (query @ database.T).detach()[None]
    loss = soft_loss(query, database, similarity, torch.ones(4, 1).double(), 0.1)
    loss.backward()
    assert float(loss) == pytest.approx(0.0, abs=1e-12)
    assert query.grad.abs().max() < 1e-9


def test_twins_teach_as_one(query, database, teachers):
    one = soft_loss(query, database, teachers[:1], torch.ones(4, 1).double(), 0.1)
    halves = torch.full((4, 2), 0.5).double()
    two = soft_loss(query, database, teachers[[0, 0]], halves, 0.1)
    assert float(one) == pytest.approx(float(two))


def test_frozen_teachers_get_no_gradient(query, database, teachers, positive):
    teachers.requires_grad_()
    assert not adaptive_weights(teachers, positive, 0.1, 0.5).requires_grad
    weights = mean_weights(teachers)
    assert weights.dtype == torch.float64
    soft_loss(query, database, teachers, weights, 0.2).backward()
    assert teachers.grad is None

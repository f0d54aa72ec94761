# SPDX-License-Identifier: Apache-2.0
"""Step 3: the weighted vote, and the loss through the database branch alone."""

from __future__ import annotations

import math

import pytest
from small_losses import D_PLACE, Q_PLACE, dot, softmax
from small_student import torch

from tools.training.losses.adaptive_weights import mean_weights
from tools.training.losses.hard_labels import hard_labels, hard_loss

pytest_plugins = ['loss_fixtures']


def test_hard_labels_are_the_truth_or_else_the_vote(teachers):
    weights = mean_weights(teachers).double()
    labels = hard_labels(teachers, weights, Q_PLACE, torch.full((6,), -1))
    votes = teachers.mean(0)
    assert labels.tolist() == [int(Q_PLACE[votes[:, j].argmax()]) for j in range(6)]
    known = hard_labels(teachers, weights, Q_PLACE, D_PLACE)
    assert torch.equal(known, D_PLACE)
    nobody = torch.full((4,), -1)
    assert (hard_labels(teachers, weights, nobody, D_PLACE * 0 - 1) == -1).all()


def test_hard_loss_ranks_the_queries_of_each_database_view(query, database):
    loss = hard_loss(query, database, D_PLACE, Q_PLACE, 0.2)
    terms = []
    for j in range(6):
        mass = softmax([dot(database[j], query[i]) / 0.2 for i in range(4)])
        right = sum(m for m, p in zip(mass, Q_PLACE, strict=True) if p == D_PLACE[j])
        terms += [-math.log(right)] if right else []
    assert len(terms) == 5 and float(loss) == pytest.approx(sum(terms) / 5)
    loss.backward()
    assert query.grad is None and database.grad.abs().sum() > 0


def test_the_vote_is_weighted_and_an_unknown_query_has_none():
    # Query 0 is nearest for the second teacher, query 1 for the first, query 2 (unknown) for both
    teachers = torch.tensor([[[0.1], [0.4], [0.9]], [[0.8], [0.2], [0.9]]])
    places, unknown = torch.tensor([5, 6, -1]), torch.tensor([-1])
    for first, expected in ((0.9, 6), (0.1, 5)):
        weights = torch.tensor([[first, 1 - first]]).repeat(3, 1)
        labels = hard_labels(teachers, weights, places, unknown)
        assert labels.tolist() == [expected]

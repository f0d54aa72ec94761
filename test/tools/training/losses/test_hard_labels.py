# SPDX-License-Identifier: Apache-2.0
"""Step 3: the weighted vote, and the loss through the database branch alone."""

from __future__ import annotations

import math

import pytest
from small_losses import D_PLACE, Q_PLACE, dot, softmax
from small_student import torch

from tools.training.losses.hard_labels import hard_labels, hard_loss, labels_of

pytest_plugins = ['loss_fixtures']
ALL = torch.ones(6, 4, dtype=torch.bool)


def test_hard_labels_are_the_truth_or_else_the_vote(teachers):
    mixed = teachers.mean(0).T
    nobody = torch.full((6,), -1)
    labels = hard_labels(mixed, ALL, nobody, Q_PLACE)
    assert labels.tolist() == [int(Q_PLACE[mixed[j].argmax()]) for j in range(6)]
    assert torch.equal(hard_labels(mixed, ALL, D_PLACE, Q_PLACE), D_PLACE)
    without = ALL.clone()
    without[0, mixed[0].argmax()] = False
    assert hard_labels(mixed, without, nobody, Q_PLACE)[0] != labels[0]
    assert (hard_labels(mixed, ALL & False, nobody, Q_PLACE) == -1).all()


def test_a_picture_whose_place_is_unknown_can_be_voted_for():
    labels = labels_of(torch.tensor([3, -1, -1]), torch.tensor([7, 8, 9]))
    assert labels[0] == 3 and len(set(labels.tolist())) == 3 and (labels[1:] < -1).all()
    mixed = torch.tensor([[0.1, 0.9, 0.2]])
    vote = hard_labels(mixed, mixed > 0, torch.tensor([-1]), labels)
    assert vote.tolist() == [labels[1].item()]


def test_hard_loss_ranks_the_queries_of_each_database_view(query, database):
    similarity = database @ query.detach().T
    loss = hard_loss(similarity, ALL, D_PLACE, Q_PLACE, 0.2)
    terms = []
    for j in range(6):
        mass = softmax([dot(database[j], query[i]) / 0.2 for i in range(4)])
        right = sum(m for m, p in zip(mass, Q_PLACE, strict=True) if p == D_PLACE[j])
        terms += [-math.log(right)] if right else []
    assert len(terms) == 5 and float(loss) == pytest.approx(sum(terms) / 5)
    some = ALL.clone()
    some[:, 3] = False
    assert hard_loss(similarity, some, D_PLACE, Q_PLACE, 0.2) < loss

# SPDX-License-Identifier: Apache-2.0
"""The ranking cross-entropy against a plain reference with loops."""

from __future__ import annotations

import math

import pytest
from small_losses import softmax
from small_student import torch

from tools.training.losses.ranking import ranking_loss, same_place

pytest_plugins = ['loss_fixtures']


def test_unknown_places_are_never_the_same():
    same = same_place(torch.tensor([-1, 0]), torch.tensor([-1, 0, 1]))
    assert same.tolist() == [[False, False, False], [False, True, False]]


def test_ranking_loss_is_the_mass_on_the_positives(query, database, positive):
    similarity = query @ database.T
    losses = ranking_loss(similarity, positive, 0.2)
    for i in range(4):
        mass = softmax([float(s) / 0.2 for s in similarity[i]])
        right = sum(m for m, p in zip(mass, positive[i], strict=True) if p)
        assert float(losses[i]) == pytest.approx(-math.log(right) if right else 0.0)
    assert positive[3].sum() == 0 and losses[3] == 0

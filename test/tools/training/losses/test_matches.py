# SPDX-License-Identifier: Apache-2.0
"""Feature level: known points find each other, and teachers are weighted by how well they do."""

from __future__ import annotations

import math

import pytest
from small_losses import dot, softmax, unit
from small_student import torch

from tools.training.losses.matches import (
    info_nce,
    known_points,
    map_weights,
    match_loss,
    same_scene,
)

F = torch.nn.functional
# Views 0 and 1 are of one picture, 2 and 3 of another; 4 is a further view of the first
PICTURES = torch.tensor([0, 0, 1, 1, 0])
SCENES = same_scene(torch.full((5,), -1), PICTURES)
PARTNERS = torch.tensor([[0, 2, -1, 2], [3, -1, -1, 0]])
FIRST, SECOND = torch.tensor([0, 2]), torch.tensor([1, 3])


def test_points_are_the_positions_that_have_partners():
    here, there = known_points(FIRST, SECOND, PARTNERS)
    assert here.view.tolist() == [0, 0, 0, 2, 2] and here.position.tolist() == [0, 1, 3, 0, 3]
    assert there.view.tolist() == [1, 1, 1, 3, 3] and there.position.tolist() == [0, 2, 2, 3, 0]


def test_scenes_are_of_one_picture_or_place():
    found = same_scene(torch.tensor([4, 4, -1, -1]), torch.tensor([0, 1, 2, 2]))
    expected = [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]]
    assert found.int().tolist() == expected


def test_the_loss_is_that_of_the_right_partner_among_all_positions_of_all_second_views():
    features = unit(20, 6).detach().view(5, 4, 6)
    here, there = known_points(FIRST, SECOND, PARTNERS)
    found = info_nce(features, here, there, SCENES, 0.2)
    sought = [features[view, p] for view in (1, 3) for p in range(4)]
    expected = []
    for view, p, other, q in zip(*here, *there, strict=True):
        alike = [dot(features[view, p], x) / 0.2 for x in sought]
        expected.append(-math.log(softmax(alike)[(0 if other == 1 else 4) + int(q)]))
    assert found.tolist() == pytest.approx(expected)
    back = info_nce(features, there, here, SCENES, 0.2)
    both = match_loss(features, here, there, SCENES, 0.2)
    assert float(both) == pytest.approx(float((found + back).mean() / 2))


def test_another_view_of_the_same_scene_is_not_taken_for_a_wrong_one():
    features = unit(20, 6).detach().view(5, 4, 6)
    first, second = torch.tensor([0, 2, 0]), torch.tensor([1, 3, 4])
    features[4] = features[1]  # it shows the same points, and no position may suffer for it
    points = known_points(first, second, PARTNERS[[0, 1, 0]])
    alone = known_points(FIRST, SECOND, PARTNERS)
    found = info_nce(features, *points, SCENES, 0.2)
    torch.testing.assert_close(found[:3], info_nce(features, *alone, SCENES, 0.2)[:3])


def test_training_on_matches_makes_them_findable():
    torch.manual_seed(0)
    seen = torch.randn(16, 30, 12)  # what is seen; the views differ in the last half of it
    seen[1::2, :, :6] = seen[::2, :, :6]
    pairs = torch.arange(0, 16, 2), torch.arange(1, 16, 2)
    points = known_points(*pairs, torch.arange(30).expand(8, 30))
    layer, scenes = (
        torch.nn.Linear(12, 6),
        same_scene(torch.full((16,), -1), torch.arange(16) // 2),
    )
    optimiser = torch.optim.Adam(layer.parameters(), 0.02)
    losses = []
    for _ in range(60):
        loss = match_loss(F.normalize(layer(seen), dim=2), *points, scenes, 0.07)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.2 * losses[0] and losses[-1] < math.log(8 * 30) / 2


def test_a_teacher_that_finds_the_points_of_a_picture_has_the_weight_there():
    torch.manual_seed(0)
    good, noise = (F.normalize(torch.randn(5, 4, 16), dim=2) for _ in range(2))
    good[1] = good[0]  # the first finds every point of the first picture ...
    noise[3] = noise[2]  # ... and the second those of the other
    same = torch.arange(4).expand(2, 4)
    weights = map_weights([good, noise], *known_points(FIRST, SECOND, same), SCENES, 0.07, 0.5)
    assert weights[:2, 0].min() > 0.9 and weights[2:4, 1].min() > 0.9
    assert weights[4].tolist() == [0.5, 0.5]  # nothing is known of it
    none = known_points(FIRST, SECOND, torch.full((2, 4), -1))
    assert (map_weights([good, noise], *none, SCENES, 0.07, 0.5) == 0.5).all()

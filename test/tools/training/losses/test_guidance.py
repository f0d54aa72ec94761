# SPDX-License-Identifier: Apache-2.0
"""Step 4: descriptors and salient maps that follow the teachers."""

from __future__ import annotations

import itertools
import math

import pytest
from small_losses import dot, salient_maps, unit
from small_student import torch

from tools.training.losses.guidance import (
    descriptor_guidance,
    map_guidance,
    salient_guidance,
)
from tools.training.networks.shared_trunk import SIDE


def test_descriptor_guidance_is_the_weighted_gap():
    student = [unit(4, 5, seed=k) for k in range(2)]
    teacher = [3.0 * unit(4, 5, seed=7 + k).detach() for k in range(2)]
    weights = torch.tensor([[0.2, 0.8]]).repeat(4, 1).double()
    loss = descriptor_guidance(student, teacher, weights)
    expected = sum(
        float(weights[i, k]) * (1 - dot(student[k][i], teacher[k][i]) / 3.0) / 4
        for i in range(4)
        for k in range(2)
    )
    assert float(loss) == pytest.approx(expected)
    assert float(descriptor_guidance(teacher, teacher, weights)) == pytest.approx(0.0)


def test_map_guidance_compares_each_position_with_its_partner():
    student, teacher = unit(12, 5).view(2, 6, 5), unit(18, 5, 1).detach().view(2, 9, 5)
    partners = torch.tensor([[0, 3, -1, 8, 8, -1], [-1] * 6])
    weights = torch.tensor([[0.3, 0.7], [0.5, 0.5]]).double()
    again = student.flip(2)
    loss = map_guidance([student, again], [teacher, teacher], partners, weights)
    gaps = []
    for position, partner in enumerate(partners[0].tolist()):
        if partner >= 0:
            first, second = (
                1 - dot(s[0, position], teacher[0, partner]) for s in (student, again)
            )
            gaps.append(0.3 * first + 0.7 * second)
    assert len(gaps) == 4 and float(loss) == pytest.approx(sum(gaps) / 4)
    assert (
        float(map_guidance([student], [teacher], partners[1:].repeat(2, 1), weights[:, :1])) == 0
    )


def on_teachers_grid(side: int, shift: int = 0) -> torch.Tensor:
    """Partners (1, side^2) of positions, in a view that is moved by columns of the own grid."""
    rows, columns = torch.arange(side)[:, None], torch.arange(side)[None] + shift
    step = SIDE // side
    partners = (rows * step) * SIDE + columns * step
    outside = (columns < 0) | (columns >= side)
    return torch.where(outside, -1, partners).flatten()[None]


def spread(maps: torch.Tensor) -> torch.Tensor:
    """Maps (B, M, 7, 7) on the teachers' grid, each position as 2 x 2."""
    return maps.repeat_interleave(2, 2).repeat_interleave(2, 3) / 4


def test_salient_guidance_is_the_weighted_divergence():
    student, teacher = salient_maps(unit(3, 98), 7), salient_maps(unit(3, 98, 1), 7)
    weight = torch.tensor([0.2, 0.8, 0.0]).double()
    partners = on_teachers_grid(7).repeat(3, 1)
    loss = salient_guidance(student, spread(teacher), partners, weight)
    expected = 0.0
    for i, m, y, x in itertools.product(range(3), range(2), range(7), range(7)):
        t, s = float(teacher[i, m, y, x]), float(student[i, m, y, x])
        expected += float(weight[i]) * t * math.log(t / s) / 6
    assert float(loss) == pytest.approx(expected)


def test_salient_maps_move_with_what_is_seen():
    generator = torch.Generator().manual_seed(0)
    wide = torch.rand(1, 2, 7, 9, generator=generator).double() + 0.1
    ours, theirs = (x / x.sum(dim=(2, 3), keepdim=True) for x in (wide[..., :7], wide[..., 2:]))
    one = torch.ones(1).double()
    moved = salient_guidance(ours, spread(theirs), on_teachers_grid(7, -2), one)
    still = salient_guidance(ours, spread(theirs), on_teachers_grid(7), one)
    assert float(moved) == pytest.approx(0.0, abs=1e-7) and float(still) > 0.05
    nothing = torch.full((1, 49), -1)
    assert float(salient_guidance(ours, spread(theirs), nothing, one)) == 0.0


def test_salient_guidance_moves_a_student_that_is_sure_and_wrong():
    logits = torch.zeros(1, 1, 4, 4)
    logits[..., 0, 0] = 30.0
    logits.requires_grad_()
    student = logits.flatten(2).softmax(2).unflatten(2, (4, 4))
    teacher = torch.zeros(1, 1, 14, 14)
    teacher[..., 13, 13] = 1.0
    partners = torch.tensor(
        [[14 * 13 * row // 3 + 13 * column // 3 for row in range(4) for column in range(4)]]
    )
    salient_guidance(student, teacher, partners, torch.ones(1)).backward()
    assert float(logits.grad[0, 0, 3, 3]) == pytest.approx(-1.0, abs=1e-3)
    zeros = torch.zeros(1, 1, 4, 4)
    zeros[..., 0, 0] = 1.0
    zeros.requires_grad_()
    loss = salient_guidance(zeros, teacher, partners, torch.ones(1))
    loss.backward()
    assert loss.isfinite() and zeros.grad.isfinite().all()

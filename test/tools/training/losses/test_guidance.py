# SPDX-License-Identifier: Apache-2.0
"""Step 4: descriptors and salient maps that follow the teachers."""

from __future__ import annotations

import itertools
import math

import pytest
from small_losses import dot, salient_maps, unit
from small_student import torch

from tools.training.losses.guidance import descriptor_guidance, salient_guidance


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


def test_salient_guidance_is_the_weighted_divergence_of_the_resized_map():
    student, teacher = salient_maps(unit(3, 18), 3), salient_maps(unit(3, 72, 1), 6)
    weight = torch.tensor([0.2, 0.8, 0.0]).double()
    loss = salient_guidance(student, teacher, weight)
    expected = 0.0
    for i, m in itertools.product(range(3), range(2)):
        for y, x in itertools.product(range(3), range(3)):
            block = teacher[i, m, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2]
            t, s = float(block.sum()), float(student[i, m, y, x])
            expected += float(weight[i]) * t * math.log(t / s) / 6
    assert float(loss) == pytest.approx(expected)


def test_salient_guidance_is_zero_for_the_same_map_at_any_size():
    generator = torch.Generator().manual_seed(0)
    maps = torch.rand(2, 3, 4, 4, generator=generator).double()
    maps = maps / maps.sum(dim=(2, 3), keepdim=True)
    larger = maps.repeat_interleave(2, 2).repeat_interleave(2, 3) / 4
    flat = torch.full_like(maps, 1 / 16)
    ones = torch.ones(2).double()
    assert float(salient_guidance(maps, maps, ones)) == pytest.approx(0.0, abs=1e-7)
    assert float(salient_guidance(maps, larger, ones)) == pytest.approx(0.0, abs=1e-7)
    expected = (maps * (maps / flat).log()).sum(dim=(2, 3)).mean()
    assert float(salient_guidance(flat, maps, ones)) == pytest.approx(float(expected))
    half = salient_guidance(flat, maps, torch.tensor([1.0, 0.0]).double())
    first = (maps * (maps / flat).log()).sum(dim=(2, 3))[0].mean() / 2
    assert float(half) == pytest.approx(float(first))


def test_salient_guidance_moves_a_student_that_is_sure_and_wrong():
    logits = torch.zeros(1, 1, 4, 4)
    logits[..., 0, 0] = 30.0
    logits.requires_grad_()
    student = logits.flatten(2).softmax(2).unflatten(2, (4, 4))
    teacher = torch.zeros(1, 1, 4, 4)
    teacher[..., 3, 3] = 1.0
    salient_guidance(student, teacher, torch.ones(1)).backward()
    assert float(logits.grad[0, 0, 3, 3]) == pytest.approx(-1.0, abs=1e-3)
    zeros = teacher.flip(2, 3).requires_grad_()
    loss = salient_guidance(zeros, teacher, torch.ones(1))
    loss.backward()
    assert loss.isfinite() and zeros.grad.isfinite().all()

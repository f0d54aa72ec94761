# SPDX-License-Identifier: Apache-2.0
"""Step 2: how soft the labels are, what the loss is, and where its gradient goes."""

from __future__ import annotations

import pytest
from small_losses import unit
from small_student import torch

from tools.training.config import Lesson
from tools.training.losses.soft_labels import soft_loss, soft_targets

TAU_T = Lesson().tau_t
F = torch.nn.functional


def realistic(queries: int, wrong: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Teachers' similarities in deviations, and which are right: one right view a query.

    As measured on training pictures, mean of four frozen trunks: right views at 5 to 13 (other
    pictures of a place from 3.6 on, other views of a picture to 13.7), wrong ones about 0 to 1.
    """
    generator = torch.Generator().manual_seed(0)
    similarity = torch.randn(queries, wrong, generator=generator)
    right = torch.zeros(queries, wrong, dtype=torch.bool)
    right[:, 0] = True
    similarity[:, 0] = torch.linspace(5.0, 13.0, queries)
    return similarity, right


def test_labels_are_soft_and_still_say_who_is_right():
    similarity, right = realistic(50, 1000)
    target = soft_targets(similarity, torch.ones_like(right), TAU_T)
    mass = float(target[right].mean())
    assert 0.3 < mass < 0.8
    hard = soft_targets(similarity, torch.ones_like(right), TAU_T / 2)
    assert float(hard[right].mean()) > 0.8  # the range can be missed


def test_a_student_that_agrees_has_no_loss_in_any_scale():
    similarity, right = realistic(50, 200)
    every = torch.ones_like(right)
    for scale, offset in ((0.05, 0.0), (0.3, 0.2)):
        ours = similarity * scale + offset
        assert float(soft_loss(ours, similarity, every, right, 1.0)) < 0.02
    other = soft_loss(similarity[:, torch.randperm(200)], similarity, every, right, 1.0)
    assert float(other) > 1.0


def test_soft_loss_is_the_divergence_among_the_candidates():
    similarity, right = (x[:6, :40] for x in realistic(50, 200))
    torch.manual_seed(0)
    ours = torch.randn(6, 40, dtype=torch.float64).requires_grad_()
    candidates = torch.rand(6, 40) > 0.2
    candidates[:, 0] = True
    loss = soft_loss(ours, similarity.double(), candidates, right, 2.0)
    others = ours.detach()[candidates & ~right]
    expected = 0.0
    for i in range(6):
        kept = candidates[i]
        wanted = (similarity[i, kept].double() / 2).softmax(0)
        said = ((ours[i, kept] - others.mean()) / others.std() / 2).log_softmax(0)
        expected += float((wanted * (wanted.log() - said)).sum()) * 4 / 6
    assert float(loss) == pytest.approx(expected, rel=1e-5)
    loss.backward()
    assert not ours.grad[~candidates].any() and ours.grad[candidates].any()


def test_the_student_learns_the_order_that_its_teachers_see():
    torch.manual_seed(0)
    theirs = F.normalize(torch.randn(40, 6), dim=1)
    wanted = (theirs[:10] @ theirs.T) / 0.4
    everything, nothing = torch.ones(10, 40, dtype=torch.bool), torch.zeros(10, 40) > 1
    ours, memory = unit(10, 6, 3).detach().float().requires_grad_(), theirs.clone()

    def order() -> float:
        similarity = F.normalize(ours, dim=1) @ memory.T
        both = torch.stack([similarity.flatten(), wanted.flatten()])
        return float(torch.corrcoef(both.detach())[0, 1])

    before, optimiser = order(), torch.optim.Adam([ours], 0.03)
    for _ in range(100):
        similarity = F.normalize(ours, dim=1) @ memory.T
        optimiser.zero_grad()
        soft_loss(similarity, wanted, everything, nothing, 1.0).backward()
        optimiser.step()
    assert before < 0.3 and order() > 0.9


def test_without_pairs_to_measure_by_there_is_no_loss():
    ours = torch.rand(2, 3, requires_grad=True)
    loss = soft_loss(ours, ours.detach(), torch.ones(2, 3) > 0, torch.ones(2, 3) > 0, 1.0)
    loss.backward()
    assert float(loss) == 0.0 and not ours.grad.any()

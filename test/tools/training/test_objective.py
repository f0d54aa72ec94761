# SPDX-License-Identifier: Apache-2.0
"""The loss of a batch: which teachers guide which level by what weight; what trains the gate."""

from __future__ import annotations

import pytest
from small_student import torch

from tools.training.config import Lesson
from tools.training.losses.adaptive_weights import adaptive_weights
from tools.training.losses.guidance import salient_guidance
from tools.training.losses.ranking import same_place
from tools.training.networks.layers import NetworkOutput
from tools.training.objective import Objective

F = torch.nn.functional
PLACES = torch.tensor([0, 0, 1, 1])
QUERY = torch.tensor([True, False, True, False])


def random_outputs(levels: int, wide: int) -> NetworkOutput:
    """What a network of some levels says of four images, at random."""
    logits = [torch.randn(4, 1, 4) for _ in range(levels)]
    maps = [m.softmax(2).unflatten(2, (2, 2)) for m in logits]
    descriptor = F.normalize(torch.randn(4, 8), dim=1)
    return NetworkOutput(descriptor, [torch.randn(4, wide) for _ in range(levels)], maps)


def objective_of(lesson: Lesson, ours: int, *theirs: int) -> Objective:
    return Objective(lesson, 8, [6] * ours, [(8, [5] * levels) for levels in theirs])


@pytest.mark.parametrize('depths', [(2, 3), (3, 2), (2, 0)], ids=['deeper', 'flatter', 'a trunk'])
def test_a_teacher_of_another_depth_guides_the_topmost_levels(depths: tuple[int, int]):
    torch.manual_seed(0)
    ours, theirs = depths
    student, teacher = random_outputs(ours, 6), random_outputs(theirs, 5)
    objective = objective_of(Lesson(teachers=('t',), levels=1.0, salient=1.0), ours, theirs)
    losses = objective(student, [teacher], PLACES, QUERY)
    if not theirs:
        assert set(losses) == {'metric'}
        return
    pairs = zip(student.sums[::-1], objective.levels[0][::-1], teacher.sums[::-1], strict=False)
    apart = [1 - F.cosine_similarity(own(s), t) for s, own, t in pairs]
    assert len(apart) == min(depths)
    assert float(losses['levels']) == pytest.approx(float(torch.stack(apart).mean()), rel=1e-5)
    pairs = zip(student.maps[::-1], teacher.maps[::-1], strict=False)
    apart = [salient_guidance(s, t, torch.ones(4)) for s, t in pairs]
    assert float(losses['salient']) == pytest.approx(float(torch.stack(apart).mean()), rel=1e-5)


@pytest.mark.parametrize('name', ['levels', 'salient'])
def test_a_level_is_guided_by_the_weighted_sum_of_the_teachers_that_have_it(name: str):
    torch.manual_seed(0)
    student, one, two, trunk = (
        random_outputs(2, 6),
        random_outputs(2, 5),
        random_outputs(1, 5),
        random_outputs(0, 5),
    )

    def loss(*targets: NetworkOutput) -> tuple[float, torch.Tensor]:
        teachers = tuple('abc'[: len(targets)])
        lesson = Lesson(teachers=teachers, **{name: 1.0}, metric=0.0, tau=1.0)
        torch.manual_seed(1)
        objective = objective_of(lesson, 2, *(len(t.sums) for t in targets))
        for own in objective.levels:
            for layer in own:
                torch.nn.init.eye_(layer.weight)
                torch.nn.init.zeros_(layer.bias)
        unit = torch.stack([t.descriptor for t in targets])
        similarity = unit[:, QUERY] @ unit[:, ~QUERY].transpose(1, 2)
        positive = same_place(PLACES[QUERY], PLACES[~QUERY])
        weights = adaptive_weights(similarity, positive, lesson.tau, lesson.tau_w)
        spread = weights.mean(0).repeat(4, 1)
        spread[QUERY] = weights
        return float(objective(student, list(targets), PLACES, QUERY)[name]), spread

    def gap(teacher: NetworkOutput, level: int, weight: torch.Tensor) -> float:
        if name == 'salient':
            pair = student.maps[level], teacher.maps[level]
            return float(salient_guidance(*pair, weight))
        pair = student.sums[level][:, :5], teacher.sums[level]
        return float((weight * (1 - F.cosine_similarity(*pair))).mean())

    value, spread = loss(one, two)
    below = gap(one, -2, torch.ones(4))  # the second teacher has no such level
    top = gap(one, -1, spread[:, 0]) + gap(two, -1, spread[:, 1])
    assert value == pytest.approx((below + top) / 2, rel=1e-5)
    assert loss(one, one)[0] == pytest.approx(loss(one)[0], rel=1e-5)  # twins are as one
    assert loss(one, trunk)[0] == pytest.approx(loss(one)[0], rel=1e-5)  # a trunk takes nothing


def test_guidance_starts_as_a_regression():
    torch.manual_seed(0)
    lesson = Lesson(teachers=('t',), descriptor=1.0)
    objective = Objective(lesson, 8, [6, 4], [(5, [])])
    sums = torch.randn(400, 10)
    theirs = F.normalize(sums @ torch.randn(10, 5) + 1.0, dim=1)
    guided = F.cosine_similarity(objective.projections[0](sums), theirs)
    objective.fit_guidance(sums, [NetworkOutput(theirs, [], [])])
    fitted = F.cosine_similarity(objective.projections[0](sums), theirs)
    assert fitted.mean() > 0.9 > guided.mean() + 0.3


COUNT, SIZE = 12, 64  # places of a batch with a view a branch, dimensions


def teacher_of(gaps: torch.Tensor, noise: float) -> torch.Tensor:
    """Descriptors of COUNT queries, then COUNT database views: similarity to the right one.

    `gaps` (COUNT,): how much more similar the right view is than the others.
    """
    own = torch.eye(COUNT)
    database = torch.cat([own, torch.ones(COUNT, 1)], dim=1)
    query = torch.cat([gaps[:, None] * own, 2 * torch.ones(COUNT, 1)], dim=1)
    query = query + noise * torch.randn_like(query)
    return F.normalize(torch.cat([query, database]), dim=1)


def trained_gate(gaps) -> tuple[Objective, torch.Tensor]:
    """After 500 steps, with new descriptors in each; and descriptors to try the gate on.

    `gaps(query)` → (teachers, COUNT): what `teacher_of` takes, for queries of the student.
    """
    torch.manual_seed(0)
    count = len(gaps(torch.zeros(COUNT, SIZE)))
    lesson = Lesson(teachers=tuple('abc'[:count]), adaptive='gate')
    objective = Objective(lesson, SIZE, [6], [(COUNT + 1, [])] * count)
    optimiser = torch.optim.AdamW(objective.parameters(), 1e-3)
    places, query = torch.arange(COUNT).repeat(2), torch.arange(2 * COUNT) < COUNT
    for _ in range(500):
        unit = F.normalize(torch.randn(COUNT, SIZE), dim=1).repeat(2, 1)
        targets = [NetworkOutput(teacher_of(g, 0.3), [], []) for g in gaps(unit[query])]
        losses = objective(NetworkOutput(unit, [], []), targets, places, query)
        optimiser.zero_grad()
        sum(losses.values()).backward()
        torch.nn.utils.clip_grad_norm_(objective.parameters(), 1.0)
        optimiser.step()
    fresh = F.normalize(torch.randn(200, SIZE), dim=1)
    return objective, fresh


@pytest.mark.parametrize('other', [-2.0, 0.0], ids=['always wrong', 'flat'])
def test_the_gate_learns_which_teacher_is_right(other: float):
    def gaps(query: torch.Tensor) -> torch.Tensor:
        return torch.tensor([[2.0], [other]]).expand(2, len(query))

    objective, fresh = trained_gate(gaps)
    assert objective.gate(fresh)[:, 1].max() < 0.1


def test_the_gate_learns_where_each_teacher_is_right():
    def gaps(query: torch.Tensor) -> torch.Tensor:
        here = query[:, 0].sign()
        return torch.stack([2.0 * here, -2.0 * here])

    objective, fresh = trained_gate(gaps)
    weights = objective.gate(fresh)[:, 0]
    sure = fresh[:, 0].abs() > 0.1
    assert ((weights > 0.5) == (fresh[:, 0] > 0))[sure].float().mean() > 0.9


def test_only_the_gates_own_loss_trains_it():
    torch.manual_seed(0)
    parts = dict.fromkeys(('soft', 'hard', 'descriptor', 'levels', 'salient'), 1.0)
    objective = objective_of(Lesson(teachers=('a', 'b'), adaptive='gate', **parts), 2, 2, 2)
    student = random_outputs(2, 6)
    student.descriptor.requires_grad_()
    losses = objective(student, [random_outputs(2, 5), random_outputs(2, 5)], PLACES, QUERY)
    assert set(losses) == {*parts, 'metric', 'gate'}
    sum(losses.values()).backward(retain_graph=True)
    by_all = objective.gate.latent.weight.grad.clone()
    objective.zero_grad()
    student.descriptor.grad = None
    losses['gate'].backward()
    assert by_all.any() and torch.equal(objective.gate.latent.weight.grad, by_all)
    assert student.descriptor.grad is None

# SPDX-License-Identifier: Apache-2.0
"""The loss of a batch: what each part does to a student, and none rules the others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from conftest import line_of
from small_batches import MadeUpTeacher, made_up_batch
from small_student import SMALL_WITH_LOCAL, small_student, torch

from ashtkd_ros.errors import VprError
from tools.training.config import Lesson, read_config
from tools.training.data.batch import Batch
from tools.training.losses.guidance import salient_guidance
from tools.training.objective import Objective, objective_for

F = torch.nn.functional
WHOLE = MadeUpTeacher()
QUARTERS = MadeUpTeacher('quarters', seed=1)
UP = MadeUpTeacher('apformer', seed=2, levels=2, with_map=False)
EXAMPLE = torch.zeros(1, 3, 64, 64)
ALL_LOSSES = (
    *('match', 'vote', 'maps', 'descriptor', 'levels', 'salient', 'soft', 'hard', 'metric'),
)


def lesson_of(teachers: int = 0, **weights: float) -> Lesson:
    return Lesson(teachers=tuple('abc'[:teachers]), **{'metric': 0.0, **weights})


def everything(adaptive: str = 'confidence') -> Lesson:
    return replace(lesson_of(3, **dict.fromkeys(ALL_LOSSES, 1.0)), adaptive=adaptive)


def student():
    return small_student(config=SMALL_WITH_LOCAL)


@pytest.mark.parametrize('pixels', [64, 32])
def test_every_weighted_loss_teaches_the_body_at_every_size(pixels: int):
    network, teachers = student(), [WHOLE, QUARTERS, UP]
    batch = made_up_batch(teachers, pixels=pixels)
    objective = objective_for(everything(), network, EXAMPLE, teachers)
    losses = objective(network.describe(batch.inputs), batch)
    assert set(losses) == set(ALL_LOSSES)
    body = list(network.levels.parameters())
    for name, loss in losses.items():
        grads = torch.autograd.grad(loss, body, retain_graph=True, allow_unused=True)
        norm = sum(float(g.square().sum()) for g in grads if g is not None) ** 0.5
        assert 1e-6 < norm < float('inf'), name


def test_only_the_weighted_losses_are_computed_and_weights_multiply():
    network, batch = student(), made_up_batch([WHOLE])
    outputs = network.describe(batch.inputs)
    one, two = (
        objective_for(lesson_of(1, match=w, maps=2 * w), network, EXAMPLE, [WHOLE])
        for w in (1.0, 2.0)
    )
    two.load_state_dict(one.state_dict())
    a, b = one(outputs, batch), two(outputs, batch)
    assert set(a) == {'match', 'maps'}
    assert all(float(b[name]) == pytest.approx(2 * float(a[name]), rel=1e-5) for name in a)


def test_a_batch_without_known_points_is_no_fault():
    network, batch = student(), made_up_batch([WHOLE])
    nothing = batch.matches._replace(
        first=batch.matches.first[:0],
        second=batch.matches.second[:0],
        partners=batch.matches.partners[:0],
        of_targets=batch.matches.of_targets[:0],
    )
    batch = batch._replace(
        matches=nothing, target_partners=-torch.ones_like(batch.target_partners)
    )
    objective = objective_for(lesson_of(1, match=1.0, maps=1.0), network, EXAMPLE, [WHOLE])
    losses = objective(network.describe(batch.inputs), batch)
    assert [float(x) for x in losses.values()] == [0.0, 0.0]
    sum(losses.values()).backward()


def test_guidance_of_positions_without_any_map_is_one_line():
    with pytest.raises(VprError) as error:
        objective_for(lesson_of(1, maps=1.0), student(), EXAMPLE, [UP])
    assert 'lesson.maps: none of the teachers a has a map' in line_of(error)


def halves_taught_by(teacher: MadeUpTeacher) -> list[bool]:
    """Whether descriptor guidance reaches the local layer, and the heads of salient sums."""
    network, batch = student(), made_up_batch([teacher])
    objective = objective_for(lesson_of(1, descriptor=1.0), network, EXAMPLE, [teacher])
    objective(network.describe(batch.inputs), batch)['descriptor'].backward()
    layers = network.local.project.weight, network.heads[0].attention.weight
    return [layer.grad is not None and bool(layer.grad.any()) for layer in layers]


def test_teachers_of_whole_pictures_guide_the_layout_free_half_others_the_layout_bound_one():
    assert halves_taught_by(WHOLE) == [True, False]
    assert halves_taught_by(QUARTERS) == [False, True] == halves_taught_by(UP)


def test_where_things_stand_is_taught_by_the_part_that_is_seen():
    network = student()
    for teacher, follows in ((WHOLE, False), (QUARTERS, True)):
        batch = made_up_batch([teacher])
        objective = objective_for(lesson_of(1, descriptor=1.0), network, EXAMPLE, [teacher])
        outputs = network.describe(batch.inputs)

        def of(batch: Batch, objective=objective, outputs=outputs) -> float:
            return float(objective(outputs, batch)['descriptor'])

        as_seen = [t._replace(descriptor=-t.descriptor) for t in batch.as_seen]
        elsewhere = [t._replace(descriptor=-t.descriptor) for t in batch.targets]
        assert (of(batch._replace(as_seen=as_seen)) != of(batch)) == follows
        assert (of(batch._replace(targets=elsewhere)) != of(batch)) != follows
        half, none = batch.has_as_seen.clone(), torch.zeros_like(batch.has_as_seen)
        half[::2] = False
        assert (of(batch._replace(has_as_seen=half)) != of(batch)) == follows
        assert (of(batch._replace(has_as_seen=none)) == 0.0) == follows


def test_levels_are_taught_by_the_part_that_is_seen_too():
    network, batch = student(), made_up_batch([UP])
    objective = objective_for(lesson_of(1, levels=1.0), network, EXAMPLE, [UP])
    outputs = network.describe(batch.inputs)

    def of(batch: Batch) -> float:
        return float(objective(outputs, batch)['levels'])

    def turned(targets: list) -> list:
        return [t._replace(sums=[-s for s in t.sums]) for t in targets]

    assert of(batch._replace(targets=turned(batch.targets))) == of(batch) > 0
    assert of(batch._replace(as_seen=turned(batch.as_seen))) != of(batch)
    assert of(batch._replace(has_as_seen=torch.zeros(8, dtype=torch.bool))) == 0


def test_another_place_of_the_tour_in_memory_makes_no_teacher_wrong():
    # A query, its partner, and in memory a neighbour that one of two equal teachers finds alike.
    network, teachers = student(), [MadeUpTeacher(), MadeUpTeacher()]
    batch = made_up_batch(teachers, places=[0, 0])
    lesson, found = lesson_of(2, soft=1.0), {}
    for group in (0, 7):  # of the same tour; of another one, where it is certainly wrong
        objective = objective_for(lesson, network, EXAMPLE, teachers)
        alike = F.normalize(batch.targets[0].descriptor[1:], dim=1)
        earlier = made_up_batch(teachers, places=[5, 5], seed=1)._replace(
            groups=torch.tensor([group, group])
        )
        twin, apart = (
            t._replace(descriptor=d.expand(2, -1))
            for t, d in zip(earlier.targets, (alike, -alike), strict=True)
        )
        objective(network.describe(earlier.inputs), earlier._replace(targets=[twin, apart]))
        both = [batch.targets[0]._replace(descriptor=alike.expand(2, -1))] * 2
        now = batch._replace(targets=both, groups=torch.tensor([0, 0]))
        found[group] = objective._seen(network.describe(now.inputs), now).weights[0]
    assert float(found[0][0]) == pytest.approx(0.5)
    assert float(found[7][0]) < 0.45


def test_guidance_starts_as_a_regression():
    torch.manual_seed(0)
    network, teachers = student(), [WHOLE, QUARTERS]
    objective = objective_for(lesson_of(2, descriptor=1.0, maps=1.0), network, EXAMPLE, teachers)
    outputs = network.describe(torch.rand(60, 3, 64, 64))
    residuals, stacked = torch.randn(300, 256), torch.randn(60, 16, outputs.stacked.shape[2])
    sums = torch.randn(300, sum(s.shape[1] for s in outputs.sums))
    outputs = outputs._replace(sums=[sums], residuals=residuals)

    def of(x: torch.Tensor, size: int) -> torch.Tensor:
        return F.normalize(x @ torch.randn(x.shape[-1], size) + 1.0, dim=-1)

    wide = stacked.transpose(1, 2).unflatten(2, (4, 4))
    wide = F.interpolate(wide, 8).flatten(2).transpose(1, 2)  # the teachers' grid is finer
    shared = torch.randn(stacked.shape[2], 6)
    maps = [F.normalize(wide @ shared, dim=2) for _ in teachers]
    targets = [
        t.outputs([0])._replace(descriptor=of(x, 10), maps=m)
        for t, x, m in zip(teachers, (residuals, sums), maps, strict=True)
    ]
    guidance = objective.guidance
    guidance.fit_vectors(outputs, targets)
    guidance.fit_maps(stacked, targets)
    for layer, x, target in zip(guidance.vectors, (residuals, sums), targets, strict=True):
        assert F.cosine_similarity(layer(x), target.descriptor).mean() > 0.8
    for layer in guidance.maps:
        assert (
            F.cosine_similarity(layer(stacked), F.normalize(stacked @ shared, dim=2), 2).mean()
            > 0.8
        )


def test_levels_of_a_flatter_teacher_guide_the_topmost_ones():
    network, batch = student(), made_up_batch([UP])
    objective = objective_for(lesson_of(1, levels=1.0, salient=1.0), network, EXAMPLE, [UP])
    outputs = network.describe(batch.inputs)
    losses = objective(outputs, batch)
    own, theirs = objective.guidance.levels[0], batch.targets[0]
    pairs = zip(outputs.sums[2:], own, theirs.sums, strict=True)
    gaps = [1 - F.cosine_similarity(layer(s), t, dim=1).mean() for s, layer, t in pairs]
    assert float(losses['levels']) == pytest.approx(float(sum(gaps)) / 2, rel=1e-5)
    ones, partners = torch.ones(8), batch.target_partners
    gaps = [
        salient_guidance(s, t, partners, ones)
        for s, t in zip(outputs.maps[2:], theirs.salient, strict=True)
    ]
    assert float(losses['salient']) == pytest.approx(float(sum(gaps)) / 2, rel=1e-5)


def test_the_hard_loss_of_unknown_places_moves_the_student_to_the_teachers_vote():
    # Two views of each of 6 pictures, all of unknown place. The teacher finds both views of a
    # picture all but alike, and next to them the next picture, and the student shall say so.
    torch.manual_seed(0)
    places, query = torch.full((12,), -1), torch.arange(12) < 6
    pictures = torch.arange(6).repeat(2)
    teacher = MadeUpTeacher(with_map=False)
    first = torch.eye(6, 10)
    theirs = torch.cat([first, F.normalize(first + 0.5 * first.roll(-1, 0), dim=1)])
    ours = torch.nn.Parameter(torch.randn(12, 8))
    batch = made_up_batch([teacher], places=[-1] * 12)._replace(
        places=places, query=query, pictures=pictures, groups=None
    )
    batch = batch._replace(targets=[batch.targets[0]._replace(descriptor=theirs)])
    lesson = replace(lesson_of(1, hard=1.0), bank=0)
    network = student()
    outputs = network.describe(batch.inputs)
    objective = Objective(lesson, outputs._replace(descriptor=ours.detach()), [teacher])
    optimiser = torch.optim.Adam([ours], 0.05)

    def voted() -> float:
        unit = F.normalize(ours.detach(), dim=1)
        nearest = (unit[6:] @ unit[:6].T - 9 * torch.eye(6)).argmax(1)
        return float((nearest == (torch.arange(6) + 1) % 6).float().mean())

    before = voted()
    for _ in range(60):
        loss = objective(outputs._replace(descriptor=ours), batch)['hard']
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert before < 0.7 and voted() == 1.0
    assert not ours.grad[:6].any() and ours.grad[6:].any()  # through the database branch alone


def test_the_memory_gives_further_candidates_and_labels():
    network, teachers = student(), [WHOLE]
    lesson = lesson_of(1, soft=1.0, hard=1.0, metric=1.0)
    objective = objective_for(lesson, network, EXAMPLE, teachers)
    first, second = (made_up_batch(teachers, seed=s) for s in (0, 1))
    second = second._replace(groups=second.places + 50)
    fresh = {n: float(v) for n, v in objective(network.describe(second.inputs), second).items()}
    objective = objective_for(lesson, network, EXAMPLE, teachers)
    objective(network.describe(first.inputs), first)
    assert int(objective.bank.filled) == 4  # the views of the database branch
    later = {n: float(v) for n, v in objective(network.describe(second.inputs), second).items()}
    assert all(abs(later[n] - fresh[n]) > 1e-4 for n in ('soft', 'hard', 'metric'))
    assert int(objective.bank.filled) == 8


def test_only_the_gates_own_loss_trains_it():
    network, teachers = student(), [WHOLE, QUARTERS, UP]
    batch = made_up_batch(teachers)
    objective = objective_for(everything('gate'), network, EXAMPLE, teachers)
    losses = objective(network.describe(batch.inputs), batch)
    assert set(losses) == {*ALL_LOSSES, 'gate'}
    sum(losses.values()).backward(retain_graph=True)
    by_all = objective.gate.latent.weight.grad.clone()
    objective.zero_grad()
    network.zero_grad()
    losses['gate'].backward()
    assert by_all.any() and torch.equal(objective.gate.latent.weight.grad, by_all)
    assert all(p.grad is None or not p.grad.any() for p in network.parameters())


def norms_at_the_start(weights: dict[str, float]) -> dict[str, float]:
    """Of each loss' gradient in a small student that starts in closed form, weighted."""
    teachers = [WHOLE, QUARTERS, UP]
    network = student()
    with torch.no_grad():  # layers about as whitening makes them
        for layer in (network.project, network.local.project, network.combine.whiten):
            torch.nn.init.orthogonal_(layer.weight, gain=3.0)
        network.combine.centres.copy_(F.normalize(torch.randn(32, 8), dim=1))
        torch.nn.init.orthogonal_(network.combine.turn.weight)
    objective = objective_for(lesson_of(3, **weights), network, EXAMPLE, teachers)
    batches: list[Batch] = [made_up_batch(teachers, range(24), seed=s) for s in range(2)]
    for batch in batches:
        losses = objective(network.describe(batch.inputs), batch)
    parameters = list(network.parameters())
    norms = {}
    for name, loss in losses.items():
        grads = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
        norms[name] = sum(float(g.square().sum()) for g in grads if g is not None) ** 0.5
    return norms


def test_no_loss_rules_the_others_at_the_start(root: Path):
    lesson = read_config(root / 'config' / 'train' / 'student.yaml').lesson
    weights = {name: getattr(lesson, name) for name in ALL_LOSSES if getattr(lesson, name)}
    assert {'match', 'maps', 'descriptor', 'soft', 'hard', 'metric'} <= set(weights)
    norms = norms_at_the_start(weights)
    total = sum(norms.values())
    assert all(norm < 2 * (total - norm) for norm in norms.values()), norms
    loud = norms_at_the_start({**weights, 'match': 100 * weights['match']})
    assert loud['match'] > 2 * (sum(loud.values()) - loud['match'])  # it can be missed

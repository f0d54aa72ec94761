# SPDX-License-Identifier: Apache-2.0
"""The loop: rates, average, checkpoints; bad losses keep the last state; who rules the step."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import line_of
from small_batches import MadeUpTeacher, made_up_batch
from small_student import SMALL_WITH_LOCAL, small_student, torch
from small_training import same

from ashtkd_ros.errors import VprError
from tools.training.config import Lesson, Schedule
from tools.training.data.batch import Batch
from tools.training.loop import Run
from tools.training.objective import objective_for

WHOLE = MadeUpTeacher()


def small_run(folder: Path, lesson: Lesson | None = None, **schedule: float) -> Run:
    network, lesson = small_student(config=SMALL_WITH_LOCAL), lesson or Lesson()
    teachers = [WHOLE] * len(lesson.teachers)
    objective = objective_for(lesson, network, torch.zeros(1, 3, 64, 64), teachers)
    folder.mkdir(exist_ok=True)
    settings = {'steps': 20, 'places': 4, 'views': 2, **schedule}
    return Run(network, objective, Schedule(**settings), folder)


def batch(*teachers: MadeUpTeacher) -> Batch:
    """Eight images of four places."""
    return made_up_batch(teachers, places=[0, 0, 1, 1, 2, 2, 3, 3])


def broken() -> Batch:
    """A teacher that says what is not a number."""
    made = batch(WHOLE)
    nothing = torch.full_like(made.targets[0].descriptor, torch.nan)
    return made._replace(targets=[made.targets[0]._replace(descriptor=nothing)])


def test_the_loss_falls(tmp_path: Path):
    lesson = Lesson(match=0.2, bank=0)
    run = small_run(tmp_path / 'run', lesson, learning_rate=1e-3, layer_rate=1e-3)
    losses = [run.update(batch()) for _ in range(20)]
    assert all(losses[-1][name] < 0.8 * losses[0][name] for name in ('match', 'metric'))


def test_each_part_has_its_rate(tmp_path: Path):
    lesson = Lesson(teachers=('t',), descriptor=1.0)
    rates = {'learning_rate': 1e-4, 'pretrained_rate': 2e-4, 'head_rate': 3e-4}
    run = small_run(tmp_path / 'run', lesson, layer_rate=4e-4, **rates)
    stem = list(run.network.stem.parameters())
    run = Run(run.network, run.objective, run.schedule, run.folder, pretrained=stem)
    names = {
        id(p): name for part in (run.network, run.objective) for name, p in part.named_parameters()
    }
    peaks = {names[id(p)]: g['peak'] for g in run.optimiser.param_groups for p in g['params']}
    assert set(peaks) == set(names.values())
    expected = {
        'stem.0.0.weight': 2e-4,
        'levels.1.merge.weight': 1e-4,
        'heads.0.attention.weight': 3e-4,
        'heads.0.place': 3e-4,
        'guidance.vectors.0.weight': 3e-4,
        'project.weight': 4e-4,
        'local.project.weight': 4e-4,
        'combine.centres': 4e-4,
        'combine.turn.weight': 4e-4,
    }
    assert {name: peaks[name] for name in expected} == expected


def test_layers_are_trained_along_and_none_is_out_of_date(tmp_path: Path):
    run = small_run(tmp_path / 'run', Lesson(match=1.0), layer_rate=1e-2)
    before = {k: v.clone() for k, v in run.network.state_dict().items()}
    for _ in range(2):
        run.update(batch())
    after = run.network.state_dict()
    layers = ('project.weight', 'local.project.weight', 'combine.centres', 'combine.turn.weight')
    assert not any(torch.equal(after[name], before[name]) for name in layers)


def test_norms_of_gradients_are_told_now_and_then(tmp_path: Path):
    run = small_run(tmp_path / 'run', Lesson(match=2.0), steps=300)
    plain, told = {'loss', 'match', 'metric'}, {'gradient match', 'gradient metric'}
    first, second = run.update(batch()), run.update(batch())
    run.step = 100
    assert set(first) == plain | told == set(run.update(batch())) and set(second) == plain
    losses, _ = small_run(tmp_path / 'twice', Lesson(match=2.0))._losses(batch())
    run = small_run(tmp_path / 'again', Lesson(match=2.0))
    losses, _ = run._losses(batch())
    sum(losses.values()).backward()
    whole = sum(float(p.grad.square().sum()) for p in run.network.parameters()) ** 0.5
    assert whole <= first['gradient match'] + first['gradient metric'] < 2 * whole + 1


def test_what_is_thrown_away_does_not_take_the_networks_share(tmp_path: Path):
    lesson = Lesson(teachers=('t',), descriptor=1.0, metric=1.0)
    run, taken = small_run(tmp_path / 'run', lesson), []
    with torch.no_grad():
        for layer in run.objective.guidance.vectors:
            layer.weight.mul_(1e-6)  # its gradient is a million times as large
            layer.bias.mul_(1e-6)
    step = run.optimiser.step
    run.optimiser.step = lambda: (
        taken.append(
            sum(
                float(p.grad.square().sum())
                for p in run.network.parameters()
                if p.grad is not None
            )
            ** 0.5
        ),
        step(),
    )
    run.update(batch(WHOLE))
    assert taken[0] == pytest.approx(1.0, rel=1e-3)


def test_the_average_follows_the_weights_faster_in_the_first_steps(tmp_path: Path):
    run = small_run(tmp_path / 'run')
    expected = {k: v.clone() for k, v in run.network.state_dict().items()}
    for step in range(1, 5):
        run.update(batch())
        keep = min(run.schedule.average, step / (step + 10))
        for name, value in run.network.state_dict().items():
            if value.is_floating_point():
                expected[name].lerp_(value, 1 - keep)
    assert same(expected, run.average.module.state_dict())
    assert not same(expected, run.network.state_dict())


def test_a_run_goes_on_where_a_checkpoint_left_it(tmp_path: Path):
    lesson = Lesson(teachers=('t',), soft=1.0, hard=1.0, maps=1.0, match=1.0)
    whole = small_run(tmp_path / 'run', lesson)
    for seed in range(3):
        whole.update(made_up_batch([WHOLE], seed=seed))
    whole.save()
    resumed = small_run(tmp_path / 'run', lesson)
    assert same(resumed.average.module.state_dict(), whole.average.module.state_dict())
    losses = [run.update(made_up_batch([WHOLE], seed=9)) for run in (whole, resumed)]
    assert losses[0] == losses[1]  # the memory is the same, too
    assert same(resumed.average.module.state_dict(), whole.average.module.state_dict())


def test_a_loss_that_is_no_number_keeps_the_last_good_state(tmp_path: Path):
    run = small_run(tmp_path / 'run', Lesson(teachers=('t',), descriptor=1.0))
    run.save()
    before = run.file.read_bytes()
    weights = {k: v.clone() for k, v in run.network.state_dict().items()}
    with pytest.raises(VprError) as error:
        run.update(broken())
    assert 'step 0: the loss is not a number' in line_of(error)
    assert 'descriptor nan' in str(error.value) and 'last good state' in str(error.value)
    assert run.file.read_bytes() == before and same(weights, run.network.state_dict())


def test_where_no_state_is_kept_none_is_promised(tmp_path: Path):
    run = small_run(tmp_path / 'run', Lesson(teachers=('t',), descriptor=1.0))
    with pytest.raises(VprError) as error:
        run.update(broken())
    assert 'no checkpoint yet' in line_of(error) and 'checkpoint.pt' not in str(error.value)


def test_norms_biases_positions_and_centres_do_not_decay(tmp_path: Path):
    run = small_run(tmp_path / 'run', Lesson(teachers=('t',), descriptor=1.0))
    names = {
        id(p): name for part in (run.network, run.objective) for name, p in part.named_parameters()
    }
    decay = {
        names[id(p)]: group['weight_decay']
        for group in run.optimiser.param_groups
        for p in group['params']
    }
    assert set(decay) == set(names.values())
    assert decay['levels.1.merge.weight'] == decay['guidance.vectors.0.weight'] == 0.02
    free = ('levels.1.position', 'heads.0.place', 'heads.0.norm.weight', 'project.bias')
    assert not any(decay[name] for name in (*free, 'combine.centres', 'stem.0.1.weight'))


def test_a_network_that_broke_without_a_loss_that_tells_is_noticed(tmp_path: Path):
    run = small_run(tmp_path / 'run', Lesson(metric=1.0))  # mines no pair among NaN
    with torch.no_grad():
        run.network.project.weight.fill_(torch.nan)
    with pytest.raises(VprError) as error:
        run.update(batch())
    assert 'step 0: the loss is not a number' in line_of(error)


def test_the_learned_gate_is_taught_by_the_truth(tmp_path: Path):
    run = small_run(tmp_path / 'run', Lesson(teachers=('a', 'b'), adaptive='gate', soft=1.0))
    before = run.objective.gate.latent.weight.clone()
    run.update(batch(WHOLE, MadeUpTeacher(seed=5)))
    assert not torch.equal(run.objective.gate.latent.weight, before)


def test_frozen_levels_stay_as_they_are(tmp_path: Path):
    run = small_run(tmp_path / 'run', Lesson(match=1.0))
    run.network.freeze(1)
    before = {k: v.clone() for k, v in run.network.state_dict().items()}
    run.update(batch())
    changed = {
        k.split('.')[0] for k, v in run.network.state_dict().items() if (v != before[k]).any()
    }
    assert changed == {'levels', 'heads', 'project', 'local', 'combine'}


def test_checkpoints_of_another_network_or_damaged_are_one_line(tmp_path: Path):
    small_run(tmp_path / 'run').save()
    with pytest.raises(VprError) as error:
        small_run(tmp_path / 'run', Lesson(bank=3))
    assert 'of a run with other settings' in line_of(error)
    (tmp_path / 'run' / 'checkpoint.pt').write_bytes(b'garbage')
    with pytest.raises(VprError) as error:
        small_run(tmp_path / 'run')
    assert 'checkpoint.pt: not a checkpoint' in line_of(error)
    assert 'UnpicklingError' in str(error.value) and 'remove' not in str(error.value)

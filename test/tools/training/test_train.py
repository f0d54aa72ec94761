# SPDX-License-Identifier: Apache-2.0
"""Training: killed runs end as others, two processes as one; bad losses keep the last state."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import line_of
from small_student import SMALL, torch
from small_training import PARTS, STEPS, curve, learn, same, write_settings

from ashtkd_ros.errors import VprError
from tools.training import processes
from tools.training.config import Lesson, Schedule
from tools.training.data.batch import Batch, Matches
from tools.training.loop import Run
from tools.training.networks.layers import NetworkOutput
from tools.training.networks.student import DSFormer
from tools.training.objective import Objective
from tools.training.run_folder import load_checkpoint


@pytest.fixture
def settings(pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return write_settings(pictures, tmp_path, monkeypatch)


def test_a_whole_training_leaves_its_settings_curve_and_student(settings: Path, tmp_path: Path):
    network = learn(settings, tmp_path / 'out')
    folder = tmp_path / 'out' / 'student'
    kept = yaml.safe_load((folder / 'config.yaml').read_text())
    assert kept['schedule']['seed'] == 0 and kept['revision']
    rows = curve(folder)
    assert [int(r['step']) for r in rows] == list(range(1, STEPS + 1))
    assert set(rows[0]) == {'step', 'loss', *PARTS}
    assert same(network.state_dict(), load_checkpoint(folder / 'checkpoint.pt')['average'])
    assert (folder / 'ranker.pt').is_file()
    assert not (tmp_path / 'out' / 'skipped.txt').exists()
    for name in ('frozen', 'up'):
        assert (tmp_path / 'out' / 'teachers' / name / 'descriptors.npy').is_file()


def test_a_killed_run_ends_as_an_uninterrupted_one(
    settings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    whole = learn(settings, tmp_path / 'whole')
    update = Run.update

    def killed(run, batch):
        if run.step == 5 and run.folder.name == 'student':
            raise KeyboardInterrupt  # checkpoints are at 3 and 6: two steps are lost
        return update(run, batch)

    monkeypatch.setattr(Run, 'update', killed)
    with pytest.raises(KeyboardInterrupt):
        learn(settings, tmp_path / 'cut')
    monkeypatch.setattr(Run, 'update', update)
    assert load_checkpoint(tmp_path / 'cut' / 'student' / 'checkpoint.pt')['step'] == 3
    resumed = learn(settings, tmp_path / 'cut')
    assert same(resumed.state_dict(), whole.state_dict())
    assert curve(tmp_path / 'cut' / 'student') == curve(tmp_path / 'whole' / 'student')


def test_two_processes_learn_as_one(settings: Path, tmp_path: Path):
    learn(settings, tmp_path / 'out')
    alone = curve(tmp_path / 'out' / 'student')
    for path in (tmp_path / 'out' / 'student').iterdir():
        path.unlink()  # teachers and views stay: the trunk's stand-in is not there in the others
    command = [sys.executable, '-m', 'torch.distributed.run', '--nproc-per-node', '2']
    command += ['--master-port', str(20000 + os.getpid() % 20000)]
    done = subprocess.run(
        [*command, '-m', 'tools.training.train', '--config', str(settings)],
        env={**os.environ, 'OMP_NUM_THREADS': '1'},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    together = curve(tmp_path / 'out' / 'student')
    assert [r['step'] for r in together] == [r['step'] for r in alone]
    for name in (*PARTS, 'loss'):
        ours, theirs = ([float(r[name]) for r in rows] for rows in (together, alone))
        assert ours[0] == pytest.approx(theirs[0], rel=1e-3, abs=2e-5), name
        # bf16 rounds other batches otherwise, and each step builds on the last
        np.testing.assert_allclose(ours, theirs, rtol=1e-2, atol=2e-5, err_msg=name)


def small_run(folder: Path, lesson: Lesson | None = None) -> Run:
    torch.manual_seed(0)
    network, lesson = DSFormer(SMALL), lesson or Lesson()
    sums = [3 * c for c in (32, 96, 32, 32)]
    objective = Objective(lesson, 16, sums, [(16, []) for _ in lesson.teachers])
    folder.mkdir(exist_ok=True)
    return Run(network, objective, Schedule(steps=20, places=4, views=2), folder)


def batch(*descriptors: torch.Tensor) -> Batch:
    """Eight images of four places; `descriptors`: each teacher's for these images."""
    images = torch.rand(8, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    targets = [NetworkOutput(d, [], []) for d in descriptors]
    places, nothing = torch.arange(8) // 2, torch.zeros(0, dtype=torch.int64)
    partners = torch.full((8, 16), -1)
    matches = Matches(nothing, nothing, partners[:0], partners[:0])
    return Batch(images, places, torch.arange(8) % 2 == 1, places, targets, partners, matches)


def test_the_loss_falls(tmp_path: Path):
    run = small_run(tmp_path / 'run')
    losses = [run.update(batch())['loss'] for _ in range(20)]
    assert losses[-1] < 0.5 * losses[0]


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


def test_the_average_goes_on_where_a_checkpoint_left_it(tmp_path: Path):
    whole = small_run(tmp_path / 'run')
    for _ in range(3):
        whole.update(batch())
    whole.save()
    resumed = small_run(tmp_path / 'run')
    assert same(resumed.average.module.state_dict(), whole.average.module.state_dict())
    for run in (whole, resumed):
        run.update(batch())
    assert same(resumed.average.module.state_dict(), whole.average.module.state_dict())


def test_a_loss_that_is_no_number_keeps_the_last_good_state(tmp_path: Path):
    broken = torch.full((8, 16), torch.nan)
    run = small_run(tmp_path / 'run', Lesson(teachers=('t',), descriptor=1.0))
    run.save()
    before = run.file.read_bytes()
    weights = {k: v.clone() for k, v in run.network.state_dict().items()}
    with pytest.raises(VprError) as error:
        run.update(batch(broken))
    assert 'step 0: the loss is not a number' in line_of(error)
    assert 'descriptor nan' in str(error.value) and 'last good state' in str(error.value)
    assert run.file.read_bytes() == before and same(weights, run.network.state_dict())


def test_where_no_state_is_kept_none_is_promised(tmp_path: Path):
    run = small_run(tmp_path / 'run', Lesson(teachers=('t',), descriptor=1.0))
    with pytest.raises(VprError) as error:
        run.update(batch(torch.full((8, 16), torch.nan)))
    assert 'no checkpoint yet' in line_of(error) and 'checkpoint.pt' not in str(error.value)


def test_norms_biases_positions_and_scales_do_not_decay(tmp_path: Path):
    run = small_run(tmp_path / 'run', Lesson(ranking=1.0))
    names = {
        id(p): name for part in (run.network, run.objective) for name, p in part.named_parameters()
    }
    decay = {
        names[id(p)]: group['weight_decay']
        for group in run.optimiser.param_groups
        for p in group['params']
    }
    assert set(decay) == set(names.values())
    assert decay['levels.1.merge.weight'] == decay['ranker.layers.0.weight'] == 0.02
    free = ('levels.1.position', 'heads.0.place', 'heads.0.norm.weight', 'project.bias')
    assert not any(decay[name] for name in (*free, 'ranker.scale', 'stem.0.1.weight'))


def test_a_network_that_broke_without_a_loss_that_tells_is_noticed(tmp_path: Path):
    run = small_run(tmp_path / 'run', Lesson(metric=1.0))  # mines no pair among NaN
    with torch.no_grad():
        run.network.project.weight.fill_(torch.nan)
    with pytest.raises(VprError) as error:
        run.update(batch())
    assert 'step 0: the loss is not a number' in line_of(error)


def test_only_the_weighted_losses_are_computed(tmp_path: Path):
    run = small_run(tmp_path / 'run', Lesson(metric=0.0, ranking=0.5))
    assert set(run.update(batch())) == {'loss', 'ranking'}


def test_the_learned_gate_is_taught_by_the_truth(tmp_path: Path):
    unit = torch.nn.functional.normalize(torch.rand(2, 8, 16), dim=2)
    run = small_run(tmp_path / 'run', Lesson(teachers=('a', 'b'), adaptive='gate', soft=1.0))
    before = run.objective.gate.latent.weight.clone()
    run.update(batch(*unit))
    assert not torch.equal(run.objective.gate.latent.weight, before)


def test_frozen_levels_stay_as_they_are(tmp_path: Path):
    run = small_run(tmp_path / 'run')
    run.network.freeze(1)
    before = {k: v.clone() for k, v in run.network.state_dict().items()}
    run.update(batch())
    changed = {
        k.split('.')[0] for k, v in run.network.state_dict().items() if (v != before[k]).any()
    }
    assert changed == {'levels', 'heads', 'project'}


def test_checkpoints_of_another_network_or_damaged_are_one_line(tmp_path: Path):
    small_run(tmp_path / 'run').save()
    with pytest.raises(VprError) as error:
        small_run(tmp_path / 'run', Lesson(ranking=1.0))
    assert 'of a run with other settings' in line_of(error)
    (tmp_path / 'run' / 'checkpoint.pt').write_bytes(b'garbage')
    with pytest.raises(VprError) as error:
        small_run(tmp_path / 'run')
    assert 'checkpoint.pt: not a checkpoint' in line_of(error)
    assert 'UnpicklingError' in str(error.value) and 'remove' not in str(error.value)


def test_batches_that_do_not_divide_are_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(processes.dist, 'is_initialized', lambda: True)
    monkeypatch.setattr(processes.dist, 'get_world_size', lambda: 2)
    monkeypatch.setattr(processes.dist, 'get_rank', lambda: 1)
    assert processes.own_share([1, 2, 3, 4]) == [3, 4]
    with pytest.raises(VprError) as error:
        processes.own_share([1, 2, 3])
    assert '3 images a step cannot be shared among 2 processes' in line_of(error)

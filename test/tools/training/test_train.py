# SPDX-License-Identifier: Apache-2.0
"""Training: killed runs end as others, two processes as one; bad losses keep the last state."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import line_of
from small_training import PARTS, STEPS, curve, learn, same, write_settings

from ashtkd_ros.errors import VprError
from tools.training import processes
from tools.training.config import read_config
from tools.training.loop import Run
from tools.training.run_folder import load_checkpoint
from tools.training.train import prepare


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
    losses = {'loss', *PARTS}
    assert set(rows[0]) == {'step', *losses, *(f'gradient {name}' for name in PARTS)}
    assert all(rows[0].values()) and all(rows[1][name] for name in losses)
    assert not rows[1]['gradient match']  # as these cost, every hundredth step
    assert same(network.state_dict(), load_checkpoint(folder / 'checkpoint.pt')['average'])
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


def test_batches_that_do_not_divide_are_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(processes.dist, 'is_initialized', lambda: True)
    monkeypatch.setattr(processes.dist, 'get_world_size', lambda: 2)
    monkeypatch.setattr(processes.dist, 'get_rank', lambda: 1)
    assert processes.own_share([1, 2, 3, 4]) == [3, 4]
    with pytest.raises(VprError) as error:
        processes.own_share([1, 2, 3])
    assert '3 images a step cannot be shared among 2 processes' in line_of(error)


def test_too_few_pictures_for_the_descriptor_are_told_before_teachers_are_made(settings: Path):
    config = read_config(settings)
    for name in ('dimensions', 'free_dimensions'):
        student = replace(config.student, **{name: 1000})
        with pytest.raises(VprError) as error:
            prepare(replace(config, student=student))
        assert f'fewer `{name}` of the student' in line_of(error)

# SPDX-License-Identifier: Apache-2.0
"""Training: killed runs end as others, two processes as one; bad losses keep the last state."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from conftest import line_of
from small_student import torch
from small_training import PARTS, STEPS, curve, learn, same, write_settings

from ashtkd_ros.errors import VprError
from tools.training import processes
from tools.training.config import Schedule
from tools.training.data.datasets import FixedViews, FreshViews
from tools.training.data.views import Views
from tools.training.loop import Run
from tools.training.networks.layers import NetworkOutput
from tools.training.run_folder import load_checkpoint

default_collate = torch.utils.data.default_collate


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
        assert (tmp_path / 'out' / 'teachers' / name / 'taught.npz').is_file()


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


def test_images_are_degraded_by_seed_step_and_number(views):
    data = FixedViews(views, Schedule(clean_query=0.0, clean_database=1.0), 64, [])
    image = data[3, 0, 5, 0, True]
    assert image.shape == (3, 64, 64) and image.dtype == torch.float32
    assert image.min() >= 0 and image.max() <= 1
    assert torch.equal(data[3, 0, 5, 0, True], image)
    others = [data[4, 0, 5, 0, True], data[3, 1, 5, 0, True]]
    assert all(not torch.equal(other, image) for other in others)
    clean = torch.from_numpy(views.image(5).copy()).permute(2, 0, 1) / 255
    assert torch.equal(data[3, 0, 5, 0, False], clean)
    smaller = FixedViews(views, Schedule(), 32, [])
    assert smaller[3, 0, 5, 0, True].shape == (3, 32, 32)


def test_fresh_views_show_teachers_what_the_student_sees_undegraded(views):
    schedule = Schedule(clean_query=0.0, clean_database=1.0)
    asked = []

    def teach(images: torch.Tensor) -> NetworkOutput:
        asked.append(images)
        return NetworkOutput(images.mean(dim=(2, 3)), [], [])

    data = FreshViews(views, schedule, 32, [teach])
    entries = [(3, 0, 5, 0, False), (3, 1, 6, 1, True)]
    shown, again, other = (data[e] for e in (entries[0], entries[0], (4, *entries[0][1:])))
    assert shown[0].shape == (3, 32, 32) and shown[1].shape == (3, views.size, views.size)
    assert torch.equal(shown[1], again[1]) and not torch.equal(shown[1], other[1])
    half = torch.nn.functional.avg_pool2d(shown[1][None], 2)[0]
    torch.testing.assert_close(shown[0], half, atol=0.02, rtol=0)
    batch = default_collate([data[e] for e in entries])
    images, targets, places, query = data.batch(batch, entries)
    assert torch.equal(images, batch[0]) and torch.equal(asked[0], batch[1])
    assert targets[0].descriptor.shape == (2, 3)
    assert places.tolist() == [0, 1] and query.tolist() == [False, True] and data.lost == 0


def test_a_picture_that_has_gone_is_shown_as_its_fixed_view(tmp_path: Path):
    path = tmp_path / 'a.png'
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    views = Views(tmp_path / 'views', size=64)
    views.add([path], 2)
    path.unlink()
    data = FreshViews(views, Schedule(clean_query=1.0, clean_database=1.0), 64, [])
    entries = [(3, 0, 0, 0, False), (3, 1, 1, 0, True)]
    shown = default_collate([data[e] for e in entries])
    for row in (0, 1):
        fixed = torch.from_numpy(views.image(row).copy()).permute(2, 0, 1) / 255
        assert torch.equal(shown[0][row], fixed) and torch.equal(shown[1][row], fixed)
    data.batch(shown, entries)
    assert data.lost == 2


def test_a_training_on_fresh_views_ends_as_it_should(settings: Path, tmp_path: Path):
    values = yaml.safe_load(settings.read_text())
    settings.write_text(yaml.safe_dump({**values, 'fresh_views': True}))
    learn(settings, tmp_path / 'out')
    rows = curve(tmp_path / 'out' / 'student')
    assert len(rows) == STEPS and set(rows[0]) == {'step', 'loss', *PARTS}


def test_batches_that_do_not_divide_are_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(processes.dist, 'is_initialized', lambda: True)
    monkeypatch.setattr(processes.dist, 'get_world_size', lambda: 2)
    monkeypatch.setattr(processes.dist, 'get_rank', lambda: 1)
    assert processes.own_share([1, 2, 3, 4]) == [3, 4]
    with pytest.raises(VprError) as error:
        processes.own_share([1, 2, 3])
    assert '3 images a step cannot be shared among 2 processes' in line_of(error)

# SPDX-License-Identifier: Apache-2.0
"""Training: resumed to the bit, stopped by a bad loss, a seed for everything."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import line_of
from small_student import SMALL, torch

from ashtkd_ros.errors import VprError
from tools import distill
from tools.student import DSFormer, StudentConfig
from tools.teacher import Whitening
from tools.views import Views

TRAINING = distill.DistillConfig(epochs=2, batch=16, checkpoint_steps=3)


def train(folder: Path, views: Views, config: distill.DistillConfig = TRAINING) -> DSFormer:
    return distill.distill(views, None, folder, config, SMALL)


def test_an_interrupted_run_ends_where_an_uninterrupted_one_does(
    tmp_path: Path, views: Views, monkeypatch: pytest.MonkeyPatch
):
    whole = train(tmp_path / 'whole', views)
    update = distill.Run.update

    def interrupted(run, images, targets):
        if run.step == 5:  # checkpoints are at 3 and 6: two steps are lost
            raise KeyboardInterrupt
        return update(run, images, targets)

    monkeypatch.setattr(distill.Run, 'update', interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / 'cut', views)
    monkeypatch.undo()
    assert distill.load_checkpoint(tmp_path / 'cut' / 'checkpoint.pt')['step'] == 3
    resumed = train(tmp_path / 'cut', views)
    assert distill.load_checkpoint(tmp_path / 'cut' / 'checkpoint.pt')['step'] == 8
    start = DSFormer(SMALL)
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], value, atol=0, rtol=0)
    moved = [not torch.equal(p, whole.state_dict()[n]) for n, p in start.named_parameters()]
    assert sum(moved) > len(moved) / 2


def test_training_lowers_the_loss(tmp_path: Path, views: Views):
    whole = torch.from_numpy(views.teacher[views.whole])
    targets = Whitening(whole, 16)(torch.from_numpy(views.teacher))[:16]
    images = torch.from_numpy(
        np.stack([cv2.imdecode(j, cv2.IMREAD_COLOR)[..., ::-1] for j in views.jpegs[:16]])
    )
    images = images.permute(0, 3, 1, 2).float() / 255
    torch.manual_seed(0)
    run = distill.Run(DSFormer(SMALL), distill.DistillConfig(learning_rate=3e-3), 40, tmp_path)
    losses = [run.update(images, targets) for _ in range(30)]
    assert np.mean(losses[-3:]) < np.mean(losses[:3]) - 0.2


def test_a_loss_that_is_no_number_stops_and_keeps_the_checkpoint(tmp_path: Path, views: Views):
    run = distill.Run(DSFormer(SMALL), TRAINING, 8, tmp_path)
    run.save()
    before = run.file.read_bytes()
    weights = {k: v.clone() for k, v in run.network.state_dict().items()}
    with pytest.raises(VprError) as error:
        run.update(torch.rand(2, 3, 64, 64), torch.full((2, 16), torch.nan))
    assert 'the loss is nan' in line_of(error) and 'is kept' in str(error.value)
    assert run.file.read_bytes() == before
    assert all(torch.equal(run.network.state_dict()[k], v) for k, v in weights.items())


def test_batches_show_every_view_once_an_epoch_and_go_on_from_any_step():
    config = distill.DistillConfig(epochs=3, batch=4)
    everything = list(distill.batches(12, config, 0))
    assert len(everything) == 9
    for epoch in range(3):
        keys = [key for batch in everything[3 * epoch : 3 * epoch + 3] for key in batch]
        assert sorted(keys) == [(epoch, i) for i in range(12)]
    for first in range(9):
        assert list(distill.batches(12, config, first)) == everything[first:]


def test_views_are_degraded_by_seed_and_epoch(views: Views):
    data = distill.DegradedViews(views, torch.zeros(64, 16), TRAINING)
    image, target = data[0, 3]
    assert image.shape == (3, 64, 64) and image.dtype == torch.float32 and target.shape == (16,)
    assert image.min() >= 0 and image.max() <= 1
    assert torch.equal(data[0, 3][0], image)
    assert any(not torch.equal(data[epoch, 3][0], image) for epoch in range(1, 5))


def test_checkpoint_of_other_settings_damaged_or_without_data_is_one_line(
    tmp_path: Path, views: Views
):
    distill.Run(DSFormer(StudentConfig(image_size=64, dimensions=8)), TRAINING, 8, tmp_path).save()
    with pytest.raises(VprError) as error:
        train(tmp_path, views)
    assert 'of a run with other settings' in line_of(error)
    (tmp_path / 'checkpoint.pt').write_bytes(b'garbage')
    with pytest.raises(VprError) as error:
        train(tmp_path, views)
    assert 'checkpoint.pt: not a checkpoint' in line_of(error)
    few = Views(views.jpegs[:20], views.teacher[:20], np.ones(20, bool))
    with pytest.raises(VprError) as error:
        train(tmp_path / 'new', few, distill.DistillConfig(batch=32))
    assert '20 views are less than one batch of 32' in line_of(error)

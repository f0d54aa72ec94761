# SPDX-License-Identifier: Apache-2.0
"""Teachers: finished before the student, made once, the same on the fly as for fixed views."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import line_of
from small_student import torch
from small_training import FakeTrunk, write_settings

from ashtkd_ros.errors import VprError
from tools.training import teachers
from tools.training.config import TrainConfig, read_config
from tools.training.data.datasets import TrainingData
from tools.training.teachers import make_teachers
from tools.training.train import prepare


@pytest.fixture
def config(pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TrainConfig:
    return read_config(write_settings(pictures, tmp_path, monkeypatch))


@pytest.fixture
def data(config: TrainConfig) -> TrainingData:
    return prepare(config)


def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the teachers that are made from now on, in this order."""
    names, make = [], teachers._make

    def noted(plan, *rest) -> None:
        names.append(plan.teacher.name)
        make(plan, *rest)

    monkeypatch.setattr(teachers, '_make', noted)
    return names


def test_teachers_come_in_the_order_asked_for_with_outputs_of_every_view(config, data):
    for names in (['frozen', 'up'], ['up', 'frozen'], ['up']):
        found = make_teachers(config, data, names)
        assert [t.name for t in found] == names
        for teacher in found:
            descriptors = teacher.outputs.descriptor.float()
            assert len(descriptors) == len(data.views.jpegs)
            torch.testing.assert_close(
                descriptors.norm(dim=1), torch.ones(len(descriptors)), atol=2e-3, rtol=0
            )
    assert [t.name for t in make_teachers(config, data)] == list(config.lesson.teachers)


def test_those_that_teach_are_made_first_and_nothing_is_made_twice(config, data, monkeypatch):
    names = made(monkeypatch)
    make_teachers(config, data, ['up'])
    assert names == ['frozen', 'up']
    before = {p: p.stat().st_mtime_ns for p in config.out.rglob('*')}
    make_teachers(config, data, ['up', 'frozen'])
    assert names == ['frozen', 'up']
    assert before == {p: p.stat().st_mtime_ns for p in config.out.rglob('*')}


def test_a_finished_teacher_needs_no_teachers_any_more(config, data, monkeypatch):
    make_teachers(config, data, ['up'])
    (config.out / 'teachers' / 'frozen' / 'taught.npz').unlink()
    names = made(monkeypatch)
    make_teachers(config, data, ['up'])
    assert names == []


def test_a_lesson_without_teachers_has_none(config, data):
    assert make_teachers(config, data, []) == []
    assert not (config.out / 'teachers').exists()


def test_outputs_on_the_fly_are_those_of_the_fixed_views(config, data):
    rows = [0, 1, 70]
    images = np.stack([data.views.image(r) for r in rows]).transpose(0, 3, 1, 2) / 255
    for teacher in make_teachers(config, data):
        fixed, live = teacher.outputs, teacher(torch.from_numpy(images).float())
        assert [m.shape for m in live.maps] == [m[rows].shape for m in fixed.maps]
        torch.testing.assert_close(
            live.descriptor, fixed.descriptor[rows].float(), atol=0.02, rtol=0
        )


def test_teachers_on_one_trunk_look_at_a_batch_once(config, data, monkeypatch):
    looks = []

    class CountingTrunk(FakeTrunk):
        def features(self, images: torch.Tensor):
            looks.append(len(images))
            return super().features(images)

    both = make_teachers(config, data)
    monkeypatch.setattr('tools.training.networks.teacher.FrozenTrunk', CountingTrunk)
    for number in (2, 3):
        images = torch.rand(number, 3, 64, 64)
        for teacher in both:
            teacher(images)
    assert looks == [2, 3]


@pytest.mark.parametrize('name', ['teacher.pt', 'taught.npz'])
def test_a_damaged_file_is_one_line(config, data, name: str):
    make_teachers(config, data)
    (config.out / 'teachers' / 'up' / name).write_bytes(b'damaged')
    with pytest.raises(VprError) as error:
        make_teachers(config, data)
    assert f'up/{name}: ' in line_of(error) and 'will be made again' in str(error.value)


def test_outputs_of_other_views_are_refused(config, data):
    make_teachers(config, data)
    more = replace(config, views_of_picture=5)
    with pytest.raises(VprError) as error:
        make_teachers(more, prepare(more))
    assert 'taught.npz: made of other views; remove it' in line_of(error)

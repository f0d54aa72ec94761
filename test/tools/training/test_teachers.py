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
from tools.training.config import Lesson, TrainConfig, read_config
from tools.training.data.datasets import TrainingData
from tools.training.finished_teacher import KnownOutputs, Teacher
from tools.training.teachers import make_teachers, similarity_scale
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
            descriptors = teacher.outputs(range(len(data.views.jpegs))).descriptor
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
    (config.out / 'teachers' / 'frozen' / 'descriptors.npy').unlink()
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
        fixed, live = teacher.outputs(rows), teacher(torch.from_numpy(images).float())
        torch.testing.assert_close(live.descriptor, fixed.descriptor, atol=0.02, rtol=0)
        for kind in ('sums', 'salient'):
            pairs = zip(getattr(live, kind), getattr(fixed, kind), strict=True)
            for ours, theirs in pairs:
                torch.testing.assert_close(ours, theirs, atol=0.02, rtol=0)


def test_teachers_on_one_trunk_look_at_a_batch_once(config, data, monkeypatch):
    looks = []

    class CountingTrunk(FakeTrunk):
        def features(self, images: torch.Tensor):
            looks.append(len(images))
            return super().features(images)

    both = make_teachers(config, data)
    monkeypatch.setattr('tools.training.networks.shared_trunk.FrozenTrunk', CountingTrunk)
    for number in (2, 3):
        images = torch.rand(number, 3, 64, 64)
        for teacher in both:
            teacher(images)
    assert looks == [2, 3]


@pytest.mark.parametrize('name', ['teacher.pt', 'descriptors.npy'])
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
    assert 'descriptors.npy: made of other views; remove it' in line_of(error)


def test_kinds_pool_the_whole_or_its_quarters_too(config, data):
    whole = replace(config.teachers[0], name='whole', pool='whole', dimensions=2)
    more = replace(config, teachers=(*config.teachers, whole))
    whole, quarters, up = make_teachers(more, data, ['whole', 'frozen', 'up'])
    assert [t.kind for t in (whole, quarters, up)] == ['whole', 'quarters', 'apformer']
    view = torch.from_numpy(data.views.image(0).copy()).permute(2, 0, 1)[None] / 255
    turned = view.flip(3)  # what stood on the left stands on the right
    same = [float(t(view).descriptor @ t(turned).descriptor.T) for t in (whole, quarters)]
    assert same[0] > 0.99 > same[1]


def test_the_maps_of_a_trunk_come_with_the_first_of_its_teachers(config, data):
    for names in (['frozen', 'up'], ['up', 'frozen']):
        first, second = (t.outputs([0, 5]).maps for t in make_teachers(config, data, names))
        assert second is None and first.shape == (2, 196, 3) and first.dtype == torch.float32
        torch.testing.assert_close(first.norm(dim=2), torch.ones(2, 196), atol=2e-3, rtol=0)


def test_the_scale_is_that_of_similarities_between_different_pictures(config, data):
    (teacher,) = make_teachers(config, data, ['frozen'])
    unit = teacher.outputs(range(len(data.views.rows))).descriptor
    pictures = [path for path, _ in data.views.rows]
    apart = torch.tensor([[a != b for b in pictures] for a in pictures])
    found = (unit @ unit.T)[apart]
    mean, deviation = teacher.scale
    assert mean == pytest.approx(float(found.mean()), abs=0.05)
    assert deviation == pytest.approx(float(found.std()), rel=0.05)


def test_no_teacher_rules_a_mixture_by_its_scale():
    """Similarities of one spread 20 times as much: both decide alike when standardised."""
    draw = torch.Generator().manual_seed(0)
    pictures = torch.arange(400)
    wide = torch.nn.functional.normalize(torch.randn(400, 6, generator=draw), dim=1)
    own = torch.nn.functional.normalize(torch.randn(400, 6, generator=draw), dim=1)
    narrow = torch.cat([0.975**0.5 * torch.ones(400, 1), 0.025**0.5 * own], dim=1)
    both = []
    for d in (wide, narrow):
        scale = similarity_scale(d, pictures)
        both.append(Teacher('t', 'whole', KnownOutputs(d), scale, torch.nn.Identity(), None))
    raw = [d[:50] @ d[50:].T for d in (wide, narrow)]
    measured = [t.standardised(s) for t, s in zip(both, raw, strict=True)]

    def shares(similarities: list[torch.Tensor]) -> list[float]:
        """How far the mixture is that of each teacher: correlation."""
        together = torch.stack([sum(similarities), *similarities]).flatten(1)
        return torch.corrcoef(together)[0, 1:].tolist()

    assert shares(raw)[0] > 0.99 > 0.2 > shares(raw)[1]
    assert shares(measured) == pytest.approx([0.5**0.5, 0.5**0.5], abs=0.05)


def test_a_trunk_without_a_map_is_refused_before_any_teacher_is_made(config, data, monkeypatch):
    class OwnDescriptor(FakeTrunk):
        def features(self, images: torch.Tensor):
            return None, torch.nn.functional.normalize(images.mean(dim=(2, 3)), dim=1)

    monkeypatch.setattr('tools.training.networks.shared_trunk.FrozenTrunk', OwnDescriptor)
    names = made(monkeypatch)
    whole, up = (replace(t, lesson=Lesson()) for t in config.teachers)
    whole = replace(whole, name='whole', pool='whole')
    for chosen, expected in (
        (config.teachers[0], 'use `pool: whole`'),
        (up, 'an APFormer needs one'),
    ):
        plan = replace(config, teachers=(whole, chosen), lesson=Lesson())
        with pytest.raises(VprError) as error:
            make_teachers(plan, data, ['whole', chosen.name])
        assert expected in line_of(error) and not names

# SPDX-License-Identifier: Apache-2.0
"""The shipped student for larger pictures: the same weights, more of the picture."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from conftest import line_of
from training_packages import onnx, torch

from ashtkd_ros.errors import VprError
from ashtkd_ros.network.embedder import Embedder
from tools.training.enlarge import enlarge, enlarged, read_student
from tools.training.export import write_onnx

PIXELS, GRID = 256, 14


@pytest.fixture(scope='module')
def network(student: Path):
    return read_student(student)


def test_the_student_is_read_back_as_it_was_exported(network, student: Path):
    image = np.random.default_rng(0).integers(0, 256, (224, 224, 3), np.uint8)
    with torch.no_grad():
        tensor = torch.from_numpy(image.astype(np.float32) / 255).permute(2, 0, 1)[None]
        descriptor = network(tensor)[0].numpy()
    assert descriptor @ Embedder(student).embed(image) > 0.9999


def test_weights_stay_and_positions_are_resampled(network):
    larger = enlarged(network, PIXELS, GRID)
    ours, theirs = network.state_dict(), larger.state_dict()
    other = {name for name in ours if ours[name].shape != theirs[name].shape}
    assert other == {'levels.1.position', *(f'heads.{i}.place' for i in range(3))}
    for name in ours.keys() - other:
        assert torch.equal(ours[name], theirs[name]), name
    with torch.no_grad():
        descriptor, local, *_ = larger(torch.rand(2, 3, PIXELS, PIXELS), True)
    assert descriptor.shape == (2, 320) and local.shape == (2, GRID**2, 64)


def test_a_larger_picture_of_the_same_has_nearly_the_same_descriptor(network, town: Path):
    picture = next(iter(sorted((town / 'day' / 'images').iterdir())))
    larger, images = enlarged(network, PIXELS, GRID), []
    for size in (224, PIXELS):
        pixels = cv2.resize(cv2.imread(str(picture))[..., ::-1], (size, size))
        images.append(torch.from_numpy(pixels.astype(np.float32) / 255).permute(2, 0, 1)[None])
    with torch.no_grad():
        likeness = float(network(images[0])[0] @ larger(images[1])[0])
    assert 0.8 < likeness < 0.99999


def test_a_grid_stays_where_only_the_pixels_change(network):
    larger = enlarged(network, 128, 7)
    assert larger.smaller(3, 64).config.local_grid == 7
    assert larger.smaller(3, 64, local_grid=0).config.local_grid == 0


@pytest.mark.parametrize(
    'pixels, grid, said',
    [
        (250, 0, 'multiple of 16'),
        (8, 0, 'multiple of 16'),
        (16000, 0, '1024 at most'),
        (256, 17, '16 positions at most'),
        (64, 10**5, '4 positions at most'),
    ],
)
def test_sizes_that_cannot_be_are_named(network, pixels: int, grid: int, said: str):
    with pytest.raises(VprError) as error:
        enlarged(network, pixels, grid)
    assert said in line_of(error)


def test_no_model_is_written_whose_confidence_could_not_be_fitted(
    network, town: Path, tmp_path: Path, monkeypatch
):
    out, small = tmp_path / 'out.onnx', enlarged(network, 64, 0)
    with pytest.raises(VprError) as error:
        enlarge(small, tmp_path / 'nowhere', [], out)
    assert 'no such folder' in line_of(error) and not out.exists()
    pictures = [SimpleNamespace(path=p) for p in sorted((town / 'day' / 'images').iterdir())[:3]]
    places = SimpleNamespace(pictures=pictures)
    monkeypatch.setattr('tools.training.enlarge.read_places', lambda sources: places)
    with pytest.raises(VprError) as error:
        enlarge(small, tmp_path, [], out)
    assert 'has no set that the settings know' in line_of(error) and not out.exists()


def test_what_is_no_student_is_named(tmp_path: Path, student: Path):
    (tmp_path / 'text.onnx').write_text('nothing')
    (tmp_path / 'empty.onnx').touch()
    os.mkfifo(tmp_path / 'pipe.onnx')
    names = ('text', 'none', 'empty', 'pipe')
    for path in (*(tmp_path / f'{name}.onnx' for name in names), tmp_path):
        with pytest.raises(VprError) as error:
            read_student(path)
        assert str(path) in line_of(error)
    int8 = student.with_name('ashtkd_student_int8.onnx')
    with pytest.raises(VprError, match='int8'):
        read_student(int8)


def test_the_shipped_larger_student_is_this_tools(network, student: Path, tmp_path: Path):
    write_onnx(enlarged(network, 320, 16), tmp_path / 'ours.onnx', {'licence': 'Apache-2.0'})
    ours, shipped = (
        [onnx.numpy_helper.to_array(array) for array in onnx.load(str(path)).graph.initializer]
        for path in (tmp_path / 'ours.onnx', student.with_name('ashtkd_student_320.onnx'))
    )
    assert len(ours) == len(shipped)
    for mine, theirs in zip(ours, shipped, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-6)
    other = Embedder(student.with_name('ashtkd_student_320.onnx'))
    assert other.preprocessing.size == (320, 320) and other.local.grid == (16, 16)

# SPDX-License-Identifier: Apache-2.0
"""Int8 variants: what they keep of the float model, and when one may ship."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import line_of
from small_student import small_student, torch  # noqa: F401  skips where it is missing
from training_packages import onnx

from ashtkd_ros.errors import VprError
from ashtkd_ros.network.embedder import Embedder
from tools.training.export import metadata_of, write_onnx
from tools.training.studies.quantise import VARIANTS, calibration_images, quantise, verdict
from tools.training.whitening import finish


@pytest.fixture(scope='module')
def model(tmp_path_factory: pytest.TempPathFactory, views) -> Path:
    path, network = tmp_path_factory.mktemp('float') / 'small.onnx', small_student()
    finish(network, views)
    write_onnx(network, path, metadata_of(network, 'small'))
    return path


@pytest.fixture
def sets(pictures: list[Path], tmp_path: Path) -> Path:
    """A folder with one set of 64 pictures and nothing else."""
    folder = tmp_path / 'sets'
    shutil.copytree(pictures[0].parent, folder / 'one')
    rows = ''.join(f'{p.name},,,{i}\n' for i, p in enumerate(pictures))
    (folder / 'one' / 'index.csv').write_text('file,place,role,order\n' + rows)
    return folder


def test_variants_say_nearly_the_same_and_keep_what_the_model_tells(
    model: Path, sets: Path, tmp_path: Path
):
    embedder = Embedder(model, num_threads=1)
    images = calibration_images(sets, embedder, count=40)
    assert images.shape == (40, 3, 64, 64) and images.dtype == np.float32
    files = quantise(model, images, tmp_path / 'int8')
    assert list(files) == list(VARIANTS)
    with pytest.raises(VprError) as error:
        (files['int8_static']).write_bytes(b'mine')
        quantise(model, images, tmp_path / 'int8')
    assert 'small_int8_static.onnx: exists' in line_of(error)
    files['int8_static'].unlink()
    quantise(model, images, tmp_path / 'int8')  # replaces the other one, which is ours
    exact = embedder.run(images)
    for variant, path in files.items():
        ours = Embedder(path, num_threads=1)
        assert ours.name == f'small_{variant}'
        assert ours.preprocessing == embedder.preprocessing
        assert path.stat().st_size < model.stat().st_size
        graph = onnx.load(str(path))
        assert {opset.domain for opset in graph.opset_import} == {
            n.domain for n in graph.graph.node
        }
        assert (ours.run(images) * exact).sum(axis=1).mean() > 0.8


def test_a_variant_ships_only_where_it_loses_little_and_is_faster():
    exact = {'a': 87.1, 'b': 90.0}
    assert verdict(exact, {'a': 86.1, 'b': 90.0}, 10.0, 9.0) == 'ships'
    lost = verdict(exact, {'a': 85.1, 'b': 95.0}, 10.0, 9.0)
    assert lost == 'does not ship: loses 2.0 points on a'
    slow = verdict(exact, exact, 10.0, 10.0)
    assert slow == 'does not ship: not faster (10.0 ms, fp32 10.0 ms)'


def test_no_pictures_or_no_model_are_one_line(model: Path, tmp_path: Path):
    embedder = Embedder(model, num_threads=1)
    with pytest.raises(VprError) as error:
        calibration_images(tmp_path, embedder)
    assert 'holds no set' in line_of(error)
    (tmp_path / 'bad.onnx').write_bytes(b'\xff' * 100)
    with pytest.raises(VprError) as error:
        quantise(tmp_path / 'bad.onnx', np.zeros((2, 3, 64, 64), np.float32), tmp_path)
    assert 'bad.onnx: ONNX Runtime cannot quantise it' in line_of(error)

# SPDX-License-Identifier: Apache-2.0
"""Export: the exported network is the trained one with its whitening and metadata."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import line_of
from small_student import SMALL, small_student

from ashtkd_ros.embedder import Embedder
from ashtkd_ros.errors import VprError
from tools import calibrate, export
from tools.distill import DistillConfig, distill
from tools.teacher import Whitening
from tools.views import Views

onnx = pytest.importorskip('onnx')


def test_exported_network_is_the_trained_one_whitened(
    tmp_path: Path, views: Views, monkeypatch: pytest.MonkeyPatch
):
    config = DistillConfig(epochs=1, batch=32)
    distill(views, None, tmp_path / 'run', config, SMALL)
    trained = export.load_student(tmp_path / 'run')
    samples = calibrate.Samples(
        np.linspace(0, 1, 40), np.linspace(-0.1, 0.4, 40), np.arange(40) % 40 > 15
    )
    monkeypatch.setattr(export, 'collect', lambda *_: samples)
    out = tmp_path / 'models' / 'small.onnx'
    # every third of the 48 whole pictures is too few for 16 dimensions
    with pytest.raises(VprError):
        export.export(tmp_path / 'run', views, tmp_path, out, 0.5)
    assert not out.exists()
    many = Views(views.jpegs, views.teacher, np.ones(64, bool))
    measured = export.export(tmp_path / 'run', many, tmp_path, out, 0.5)
    assert measured['least cosine'] > 0.9999

    whitening = Whitening(export.raw_descriptors(trained, views.jpegs[::3]), 16, 0.5)
    expected = whitening(export.raw_descriptors(trained, views.jpegs)).numpy()
    embedder = Embedder(out, num_threads=1)
    images = [cv2.imdecode(j, cv2.IMREAD_COLOR)[..., ::-1] for j in views.jpegs]
    np.testing.assert_allclose(embedder.embed_batch(images), expected, atol=2e-3)
    np.testing.assert_allclose(embedder.embed(images[0]), expected[0], atol=2e-3)

    assert (embedder.name, embedder.dimensions) == ('small', 16)
    assert embedder.preprocessing.size == (64, 64)
    assert embedder.confidence == {k: measured[k] for k in ('similarity', 'margin', 'offset')}
    properties = {p.key: p.value for p in onnx.load(str(out)).metadata_props}
    assert properties['licence'] == 'Apache-2.0' and json.loads(properties['preprocessing'])


def test_export_that_differs_from_torch_is_refused(tmp_path: Path, views: Views):
    path, small = tmp_path / 'm.onnx', small_student()
    preprocessing = {'size': [64, 64], 'mean': [0] * 3, 'std': [1] * 3, 'colour_order': 'RGB'}
    export.write_onnx(small, path, {'preprocessing': json.dumps(preprocessing)})
    assert export.check_parity(small, path, views.jpegs[:4]) > 0.9999
    with pytest.raises(VprError) as error:
        export.check_parity(small_student(seed=7), path, views.jpegs[:4])
    assert 'differs from torch' in line_of(error)


def test_a_folder_without_a_run_is_one_line(tmp_path: Path):
    for text, expected in ((None, 'no finished run'), ('', 'no finished run'), ('a: [', 'no fin')):
        if text is not None:
            (tmp_path / 'config.yaml').write_text(text)
        with pytest.raises(VprError) as error:
            export.load_student(tmp_path)
        assert expected in line_of(error)

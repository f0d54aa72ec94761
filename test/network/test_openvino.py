# SPDX-License-Identifier: Apache-2.0
"""The shipped networks in OpenVINO itself: `make openvino` runs this with its wheel."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import pytest
from conftest import ROOT

from ashtkd_ros.network.embedder import Embedder
from ashtkd_ros.network.providers import AUTO, CPU, OPENVINO

if OPENVINO not in onnxruntime.get_available_providers():
    pytest.skip(
        'this onnxruntime has no OpenVINO; `make openvino` runs these tests with its wheel',
        allow_module_level=True,
    )

# Descriptors of an int8 network differ more: where a value is rounded to one of 256 is up to the
# provider, and ONNX Runtime's own versions differ by 0.0003.
LEAST_COSINE = {'ashtkd_student': 0.9999, 'ashtkd_student_int8': 0.998}
COUNT_THREADS = """
import json, os, sys
import numpy as np
from ashtkd_ros.network.embedder import Embedder

network = Embedder(sys.argv[1], ('OpenVINOExecutionProvider',), num_threads=int(sys.argv[2]))
network.embed(np.zeros((60, 80, 3), np.uint8) + 99)
print(json.dumps([network.provider, len(os.listdir('/proc/self/task'))]))
"""


@pytest.fixture(scope='module')
def photos(town: Path) -> list[np.ndarray]:
    return [cv2.imread(str(path)) for path in sorted(town.rglob('*.jpg'))[:24]]


@pytest.mark.parametrize('name', LEAST_COSINE)
def test_descriptors_are_those_of_the_cpu(name: str, photos: list[np.ndarray], record_property):
    path = ROOT / 'models' / f'{name}.onnx'
    network = Embedder(path, (OPENVINO,), num_threads=1)
    assert network.provider == OPENVINO and not network.warnings
    reference = Embedder(path, num_threads=1)
    found, wanted = network.embed_batch(photos), reference.embed_batch(photos)
    cosine = float((found * wanted).sum(axis=1).min())
    record_property('least cosine', cosine)
    print(f'{name}: least cosine {cosine:.6f}')
    assert cosine >= LEAST_COSINE[name]


def test_every_output_is_that_of_the_cpu(student: Path, photos: list[np.ndarray]):
    network, reference = Embedder(student, (OPENVINO,)), Embedder(student)
    names = [output.name for output in reference._session.network.get_outputs()]
    feeds = {'image': network.preprocess(photos[0])[None]}
    pairs = zip(*(n._session.run(names, feeds) for n in (network, reference)), strict=True)
    for name, (found, wanted) in zip(names, pairs, strict=True):
        np.testing.assert_allclose(found, wanted, atol=2e-3, err_msg=name)


def test_auto_takes_it(student: Path):
    network = Embedder(student, (AUTO,), num_threads=1)
    assert network.provider == OPENVINO and not network.warnings


def test_threads_are_as_many_as_asked_for(student: Path):
    counts = []
    for threads in (1, 9):
        command = [sys.executable, '-c', COUNT_THREADS, str(student), str(threads)]
        output = subprocess.check_output(command, cwd=ROOT, timeout=60)
        provider, count = json.loads(output)
        assert provider == OPENVINO
        counts.append(count)
    print(f'threads of the process for num_threads 1 and 9: {counts}')
    assert counts[1] - counts[0] >= 6
    assert counts[0] <= 6 + (os.cpu_count() or 1)


def test_images_at_once_get_the_descriptors_that_they_get_alone(
    student: Path, photos: list[np.ndarray]
):
    network = Embedder(student, (OPENVINO,), num_threads=1, at_once=2)
    alone = [network.embed(photo) for photo in photos]
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(network.embed, photos))
    np.testing.assert_array_equal(together, alone)


def test_a_failure_while_it_runs_is_answered_by_the_cpu(
    student: Path, photos: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
):
    network = Embedder(student, (OPENVINO,), num_threads=1)
    before = network.embed(photos[0])
    real = onnxruntime.InferenceSession.run

    def run(session, *args):
        if session.get_providers()[0] == OPENVINO:
            raise RuntimeError('the device is lost\nsome_file.cc:7')
        return real(session, *args)

    monkeypatch.setattr(onnxruntime.InferenceSession, 'run', run)
    after = network.embed(photos[0])
    assert network.provider == CPU and after @ before >= 0.9999
    [warning] = network.warnings
    assert 'the device is lost' in warning and '\n' not in warning

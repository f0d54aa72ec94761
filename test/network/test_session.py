# SPDX-License-Identifier: Apache-2.0
"""What `auto` takes, and how a provider that fails while it runs gives way to the next one."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from conftest import line_of
from runtime_fixtures import ACCELERATORS, Runtime, noise

from ashtkd_ros.errors import VprError
from ashtkd_ros.network.embedder import Embedder
from ashtkd_ros.network.providers import AUTO, CPU, CUDA, OPENVINO, TENSORRT

pytest_plugins = ['runtime_fixtures']


@pytest.mark.parametrize(
    ('installed', 'taken'),
    [
        ([TENSORRT, CUDA, OPENVINO, CPU], CUDA),
        ([TENSORRT, OPENVINO, CPU], OPENVINO),
        ([TENSORRT, CPU], CPU),
        (['AzureExecutionProvider', CPU], CPU),
    ],
)
def test_auto_takes_the_best_that_is_installed(
    model: Path,
    runtime: Runtime,
    monkeypatch: pytest.MonkeyPatch,
    installed: list[str],
    taken: str,
):
    monkeypatch.setattr(onnxruntime, 'get_available_providers', lambda: installed)
    heard = []
    network = Embedder(model, (AUTO,), notify=heard.append, warn=heard.append)
    assert network.provider == taken
    assert network.warnings == heard == []


@pytest.mark.parametrize('what', ['raises', 'is left out', 'cannot run'])
def test_auto_notes_what_does_not_start_and_does_not_warn(
    model: Path, runtime: Runtime, what: str
):
    runtime.broken = {CUDA: what, OPENVINO: what}
    notes, warnings = [], []
    network = Embedder(model, (AUTO,), notify=notes.append, warn=warnings.append)
    assert network.provider == CPU
    assert network.warnings == warnings == []
    assert [note.split(' does not work (')[0] for note in notes] == [CUDA, OPENVINO]


def test_what_is_named_beside_auto_comes_in_its_turn_and_is_warned_of(
    model: Path, runtime: Runtime, cache: Path
):
    runtime.broken = {TENSORRT: 'raises', CUDA: 'raises'}
    warnings = []
    network = Embedder(model, (TENSORRT, AUTO), cache=cache, warn=warnings.append)
    assert network.provider == OPENVINO
    assert [line.split()[0] for line in warnings] == [TENSORRT]
    assert network.warnings == warnings
    assert Embedder(model, (CPU, AUTO)).provider == CPU


@pytest.mark.parametrize('name', ACCELERATORS)
@pytest.mark.parametrize(
    ('what', 'reason'), [('cannot run', 'no kernel for this device'), ('is NaN', 'not finite')]
)
def test_one_that_fails_while_it_runs_gives_way_and_the_image_is_answered(
    model: Path, runtime: Runtime, cache: Path, name: str, what: str, reason: str
):
    warnings = []
    network = Embedder(model, (name,), cache=cache, warn=warnings.append)
    image = noise(1)[0]
    before = network.embed(image)
    runtime.broken = {name: what}
    np.testing.assert_allclose(network.embed(image), before, atol=1e-6)
    assert network.provider == CPU
    [warning] = network.warnings
    assert warnings == [warning] and '\n' not in warning
    assert warning.startswith(f'{name} failed while it ran (') and reason in warning
    assert f'{CPU} is used instead' in warning
    opened = len(runtime.asked)
    network.embed(image)
    assert len(runtime.asked) == opened and len(warnings) == 1
    # ONNX Runtime's own fallback would hide it.
    assert all(kwargs['enable_fallback'] == 0 for kwargs in runtime.kwargs)


def test_what_auto_has_taken_is_warned_of_when_it_fails_later(model: Path, runtime: Runtime):
    network = Embedder(model, (AUTO,))
    runtime.broken = {CUDA: 'cannot run'}
    network.embed(noise(1)[0])
    assert network.provider == OPENVINO
    runtime.broken[OPENVINO] = 'cannot run'
    network.embed(noise(1)[0])
    assert network.provider == CPU
    assert [line.split()[0] for line in network.warnings] == [CUDA, OPENVINO]


def test_one_that_gives_nonsense_from_the_start_is_not_used(model: Path, runtime: Runtime):
    runtime.broken = {OPENVINO: 'is NaN'}
    network = Embedder(model, (OPENVINO,))
    assert network.provider == CPU and len(network.warnings) == 1


def test_a_batch_is_answered_by_a_provider_that_takes_single_images(model: Path, runtime: Runtime):
    reference = Embedder(model).embed_batch(noise())
    network = Embedder(model, (CUDA, OPENVINO))
    runtime.broken = {CUDA: 'cannot run'}
    np.testing.assert_allclose(network.embed_batch(noise()), reference, atol=1e-6)
    assert network.provider == OPENVINO


def test_several_threads_that_find_a_failure_at_once_give_way_once(model: Path, runtime: Runtime):
    network = Embedder(model, (CUDA, OPENVINO))
    images = noise(8)
    reference = [network.embed(image) for image in images]
    together = threading.Barrier(len(images), timeout=20)

    class Broken(dict):
        def get(self, name: str) -> str:
            if name == CUDA:
                together.wait()
            return super().get(name, '')

    runtime.broken = Broken({CUDA: 'cannot run'})
    with ThreadPoolExecutor(len(images)) as pool:
        found = list(pool.map(network.embed, images))
    np.testing.assert_allclose(found, reference, atol=1e-6)
    assert network.provider == OPENVINO and len(network.warnings) == 1


def test_the_cpu_gives_way_to_none(model: Path, runtime: Runtime):
    network = Embedder(model, (CUDA,))
    runtime.broken = {CUDA: 'cannot run', CPU: 'cannot run'}
    for _ in range(2):
        with pytest.raises(VprError) as error:
            network.embed(noise(1)[0])
        assert line_of(error).startswith(f'{CPU} failed to run tiny.onnx (no kernel')
    assert len(network.warnings) == 1
    runtime.broken = {}
    assert network.embed(noise(1)[0]).shape == (3,)


def test_a_provider_is_asked_again_where_the_next_cannot_be_opened(model: Path, runtime: Runtime):
    network = Embedder(model, (CUDA,))
    runtime.broken = {CUDA: 'cannot run', CPU: 'raises'}
    for _ in range(2):
        with pytest.raises(VprError) as error:
            network.embed(noise(1)[0])
        assert line_of(error).startswith(f'{CUDA} failed to run') and not network.warnings
    runtime.broken = {}
    assert network.embed(noise(1)[0]).shape == (3,) and network.provider == CUDA

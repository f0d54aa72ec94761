# SPDX-License-Identifier: Apache-2.0
"""Execution providers: which one runs the network, and what becomes of those that do not work.

How one gives way to the next is in test_session.py.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from conftest import line_of, write_tiny_model
from runtime_fixtures import ACCELERATORS, Runtime, noise

from ashtkd_ros.errors import VprError
from ashtkd_ros.network.embedder import Embedder
from ashtkd_ros.network.emptiness import pictures_of_nothing
from ashtkd_ros.network.providers import CPU, CUDA, OPENVINO, TENSORRT

pytest_plugins = ['runtime_fixtures']


def test_the_cpu_is_the_default(model: Path, runtime: Runtime):
    network = Embedder(model)
    assert network.provider == CPU
    assert network.warnings == []
    assert [list(options) for options in runtime.asked] == [[CPU]]
    nothing = len(list(pictures_of_nothing(8, 8)))  # what covered cameras look like
    assert runtime.runs == 2 + nothing  # two pictures show whether it works


@pytest.mark.parametrize('name', ACCELERATORS)
def test_what_is_named_is_active(model: Path, runtime: Runtime, cache: Path, name: str):
    network = Embedder(model, (name,), cache=cache)
    assert network.provider == name
    assert network.warnings == []
    reference = Embedder(model).embed_batch(noise())
    np.testing.assert_allclose(network.embed_batch(noise()), reference, atol=1e-6)


@pytest.mark.parametrize('name', ['CUDA', 'cudaexecutionprovider', '', 'NoSuchExecutionProvider'])
def test_an_unknown_name_is_refused_with_the_known_ones(model: Path, name: str):
    with pytest.raises(VprError) as error:
        Embedder(model, (CPU, name))
    assert f'unknown execution provider "{name}"' in line_of(error)
    assert CPU in line_of(error) and CUDA in line_of(error)


def test_one_that_the_build_lacks_is_passed_over_with_a_warning(
    model: Path, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(onnxruntime, 'get_available_providers', lambda: [OPENVINO, CPU])
    network = Embedder(model, (CUDA, OPENVINO))
    assert network.provider == OPENVINO
    [warning] = network.warnings
    assert warning.startswith(f'{CUDA} is not in this build') and 'onnxruntime-gpu' in warning


@pytest.mark.parametrize(
    ('what', 'reason'),
    [
        ('raises', 'no such device'),
        ('is left out', 'missing'),
        ('cannot run', 'no kernel for this device'),
    ],
)
def test_one_that_does_not_work_gives_way_to_the_next(
    model: Path, runtime: Runtime, cache: Path, what: str, reason: str
):
    runtime.broken = {TENSORRT: what}
    network = Embedder(model, (TENSORRT, CUDA), cache=cache)
    assert network.provider == CUDA
    [warning] = network.warnings
    assert warning.startswith(f'{TENSORRT} does not work') and reason in warning
    assert f'{CUDA} is tried' in warning and '\n' not in warning
    assert network.embed_batch(noise()).shape == (3, 3)


def test_the_cpu_is_left_when_nothing_else_works(model: Path, runtime: Runtime, cache: Path):
    runtime.broken = {TENSORRT: 'raises', CUDA: 'is left out', OPENVINO: 'cannot run'}
    network = Embedder(model, ACCELERATORS, cache=cache)
    assert network.provider == CPU
    assert [w.split()[0] for w in network.warnings] == list(ACCELERATORS)
    assert f'{CPU} is tried' in network.warnings[-1]


def test_what_is_named_after_the_cpu_is_not_used(model: Path, runtime: Runtime):
    assert Embedder(model, (CPU, CUDA)).provider == CPU
    assert list(runtime.asked[0]) == [CPU]


def test_the_next_ones_help_the_first(model: Path, runtime: Runtime, cache: Path):
    Embedder(model, (TENSORRT, CUDA, CUDA), cache=cache)
    assert list(runtime.asked[0]) == [TENSORRT, CUDA, CPU]


def test_a_model_that_no_provider_can_load_is_refused(tmp_path: Path, runtime: Runtime):
    path = tmp_path / 'bad.onnx'
    path.write_bytes(b'garbage')
    with pytest.raises(VprError) as error:
        Embedder(path, (CUDA,))
    assert f'{path}: not a model' in line_of(error)


@pytest.mark.parametrize('spinning', [False, True])
def test_threads_and_spinning_are_set(model: Path, runtime: Runtime, spinning: bool):
    Embedder(model, (OPENVINO,), num_threads=3, spinning=spinning)
    [settings] = runtime.settings
    assert settings.intra_op_num_threads == 3
    entry = settings.get_session_config_entry('session.intra_op.allow_spinning')
    assert entry == str(int(spinning))
    assert runtime.asked[0][OPENVINO] == {'device_type': 'CPU', 'num_of_threads': '3'}


def test_by_default_no_thread_spins(model: Path, runtime: Runtime):
    Embedder(model)
    entry = runtime.settings[0].get_session_config_entry('session.intra_op.allow_spinning')
    assert entry == '0'


def test_openvino_gets_a_stream_for_each_image_at_once(model: Path, runtime: Runtime):
    Embedder(model, (OPENVINO,), num_threads=2, at_once=3)
    options = {'device_type': 'CPU', 'num_streams': '3', 'num_of_threads': '6'}
    assert runtime.asked[0][OPENVINO] == options


def test_openvino_takes_every_core_unless_told(model: Path, runtime: Runtime):
    Embedder(model, (OPENVINO,))
    assert 'num_of_threads' not in runtime.asked[0][OPENVINO]


@pytest.mark.parametrize('fp16', [False, True])
def test_tensorrt_keeps_its_engines(model: Path, runtime: Runtime, cache: Path, fp16: bool):
    Embedder(model, (TENSORRT,), fp16=fp16, cache=cache)
    options = runtime.asked[0][TENSORRT]
    assert options['trt_engine_cache_enable'] is True
    assert options['trt_fp16_enable'] is fp16
    folder = Path(options['trt_engine_cache_path'])
    assert folder.is_dir() and cache / 'tensorrt' in folder.parents


def test_each_network_has_engines_of_its_own(tmp_path: Path, runtime: Runtime, cache: Path):
    for name in 'ab':
        model = write_tiny_model(tmp_path / f'{name}.onnx')
        model.write_bytes(model.read_bytes() + (b'\x28\x07' if name == 'b' else b''))
        Embedder(model, (TENSORRT,), cache=cache)
    first, second = (asked[TENSORRT]['trt_engine_cache_path'] for asked in runtime.asked)
    assert first != second


def test_the_first_build_is_announced_and_only_that(model: Path, runtime: Runtime, cache: Path):
    heard = []
    Embedder(model, (TENSORRT,), cache=cache, notify=heard.append)
    [line] = heard
    folder = runtime.asked[0][TENSORRT]['trt_engine_cache_path']
    assert 'minutes' in line and folder in line and '\n' not in line
    Path(folder, 'x.engine').touch()
    Embedder(model, (TENSORRT,), cache=cache, notify=heard.append)
    Embedder(model, (CUDA, OPENVINO), notify=heard.append)
    assert len(heard) == 1


def test_engines_lie_in_the_home_folder(
    model: Path, runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv('HOME', str(tmp_path / 'home'))
    Embedder(model, (TENSORRT,))
    folder = runtime.asked[0][TENSORRT]['trt_engine_cache_path']
    assert Path(folder).is_relative_to(tmp_path / 'home/.cache/ashtkd_ros')


def test_a_cache_that_cannot_be_made_is_named(model: Path, runtime: Runtime, cache: Path):
    cache.write_text('a file')
    network = Embedder(model, (TENSORRT, CUDA), cache=cache)
    assert network.provider == CUDA
    assert str(cache) in network.warnings[0]


@pytest.mark.parametrize(('name', 'fixed'), [(TENSORRT, 1), (OPENVINO, 1), (CUDA, 'batch')])
def test_compilers_get_one_fixed_shape(
    model: Path, runtime: Runtime, cache: Path, name: str, fixed: object
):
    network = Embedder(model, (name,), cache=cache)
    assert network._session.network.get_inputs()[0].shape[0] == fixed


def test_warming_up_runs_the_network_for_two_noise(model: Path, runtime: Runtime):
    network = Embedder(model)
    before = runtime.runs
    network.warm_up()
    assert runtime.runs == before + 2

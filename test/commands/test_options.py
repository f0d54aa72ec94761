# SPDX-License-Identifier: Apache-2.0
"""The network that a command line names: on which providers, and what is said of that."""

from __future__ import annotations

import argparse
from pathlib import Path

import onnxruntime
import pytest
from runtime_fixtures import Runtime, noise

from ashtkd_ros.commands.options import add_model_options, load_embedder
from ashtkd_ros.network.embedder import Embedder
from ashtkd_ros.network.providers import CPU, CUDA, OPENVINO

pytest_plugins = ['runtime_fixtures']


def load(model: Path, *arguments: str) -> Embedder:
    parser = argparse.ArgumentParser()
    add_model_options(parser)
    return load_embedder(parser.parse_args(['--model', str(model), *arguments]))


def test_the_best_that_is_installed_is_taken_and_noted(
    model: Path, runtime: Runtime, monkeypatch: pytest.MonkeyPatch, capsys
):
    monkeypatch.setattr(onnxruntime, 'get_available_providers', lambda: [OPENVINO, CPU])
    assert load(model, '--threads', '3').provider == OPENVINO
    options = {'device_type': 'CPU', 'num_streams': '3', 'num_of_threads': '3'}
    assert runtime.asked[0][OPENVINO] == options
    assert capsys.readouterr().err == f'note: the network runs on {OPENVINO}\n'


def test_nothing_is_said_of_the_cpu(model: Path, capsys):
    assert load(model).provider == CPU
    assert capsys.readouterr() == ('', '')


def test_what_is_named_is_taken_in_order(model: Path, runtime: Runtime, capsys):
    assert load(model, '--providers', CPU).provider == CPU
    runtime.broken = {CUDA: 'raises'}
    network = load(model, '--providers', f'{CUDA}, {OPENVINO}')
    assert network.provider == OPENVINO
    runtime.broken = {OPENVINO: 'cannot run'}
    network.embed(noise(1)[0])
    first, second, third = capsys.readouterr().err.splitlines()
    assert first.startswith(f'note: {CUDA} does not work (')
    assert second == f'note: the network runs on {OPENVINO}'
    assert third.startswith(f'note: {OPENVINO} failed while it ran (')

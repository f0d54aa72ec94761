# SPDX-License-Identifier: Apache-2.0
"""An onnxruntime with every accelerator: the CPU plays those that no test machine has."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from conftest import write_tiny_model

from ashtkd_ros.network.providers import CPU, CUDA, OPENVINO, TENSORRT

ACCELERATORS = (TENSORRT, CUDA, OPENVINO)


class Runtime:
    """An onnxruntime that has every accelerator; `broken`: what each of them does wrong."""

    def __init__(self):
        self.broken: dict[str, str] = {}
        self.asked: list[dict] = []  # of each session that was asked for: its options by provider
        self.settings: list[onnxruntime.SessionOptions] = []
        self.kwargs: list[dict] = []
        self.runs = 0
        self.real = onnxruntime.InferenceSession

    def session(self, data: bytes, settings, providers, **kwargs) -> Session:
        options = dict(p if isinstance(p, tuple) else (p, {}) for p in providers)
        self.asked.append(options)
        self.settings.append(settings)
        self.kwargs.append(kwargs)
        if self.broken.get(next(iter(options))) == 'raises':
            raise RuntimeError('no such device\nat some_file.cc:123')
        return Session(self, self.real(data, settings, providers=[CPU]), list(options))


class Session:
    """A session on the CPU that says it were on others."""

    def __init__(self, runtime: Runtime, session: onnxruntime.InferenceSession, names: list[str]):
        self._runtime, self._session = runtime, session
        self._names = [n for n in names if runtime.broken.get(n) != 'is left out']

    def get_providers(self) -> list[str]:
        return self._names

    def run(self, outputs, feeds):
        self._runtime.runs += 1
        wrong = self._runtime.broken.get(self._names[0])
        if wrong == 'cannot run':
            raise RuntimeError('no kernel for this device\nmore')
        given = self._session.run(outputs, feeds)
        return [np.full_like(array, np.nan) for array in given] if wrong == 'is NaN' else given

    def __getattr__(self, name: str):
        return getattr(self._session, name)


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> Runtime:
    made = Runtime()
    monkeypatch.setattr(onnxruntime, 'get_available_providers', lambda: [*ACCELERATORS, CPU])
    monkeypatch.setattr(onnxruntime, 'InferenceSession', made.session)
    return made


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_tiny_model(tmp_path / 'tiny.onnx')


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / 'cache'


def noise(count: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 12, 16, 3), np.uint8)

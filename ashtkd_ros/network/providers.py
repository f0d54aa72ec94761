# SPDX-License-Identifier: Apache-2.0
"""The execution providers of ONNX Runtime: their names, their order, what each of them needs."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime

from ashtkd_ros.errors import VprError
from ashtkd_ros.files.checksums import sha256_of
from ashtkd_ros.text import one_line

# For programs that imported ONNX Runtime before this package, which disables its telemetry.
onnxruntime.disable_telemetry_events()

AUTO = 'auto'
CPU, CUDA = 'CPUExecutionProvider', 'CUDAExecutionProvider'
TENSORRT, OPENVINO = 'TensorrtExecutionProvider', 'OpenVINOExecutionProvider'
# What `auto` takes, if it is installed. Not TensorRT, which builds its engines for minutes.
_AUTOMATIC = (CUDA, OPENVINO)
# These compile a network for fixed shapes.
_COMPILERS = (TENSORRT, OPENVINO)
_PACKAGES = {
    TENSORRT: 'onnxruntime-gpu',
    CUDA: 'onnxruntime-gpu',
    OPENVINO: 'onnxruntime-openvino',
}


@dataclass(frozen=True)
class RuntimeOptions:
    """How a network is run.

    `providers`: names of ONNX Runtime, the preferred one first; the CPU is always the last and
    need not be named. `auto` stands for CUDA and OpenVINO, as far as they are installed.
    `num_threads`: threads for one image, of the CPU and of OpenVINO; 0: one for each core.
    `spinning`: whether idle threads wait in a busy loop, which answers a little sooner but keeps
    the cores busy. `fp16`: use half precision with TensorRT. `cache`: folder for the engines that
    TensorRT builds; None: ~/.cache/ashtkd_ros. `at_once`: images that are given at the same time,
    by as many threads; OpenVINO must know it, or one waits for the other.
    """

    providers: tuple[str, ...] = ()
    num_threads: int = 0
    spinning: bool = False
    fp16: bool = False
    cache: Path | None = None
    at_once: int = 1


def check_names(providers: Sequence[str]) -> None:
    """VprError if a name is neither `auto` nor one of ONNX Runtime's execution providers."""
    known = [AUTO, *sorted(onnxruntime.get_all_providers())]
    for name in providers:
        if name not in known:
            raise VprError(f'unknown execution provider "{name}"; use one of {", ".join(known)}')


def first_line(error: Exception) -> str:
    """The first line of an exception's text."""
    lines = str(error).strip().splitlines()
    return one_line(lines[0]) if lines else type(error).__name__


def candidates(providers: Sequence[str]) -> tuple[list[str], list[str]]:
    """The providers that this build has, the CPU last; a warning for each other that is named.

    VprError for an unknown name.
    """
    check_names(providers)
    available = onnxruntime.get_available_providers()
    automatic = [name for name in _AUTOMATIC if name in available]
    wanted = [n for name in providers for n in (automatic if name == AUTO else [name])]
    found, warnings = [], []
    for name in dict.fromkeys([*wanted, CPU]):
        if name in available:
            found.append(name)
        else:
            package = _PACKAGES.get(name, 'a build')
            warnings.append(
                f'{name} is not in this build of onnxruntime, which has {", ".join(available)}; '
                f'install {package}, which has it'
            )
        if name == CPU:
            break
    return found, warnings


def start(
    data: bytes, wanted: Sequence[str], options: RuntimeOptions, notify: Callable[[str], None]
) -> onnxruntime.InferenceSession:
    """Open the network in an ONNX file's bytes on the first of `wanted`, of which the CPU is last.

    What the first cannot do, the next ones do. Except for the CPU alone, the network has then run
    once. `notify` is called with a line before something that takes minutes. If the first provider
    does not work, an exception of any kind says why.
    """
    if len(wanted) == 1:
        return _session(data, [], options)
    chosen = []
    for name in wanted[:-1]:
        settings = {}
        if name == TENSORRT:
            settings = _tensorrt(data, options, notify)
        elif name == OPENVINO:
            settings = _openvino(options)
        chosen.append((name, settings))
    session = _session(data, chosen, options)
    # A provider whose libraries are missing is left out by ONNX Runtime without an exception.
    if session.get_providers()[0] != wanted[0]:
        raise RuntimeError(
            'its libraries or its device are missing, see the lines of ONNX Runtime above'
        )
    first = session.get_inputs()[0]
    batch, *shape = first.shape
    if all(isinstance(size, int) for size in shape):
        # Kernels that the device lacks, or too little memory, show only here.
        session.run(None, {first.name: np.zeros((1, *shape), np.float32)})
    return session


def _session(data: bytes, chosen: list[tuple[str, dict]], options: RuntimeOptions):
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = options.num_threads
    settings.add_session_config_entry(
        'session.intra_op.allow_spinning', '1' if options.spinning else '0'
    )
    # Nothing is printed: errors are raised too, and names in a model may contain escape codes.
    settings.log_severity_level = 4
    # Not ONNX Runtime's own format, which `model_file` does not check for other files.
    settings.add_session_config_entry('session.load_model_format', 'ONNX')
    if chosen and chosen[0][0] in _COMPILERS:
        settings.add_free_dimension_override_by_name('batch', 1)
    # With the fallback, ONNX Runtime would go on with the CPU and only print this.
    return onnxruntime.InferenceSession(
        data, settings, providers=[*chosen, CPU], enable_fallback=0
    )


def _openvino(options: RuntimeOptions) -> dict[str, str]:
    """Options that give each of the images at once a stream of its own."""
    settings = {'device_type': 'CPU'}
    if options.at_once > 1:
        settings['num_streams'] = str(options.at_once)
    if options.num_threads:
        settings['num_of_threads'] = str(options.num_threads * options.at_once)
    return settings


def _tensorrt(
    data: bytes, options: RuntimeOptions, notify: Callable[[str], None]
) -> dict[str, object]:
    """Options for engines that are built once and kept for this network and ONNX Runtime."""
    cache = options.cache or Path(os.path.expanduser('~'), '.cache', 'ashtkd_ros')
    key = f'{sha256_of(data)[:16]}-{onnxruntime.__version__}'
    folder = Path(cache).expanduser().resolve() / 'tensorrt' / key
    folder.mkdir(parents=True, exist_ok=True)
    if not any(folder.glob('*.engine')):
        notify(f'TensorRT builds its engines into {folder}; this takes minutes, once')
    return {
        'trt_engine_cache_enable': True,
        'trt_engine_cache_path': str(folder),
        'trt_fp16_enable': options.fp16,
    }

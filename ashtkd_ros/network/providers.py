# SPDX-License-Identifier: Apache-2.0
"""A network in ONNX Runtime, on the first of the given execution providers that works here."""

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

CPU = 'CPUExecutionProvider'
TENSORRT, OPENVINO = 'TensorrtExecutionProvider', 'OpenVINOExecutionProvider'
# These compile a network for fixed shapes.
_COMPILERS = (TENSORRT, OPENVINO)
_PACKAGES = {
    TENSORRT: 'onnxruntime-gpu',
    'CUDAExecutionProvider': 'onnxruntime-gpu',
    OPENVINO: 'onnxruntime-openvino',
}


@dataclass(frozen=True)
class RuntimeOptions:
    """How a network is run.

    `providers`: names of ONNX Runtime, the preferred one first; the CPU is always the last and
    need not be named. `num_threads`: threads of the CPU and of OpenVINO; 0: one for each core.
    `spinning`: whether idle threads wait in a busy loop, which answers a little sooner but keeps
    the cores busy. `fp16`: use half precision with TensorRT. `cache`: folder for the engines that
    TensorRT builds; None: ~/.cache/ashtkd_ros.
    """

    providers: tuple[str, ...] = ()
    num_threads: int = 0
    spinning: bool = False
    fp16: bool = False
    cache: Path | None = None


def check_names(providers: Sequence[str]) -> None:
    """VprError if a name is not one of ONNX Runtime's execution providers."""
    known = onnxruntime.get_all_providers()
    for name in providers:
        if name not in known:
            raise VprError(
                f'unknown execution provider "{name}"; use one of {", ".join(sorted(known))}'
            )


def open_session(
    data: bytes, options: RuntimeOptions, notify: Callable[[str], None] | None = None
) -> tuple[onnxruntime.InferenceSession, list[str]]:
    """Open the network in an ONNX file's bytes; also a warning for each provider that failed.

    A provider works if it has started and, except the CPU, has run the network once. `notify` is
    called with a line before something that takes minutes. VprError for an unknown provider; the
    error of ONNX Runtime if the CPU cannot load the network.
    """
    check_names(options.providers)
    wanted, warnings = _available(options.providers)
    while wanted:
        try:
            return _start(data, wanted, options, notify or (lambda text: None)), warnings
        except Exception as error:  # onnxruntime's own exceptions share no public base
            following = (*wanted[1:], CPU)[0]
            warnings.append(
                f'{wanted[0]} does not work ({first_line(error)}); {following} is tried instead'
            )
            wanted = wanted[1:]
    return _session(data, [], options), warnings


def first_line(error: Exception) -> str:
    """The first line of an exception's text."""
    lines = str(error).strip().splitlines()
    return one_line(lines[0]) if lines else type(error).__name__


def _available(providers: Sequence[str]) -> tuple[list[str], list[str]]:
    """The providers before the CPU that this build has, and warnings about the others."""
    available = onnxruntime.get_available_providers()
    wanted, warnings = [], []
    for name in dict.fromkeys(providers):
        if name == CPU:
            break
        if name in available:
            wanted.append(name)
        else:
            package = _PACKAGES.get(name, 'a build')
            warnings.append(
                f'{name} is not in this build of onnxruntime, which has {", ".join(available)}; '
                f'install {package}, which has it'
            )
    return wanted, warnings


def _start(
    data: bytes, wanted: list[str], options: RuntimeOptions, notify: Callable[[str], None]
) -> onnxruntime.InferenceSession:
    chosen = []
    for name in wanted:
        settings = {}
        if name == TENSORRT:
            settings = _tensorrt(data, options, notify)
        elif name == OPENVINO:
            settings = {'device_type': 'CPU'}
            if options.num_threads:
                settings['num_of_threads'] = str(options.num_threads)
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

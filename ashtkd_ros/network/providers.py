# SPDX-License-Identifier: Apache-2.0
"""A network in ONNX Runtime, on the first of the wanted execution providers that works here."""

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

# Where a program imported ONNX Runtime before this package, which turns its telemetry off.
onnxruntime.disable_telemetry_events()

CPU = 'CPUExecutionProvider'
TENSORRT, OPENVINO = 'TensorrtExecutionProvider', 'OpenVINOExecutionProvider'
# They compile a network for given shapes.
_COMPILERS = (TENSORRT, OPENVINO)
_PACKAGES = {
    TENSORRT: 'onnxruntime-gpu',
    'CUDAExecutionProvider': 'onnxruntime-gpu',
    OPENVINO: 'onnxruntime-openvino',
}


@dataclass(frozen=True)
class RuntimeOptions:
    """How a network is run.

    `providers`: ONNX Runtime's names, the preferred first; the CPU is the last resort and need not
    be named. `num_threads` of the CPU and of OpenVINO, 0: every core. `spinning`: whether idle
    threads wait by busy looping, which answers a little sooner and burns the cores. `fp16`: halves
    the precision under TensorRT. `cache`: folder for what TensorRT builds, by default
    ~/.cache/ashtkd_ros.
    """

    providers: tuple[str, ...] = ()
    num_threads: int = 0
    spinning: bool = False
    fp16: bool = False
    cache: Path | None = None


def check_names(providers: Sequence[str]) -> None:
    """VprError where a name is not one of ONNX Runtime's execution providers."""
    known = onnxruntime.get_all_providers()
    for name in providers:
        if name not in known:
            raise VprError(
                f'unknown execution provider "{name}"; known are {", ".join(sorted(known))}'
            )


def open_session(
    data: bytes, options: RuntimeOptions, notify: Callable[[str], None] | None = None
) -> tuple[onnxruntime.InferenceSession, list[str]]:
    """The network of an ONNX file's bytes, and a warning for each provider that was passed over.

    A provider works when it has started and, the CPU apart, run the network once. `notify` is told
    before something that takes minutes. Raises VprError for a name that is no provider, and what
    ONNX Runtime raises when the CPU cannot load the network.
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
    """What an exception says, on one line."""
    lines = str(error).strip().splitlines()
    return one_line(lines[0]) if lines else type(error).__name__


def _available(providers: Sequence[str]) -> tuple[list[str], list[str]]:
    """Those before the CPU that this build has; warnings about the others."""
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
                f'install {package} that has it'
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
        raise RuntimeError('its libraries or its device are missing, see the lines above')
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
    # Nothing is printed: failures are raised as well, and names in a model may be escapes.
    settings.log_severity_level = 4
    # Not its own format, of which nobody has looked for parts in other files.
    settings.add_session_config_entry('session.load_model_format', 'ONNX')
    if chosen and chosen[0][0] in _COMPILERS:
        settings.add_free_dimension_override_by_name('batch', 1)
    # With its fallback, ONNX Runtime goes on with the CPU, and tells only standard output.
    return onnxruntime.InferenceSession(
        data, settings, providers=[*chosen, CPU], enable_fallback=0
    )


def _tensorrt(
    data: bytes, options: RuntimeOptions, notify: Callable[[str], None]
) -> dict[str, object]:
    """Options for engines that are built once and kept, by network and ONNX Runtime."""
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

# SPDX-License-Identifier: Apache-2.0
"""The node's parameters: type, default, range and meaning, each stated here once."""

from __future__ import annotations

import difflib
import functools
import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import pairwise

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node
from rclpy.parameter import Parameter

from ashtkd_ros.errors import VprError
from ashtkd_ros.files.path_expansion import expand_path
from ashtkd_ros.images.faults import MAX_BLUR, MIN_LIGHT
from ashtkd_ros.recognition.recogniser import MIN_CONFIDENCE
from ashtkd_ros.ros.node import qos_overrides as qos
from ashtkd_ros.text import one_line

# What rclpy declares of its own accord.
_OTHERS = ('use_sim_time', 'start_type_description_service')


def _parameter(
    default, meaning: str, low=None, high=None, choices=(), live: bool = False, path: bool = False
):
    about = {'meaning': meaning, 'range': (low, high), 'choices': choices}
    about |= {'live': live, 'path': path}
    return field(default=default, metadata=about)


_live = functools.partial(_parameter, live=True)
_path = functools.partial(_parameter, '', path=True)


@dataclass(frozen=True)
class Parameters:
    """Those made by `_live` apply from the next image on; the others when the node configures.

    `map_path` is also read by ~/reload_map. `~`, `$NAME` and `${NAME}` are expanded in paths.
    """

    model_path: str = _path('network (.onnx); empty: the student that is shipped')
    map_path: str = _path('folder made by build_map')
    providers: tuple[str, ...] = _parameter(
        ('CPUExecutionProvider',), 'ONNX Runtime execution providers, the preferred first'
    )
    num_threads: int = _parameter(0, 'threads of the network; 0: every core', 0, 256)
    spinning: bool = _parameter(
        False, 'threads wait busily between images: a little faster, a core burnt'
    )
    engine_cache: str = _path(
        'folder for the engines that TensorRT builds; empty: ~/.cache/ashtkd_ros'
    )
    image_transport: str = _parameter(
        'raw',
        'raw or compressed, which is looked for on image/compressed, else on image itself',
        choices=('raw', 'compressed'),
    )
    max_rate_hz: float = _live(
        0.0, 'images a second looked at, by header stamp; 0: all', 0.0, 1000.0
    )
    top_k: int = _live(5, 'candidates in each answer', 1, 100)
    min_confidence: float = _live(
        MIN_CONFIDENCE, 'a best match below is an unknown place', 0.0, 1.0
    )
    map_frame: str = _parameter('', "frame of ~/pose; empty: the map's own")
    initialpose_frame: str = _live(
        'map', 'frame that the listener of initialpose takes; ~/relocalize warns; empty: any'
    )
    publish_pose: bool = _live(True, 'publish ~/pose for accepted matches')
    position_stddev: float = _live(0.0, 'metres; 0: from the distance between places', 0.0, 1000.0)
    yaw_stddev: float = _live(0.5, 'radians', 0.01, 3.15)
    image_timeout_s: float = _live(5.0, 'diagnostics warn after this', 0.1, 3600.0)
    max_blur: float = _live(MAX_BLUR, 'a more blurred image is not matched; 1: all are', 0.0, 1.0)
    min_light: float = _live(MIN_LIGHT, 'a darker image is not matched; 0: all are', 0.0, 255.0)
    frozen_after: int = _live(
        10, 'so many equal images of a camera with noise: it is frozen; 0: never', 0, 10000
    )
    load_timeout_s: float = _live(
        30.0, 'seconds in which network and map must have been read', 0.1, 3600.0
    )
    autostart: bool = _parameter(True, 'configure and activate at start')
    on_start_failure: str = _parameter(
        'exit',
        'exit with status 1, retry every 5 s, or stay unconfigured',
        choices=('exit', 'retry', 'stay'),
    )


_LIVE_NAMES = [f.name for f in fields(Parameters) if f.metadata['live']]


def declare(node: Node) -> None:
    """Declare every parameter; VprError where a given value has the wrong type or range.

    The node must have been made with automatically_declare_parameters_from_overrides, so that
    a parameter nobody knows is seen and refused instead of silently doing nothing.
    """
    known = {f.name: f for f in fields(Parameters)}
    given = node.get_parameters_by_prefix('')
    for name, parameter in given.items():
        if name.startswith(qos.PREFIX):
            fault = qos.fault(name, parameter.value)
        elif name in _OTHERS:
            fault = '' if isinstance(parameter.value, bool) else _no(bool, parameter.value)
        elif name not in known:
            raise VprError(f'unknown parameter "{one_line(name)}"; {_nearest(name, known)}')
        else:
            continue
        if fault:
            raise VprError(f'parameter {one_line(name)} is {fault}')
    for name, spec in known.items():
        default = list(spec.default) if isinstance(spec.default, tuple) else spec.default
        if name in given:
            value = node.get_parameter(name).value
            if fault := _fault(spec, value):
                raise VprError(f'parameter {name} is {fault}')
            node.undeclare_parameter(name)
        try:
            node.declare_parameter(name, default, _descriptor(spec))
        except (InvalidParameterTypeException, InvalidParameterValueException) as error:
            raise VprError(f'parameter {name}: {error}') from error


def _nearest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name.rpartition('.')[2].lower(), known, 1, 0.6)
    return f'did you mean {near[0]}?' if near else f'known are {", ".join(known)}'


_KINDS = {
    bool: 'true or false',
    int: 'a whole number',
    float: 'a number',
    str: 'text',
    tuple: 'a list of texts',
}


def _shown(value) -> str:
    return f'"{one_line(value)}"' if isinstance(value, str) else str(value)


def _no(kind: type, value) -> str:
    return f'{_shown(value)}; it is {_KINDS[kind]}'


def _fault(spec, value) -> str:
    """What is wrong with a value that was given at start; '' where nothing is."""
    kind, (low, high), choices = (
        type(spec.default),
        spec.metadata['range'],
        spec.metadata['choices'],
    )
    shown = _shown(value)
    if kind is float and type(value) is int:
        return f'the integer {value}; write {value}.0'
    if kind is tuple:
        fits = isinstance(value, Sequence) and all(isinstance(v, str) for v in value)
        fits = fits and not isinstance(value, str)
    else:
        fits = type(value) is kind
    if not fits:
        return _no(kind, value)
    if choices and value not in choices:
        return f'{shown}; it is {" or ".join(choices)}'
    if low is not None and not low <= value <= high:  # NaN as well
        return f'{shown}; it lies between {low} and {high}'
    return ''


def not_made(node: Node, error: ValueError) -> VprError:
    """Why rclpy has refused to make the node: a parameter given as `[]`."""
    given = getattr(node, '_parameter_overrides', {})
    names = [one_line(name) for name, parameter in given.items() if parameter.value is None]
    named = f'parameter {", ".join(names)}' if names else 'a parameter'
    return VprError(f'{named} is given without a value ({error})')


def advice_for(node: Node) -> str:
    """What to do about a map_path that nobody has set."""
    name = node.get_fully_qualified_name()
    given = [after for word, after in pairwise(sys.argv) if word == '--params-file']
    came = set(getattr(node, '_parameter_overrides', ['unknown'])) - set(_OTHERS)
    if given and not came:
        files = ', '.join(map(one_line, given))
        return f'nothing in {files} is for {name}: its section is {name}, or /**'
    return 'give the folder that build_map wrote'


def on_start_failure(node: Node) -> str:
    """The parameter of this name, though others may have been refused; its default otherwise."""
    (spec,) = (f for f in fields(Parameters) if f.name == 'on_start_failure')
    value = node.get_parameter(spec.name).value if node.has_parameter(spec.name) else None
    return value if value in spec.metadata['choices'] else spec.default


def live(node: Node, configured: Parameters) -> Parameters:
    """The parameters that the node was configured with, the live ones as they are now."""
    now = {name: node.get_parameter(name).value for name in _LIVE_NAMES}
    same = all(getattr(configured, name) == value for name, value in now.items())
    return configured if same else replace(configured, **now)


def refuse_bad(changes: Sequence[Parameter]) -> SetParametersResult:
    """Callback: words that are no choice and numbers that are none; rclpy knows types, ranges."""
    known = {f.name: f for f in fields(Parameters)}
    for change in changes:
        choices = known[change.name].metadata['choices'] if change.name in known else ()
        if choices and change.value not in choices:
            reason = f'{change.name} is "{change.value}"; it is {" or ".join(choices)}'
            return SetParametersResult(successful=False, reason=reason)
        if isinstance(change.value, float) and not math.isfinite(change.value):
            return SetParametersResult(successful=False, reason=f'{change.name} is no number')
    return SetParametersResult(successful=True)


def _descriptor(spec) -> ParameterDescriptor:
    about, descriptor = spec.metadata, ParameterDescriptor()
    descriptor.description = about['meaning']
    descriptor.additional_constraints = ' or '.join(about['choices'])
    low, high = about['range']
    if isinstance(spec.default, float) and low is not None:
        descriptor.floating_point_range = [FloatingPointRange(from_value=low, to_value=high)]
    elif isinstance(spec.default, int) and low is not None:
        descriptor.integer_range = [IntegerRange(from_value=low, to_value=high)]
    return descriptor


def read(node: Node) -> Parameters:
    """The parameters as they are now; VprError where a word is not one of its choices."""
    values = {}
    for spec in fields(Parameters):
        value = node.get_parameter(spec.name).value
        choices = spec.metadata['choices']
        if choices and value not in choices:
            raise VprError(f'parameter {spec.name} is "{value}"; it is {" or ".join(choices)}')
        if spec.metadata['path']:
            value = path_of(node, spec.name)
        values[spec.name] = tuple(value) if isinstance(spec.default, tuple) else value
    return Parameters(**values)


def path_of(node: Node, name: str) -> str:
    """A path parameter as it is now, expanded; VprError where that is not possible."""
    try:
        return expand_path(node.get_parameter(name).value)
    except VprError as error:
        raise VprError(f'parameter {name}: {error}') from error

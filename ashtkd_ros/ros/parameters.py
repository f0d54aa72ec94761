# SPDX-License-Identifier: Apache-2.0
"""The node's parameters: type, default, range and meaning, each stated here once."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node

from ashtkd_ros.errors import VprError

# What rclpy declares of its own accord.
_OTHERS = ('use_sim_time', 'start_type_description_service')


def _parameter(default, meaning: str, low=None, high=None, choices: tuple[str, ...] = ()):
    about = {'meaning': meaning, 'range': (low, high), 'choices': choices}
    return field(default=default, metadata=about)


@dataclass(frozen=True)
class Parameters:
    """Read when the node configures; a change takes effect at the next configure."""

    model_path: str = _parameter('', 'network (.onnx); empty: the student that is shipped')
    map_path: str = _parameter('', 'folder made by build_map')
    providers: tuple[str, ...] = _parameter(
        ('CPUExecutionProvider',), 'ONNX Runtime execution providers, the preferred first'
    )
    num_threads: int = _parameter(0, 'threads of the network; 0: every core', 0, 256)
    image_transport: str = _parameter('raw', 'raw or compressed', choices=('raw', 'compressed'))
    top_k: int = _parameter(5, 'candidates in each answer', 1, 100)
    min_confidence: float = _parameter(0.5, 'a best match below is an unknown place', 0.0, 1.0)
    map_frame: str = _parameter('', "frame of ~/pose; empty: the map's own")
    publish_pose: bool = _parameter(True, 'publish ~/pose for accepted matches')
    position_stddev: float = _parameter(
        0.0, 'metres; 0: from the distance between places', 0.0, 1000.0
    )
    yaw_stddev: float = _parameter(0.5, 'radians', 0.01, 3.15)
    image_timeout_s: float = _parameter(5.0, 'diagnostics warn after this', 0.1, 3600.0)
    autostart: bool = _parameter(True, 'configure and activate at start')


def declare(node: Node) -> None:
    """Declare every parameter; VprError where a given value has the wrong type or range.

    The node must have been made with automatically_declare_parameters_from_overrides, so that
    a parameter nobody knows is seen and refused instead of silently doing nothing.
    """
    known = {f.name: f for f in fields(Parameters)}
    given = node.get_parameters_by_prefix('')
    for name in given:
        if name not in known and name not in _OTHERS and not name.startswith('qos_overrides.'):
            raise VprError(f'unknown parameter "{name}"; known are {", ".join(known)}')
    for name, spec in known.items():
        default = list(spec.default) if isinstance(spec.default, tuple) else spec.default
        if name in given:
            value = node.get_parameter(name).value
            if isinstance(default, float) and isinstance(value, int):
                raise VprError(f'parameter {name} is the integer {value}; write {value}.0')
            node.undeclare_parameter(name)
        try:
            node.declare_parameter(name, default, _descriptor(spec))
        except (InvalidParameterTypeException, InvalidParameterValueException) as error:
            raise VprError(f'parameter {name}: {error}') from error


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
        values[spec.name] = tuple(value) if isinstance(spec.default, tuple) else value
    return Parameters(**values)

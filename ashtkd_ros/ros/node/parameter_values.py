# SPDX-License-Identifier: Apache-2.0
"""The values of the node's parameters: declared, checked, read."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterable, Sequence
from dataclasses import Field, fields, replace
from itertools import pairwise

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
)
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node
from rclpy.parameter import Parameter

from ashtkd_ros.errors import VprError
from ashtkd_ros.files.path_expansion import expand_path
from ashtkd_ros.ros.node import qos_overrides
from ashtkd_ros.ros.node.parameters import Parameters, fault_of, not_a, shown
from ashtkd_ros.text import name_of, one_line

# Parameters that rclpy itself declares.
_OF_RCLPY = ('use_sim_time', 'start_type_description_service')
_LIVE_NAMES = [f.name for f in fields(Parameters) if f.metadata['live']]


def declare(node: Node) -> None:
    """Declare every parameter; VprError if a given value has the wrong type or is out of range.

    The node must have been created with automatically_declare_parameters_from_overrides, so that
    an unknown parameter is seen and refused instead of silently having no effect.
    """
    given = node.get_parameters_by_prefix('')
    for name, parameter in given.items():
        _check(name, parameter.value)
    for spec in fields(Parameters):
        name, default = spec.name, spec.default
        if name in given:
            node.undeclare_parameter(name)
        default = list(default) if isinstance(default, tuple) else default
        try:
            node.declare_parameter(name, default, _descriptor(spec))
        except (InvalidParameterTypeException, InvalidParameterValueException) as error:
            raise VprError(f'parameter {name}: {error}') from error


def _check(name: str, value: object) -> None:
    """VprError if no parameter has this name, or it cannot have this value."""
    known = {spec.name: spec for spec in fields(Parameters)}
    if name in known:
        fault = fault_of(known[name], value)
    elif name.startswith(qos_overrides.PREFIX):
        fault = qos_overrides.fault(name, value)
    elif name in _OF_RCLPY:
        fault = '' if isinstance(value, bool) else not_a(bool, value)
    else:
        raise VprError(f'unknown parameter "{name_of(name)}"; {_nearest(name, known)}')
    if fault:
        raise VprError(f'parameter {name_of(name)} is {fault}')


def _nearest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name.rpartition('.')[2].lower(), known, 1, 0.6)
    return f'did you mean {near[0]}?' if near else f'the known parameters are {", ".join(known)}'


def creation_error(node: Node, error: ValueError) -> VprError:
    """The error for a node that rclpy has refused to create: a parameter is given as `[]`."""
    given = getattr(node, '_parameter_overrides', {})
    names = [one_line(name) for name, parameter in given.items() if parameter.value is None]
    named = f'parameter {", ".join(names)}' if names else 'a parameter'
    return VprError(f'{named} is given without a value ({error}); give one, or leave it out')


def advice_for(node: Node) -> str:
    """What to do if nothing sets map_path."""
    name = node.get_fully_qualified_name()
    given = [after for word, after in pairwise(sys.argv) if word == '--params-file']
    received = set(getattr(node, '_parameter_overrides', ['unknown'])) - set(_OF_RCLPY)
    if given and not received:
        files = ', '.join(map(one_line, given))
        return f'{files} has no section for this node; name the section {name} or /**'
    return 'set it to the folder that build_map wrote, such as -p map_path:=MAP'


def on_start_failure(node: Node) -> str:
    """The parameter of this name, or its default if the parameters could not be declared."""
    (spec,) = (f for f in fields(Parameters) if f.name == 'on_start_failure')
    value = node.get_parameter(spec.name).value if node.has_parameter(spec.name) else None
    return value if value in spec.metadata['choices'] else spec.default


def live(node: Node, configured: Parameters) -> Parameters:
    """The parameters of `configured`, but the live ones with their values of now."""
    now = {name: node.get_parameter(name).value for name in _LIVE_NAMES}
    same = all(getattr(configured, name) == value for name, value in now.items())
    return configured if same else replace(configured, **now)


def refusal(node: Node, changes: Sequence[Parameter]) -> str:
    """Why changes are refused, naming the first parameter at fault; '' if they are not."""
    try:
        for change in changes:
            name = name_of(change.name)
            if change.type_ == Parameter.Type.NOT_SET:
                return f'parameter {name} cannot be removed'
            _check(change.name, change.value)
            if not node.has_parameter(change.name):
                return f'parameter {name} can only be given when the node starts'
    except VprError as error:
        return str(error)
    return ''


def _descriptor(spec: Field) -> ParameterDescriptor:
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
    """The parameters as they are now; VprError if a text is not one of its choices."""
    values = {}
    for spec in fields(Parameters):
        value = node.get_parameter(spec.name).value
        choices = spec.metadata['choices']
        if choices and value not in choices:
            raise VprError(
                f'parameter {spec.name} is "{value}"; it must be {" or ".join(choices)}'
            )
        if spec.metadata['path']:
            value = path_of(node, spec.name)
        elif spec.name == 'prior_topic' and value:
            value = _topic_of(node, spec.name)
        values[spec.name] = tuple(value) if isinstance(spec.default, tuple) else value
    return Parameters(**values)


def _topic_of(node: Node, name: str) -> str:
    """The whole name of the topic that a parameter names; VprError if it is none."""
    value = node.get_parameter(name).value
    try:
        return node.resolve_topic_name(value)
    except Exception as error:  # of rclpy, of several kinds
        must = 'it must be the name of a topic, such as /gps/fix'
        raise VprError(f'parameter {name} is {shown(value)}; {must}') from error


def path_of(node: Node, name: str) -> str:
    """A path parameter as it is now, expanded; VprError if a variable or user is not known."""
    try:
        return expand_path(node.get_parameter(name).value)
    except VprError as error:
        raise VprError(f'parameter {name}: {error}') from error

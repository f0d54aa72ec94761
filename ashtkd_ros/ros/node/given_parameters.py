# SPDX-License-Identifier: Apache-2.0
"""Parameters of the node that arguments of a launch, or options of `vpr_trial`, set."""

from __future__ import annotations

from dataclasses import fields

from ashtkd_ros.errors import VprError
from ashtkd_ros.network.providers import check_names
from ashtkd_ros.ros.node.parameters import Parameters, describe, fault_of
from ashtkd_ros.ros.node_arguments import NodeArguments


def parameter_arguments() -> list[tuple[str, str]]:
    """Name and meaning of an argument for each parameter; left empty, it is not given."""
    return [(spec.name, _meaning(spec)) for spec in fields(Parameters)]


def _meaning(spec) -> str:
    how = ' Written as a list, separated by commas.' if isinstance(spec.default, tuple) else ''
    return f'{describe(spec)}{how}'


def given_parameters(arguments: NodeArguments, camera: str) -> dict[str, object]:
    """The parameters that have a value; the others are left to the file and the node.

    VprError for a value that the node would refuse.
    """
    given: dict[str, object] = {}
    for spec in fields(Parameters):
        name = spec.name
        if not arguments.text(name, camera):
            continue
        if spec.metadata['path']:
            given[name] = arguments.path(name, camera)
            continue
        given[name] = arguments.value(name, spec.default, camera)
        if fault := fault_of(spec, given[name]):
            raise VprError(f'{name} is {fault}')
    check_names(given.get('providers', ()))
    if arguments.text('use_sim_time'):
        given['use_sim_time'] = arguments.value('use_sim_time', False)
    return given

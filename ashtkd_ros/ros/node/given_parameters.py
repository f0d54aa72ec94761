# SPDX-License-Identifier: Apache-2.0
"""Parameters of the node that arguments of a launch, or options of `vpr_trial`, set."""

from __future__ import annotations

from dataclasses import fields

from ashtkd_ros.ros.node.parameters import Parameters, describe
from ashtkd_ros.ros.node_arguments import NodeArguments


def parameter_arguments() -> list[tuple[str, str]]:
    """Name and meaning of an argument for each parameter; left empty, it is not given."""
    return [(spec.name, _meaning(spec)) for spec in fields(Parameters)]


def _meaning(spec) -> str:
    how = ' Written as a list, separated by commas.' if isinstance(spec.default, tuple) else ''
    return f'{describe(spec)}{how}'


def given_parameters(arguments: NodeArguments, camera: str) -> dict[str, object]:
    """The parameters that have a value; the others are left to the file and the node."""
    defaults = {'use_sim_time': False, **{f.name: f.default for f in fields(Parameters)}}
    paths = {f.name for f in fields(Parameters) if f.metadata['path']}
    given = [name for name in defaults if arguments.text(name, camera)]
    return {
        name: arguments.path(name, camera)
        if name in paths
        else arguments.value(name, defaults[name], camera)
        for name in given
    }

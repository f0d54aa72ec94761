# SPDX-License-Identifier: Apache-2.0
"""The launch file declares its arguments and starts the node with what is given."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

pytest.importorskip('launch_ros', reason='launch_ros cannot be imported')

from launch import LaunchContext
from launch.actions import DeclareLaunchArgument, OpaqueFunction

pytestmark = pytest.mark.ros
FILE = Path(__file__).resolve().parents[1] / 'launch' / 'vpr.launch.py'
ARGUMENTS = {
    *('params_file', 'image_topic', 'namespace', 'use_sim_time', 'log_level', 'map_path'),
    *('model_path', 'image_transport', 'min_confidence', 'autostart'),
}


@pytest.fixture
def description():
    spec = importlib.util.spec_from_file_location('vpr_launch', FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.generate_launch_description()


def test_arguments(description) -> None:
    declared = [e for e in description.entities if isinstance(e, DeclareLaunchArgument)]
    assert {argument.name for argument in declared} >= ARGUMENTS
    assert all(argument.description for argument in declared)
    assert all(argument.default_value is not None for argument in declared)


def test_the_node(description) -> None:
    context = LaunchContext()
    context.launch_configurations.update(map_path='/maps/campus', min_confidence='0.7')
    nodes = []
    for entity in description.entities:
        if isinstance(entity, DeclareLaunchArgument):
            entity.visit(context)
        elif isinstance(entity, OpaqueFunction):
            nodes += entity.visit(context)
    (node,) = nodes
    assert (node.node_package, node.node_executable) == ('ashtkd_ros', 'vpr_node')

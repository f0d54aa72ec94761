# SPDX-License-Identifier: Apache-2.0
"""Start vpr_node, one for each camera.

ros2 launch ashtkd_ros vpr.launch.py map_path:=MAP image_topic:=/camera/image_raw
ros2 launch ashtkd_ros vpr.launch.py map_path:=MAP cameras:=front,rear image_topic:=image_raw

The second starts /front/vpr_node, which looks at /front/image_raw, and /rear/vpr_node likewise.
"""

import os
from pathlib import Path

from launch import LaunchDescription
from launch.actions import OpaqueFunction, RegisterEventHandler
from launch.event_handlers import OnShutdown
from launch.substitutions import PathJoinSubstitution
from launch_ros.actions import LifecycleNode
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

from ashtkd_ros.ros.launch_arguments import LaunchArguments, declare
from ashtkd_ros.ros.node.given_parameters import given_parameters, parameter_arguments
from ashtkd_ros.ros.node_arguments import NODE_ARGUMENTS

_ARGUMENTS = (
    *NODE_ARGUMENTS,
    ('respawn', 'false', 'true: start a node again 2 s after it has died'),
)
_FAILURE = 'ashtkd_ros.failure'
_NOT_GIVEN = 'Not given: left to the parameters file.'


def _start(context):
    arguments = LaunchArguments(context)
    arguments.tell_misspelt((name for name, _, _ in _arguments()), __file__)
    cameras = arguments.cameras()
    _check_file(arguments.path('params_file'))
    return [_node(arguments, camera) for camera in cameras]


def _node(arguments, camera):
    file, respawn = arguments.path('params_file'), arguments.is_true('respawn')
    return LifecycleNode(
        package='ashtkd_ros',
        executable='vpr_node',
        name='vpr_node',
        namespace=arguments.namespace(camera),
        parameters=[*([file] if file else []), _parameters(arguments, camera)],
        remappings=arguments.remappings(camera),
        arguments=['--ros-args', '--log-level', arguments.log_level()],
        respawn=respawn,
        respawn_delay=2.0,
        output='screen',
        on_exit=None if respawn else _note_failure,
    )


def _check_file(file):
    """A file that is missing: launch_ros would warn, and start the node without it."""
    if file and not (Path(file).is_file() and os.access(file, os.R_OK)):
        raise RuntimeError(f'params_file is {file}: no such file, or it cannot be read')


def _note_failure(event, context):
    if event.returncode and not context.is_shutdown:
        text = f'{event.process_name} has ended with exit code {event.returncode}'
        context.extend_globals({_FAILURE: text})


def _fail(event, context):
    """End the launch with status 1 if one of its nodes has failed, whatever ended it."""
    failure = context.get_locals_as_dict().get(_FAILURE)
    if failure and not event.reason.startswith('Caught exception'):  # launch has printed that
        raise RuntimeError(f'{failure}, see above')


def _parameters(arguments, camera):
    """The parameters that have a value; a text stays one, whatever YAML would make of it."""
    return {
        name: value if isinstance(value, list) else ParameterValue(value, value_type=type(value))
        for name, value in given_parameters(arguments, camera).items()
    }


def _arguments():
    shipped = PathJoinSubstitution([FindPackageShare('ashtkd_ros'), 'config', 'vpr.yaml'])
    return [
        *_ARGUMENTS,
        ('params_file', shipped, 'YAML file of parameters; an argument goes before it'),
        *((name, '', f'{meaning} {_NOT_GIVEN}') for name, meaning in parameter_arguments()),
    ]


def generate_launch_description():
    """A node for each camera."""
    failing = RegisterEventHandler(OnShutdown(on_shutdown=_fail))
    return LaunchDescription([*declare(_arguments()), failing, OpaqueFunction(function=_start)])

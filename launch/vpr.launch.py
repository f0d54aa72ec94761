# SPDX-License-Identifier: Apache-2.0
"""Start vpr_node, one for each camera.

ros2 launch ashtkd_ros vpr.launch.py map_path:=MAP image_topic:=/camera/image_raw
ros2 launch ashtkd_ros vpr.launch.py map_path:=MAP cameras:=front,rear image_topic:=image_raw

The second starts /front/vpr_node, which looks at /front/image_raw, and /rear/vpr_node likewise.
"""

import os
from dataclasses import fields
from pathlib import Path

from launch import LaunchDescription
from launch.actions import OpaqueFunction, RegisterEventHandler
from launch.event_handlers import OnShutdown
from launch.substitutions import PathJoinSubstitution
from launch.utilities.type_utils import coerce_to_type
from launch_ros.actions import LifecycleNode
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

from ashtkd_ros.ros.launch_arguments import LaunchArguments, declare
from ashtkd_ros.ros.node.parameters import Parameters, describe

_ARGUMENTS = (
    ('image_topic', 'image', 'topic of the images; without a leading / it is in the namespace'),
    (
        'cameras',
        '',
        'names of cameras, separated by commas, such as front,rear; each camera has a node in a '
        'namespace of its name. In other arguments, {camera} stands for the name; the topic '
        'initialpose stays in the namespace of the robot',
    ),
    ('namespace', '', 'namespace of every node; empty: none'),
    (
        'remappings',
        '',
        'further remappings FROM:=TO, separated by spaces; they go before all others',
    ),
    (
        'use_sim_time',
        '',
        'true: take the time from /clock; empty: left to the parameters file, else false',
    ),
    ('log_level', 'info', 'lowest severity that is logged: debug, info, warn, error or fatal'),
    ('respawn', 'false', 'true: start a node again 2 s after it has died'),
)
_FAILURE = 'ashtkd_ros.failure'
_KINDS = {bool: 'true or false', int: 'a whole number', float: 'a number', str: 'text'}


def _start(context):
    arguments = LaunchArguments(context)
    cameras, topic = arguments.cameras(), arguments.text('image_topic')
    if len(cameras) > 1 and topic.startswith('/') and '{camera}' not in topic:
        raise RuntimeError(
            f'image_topic is {topic}, which is the same for all cameras; leave out the first /'
        )
    _check_file(arguments.path('params_file'))
    return [_node(arguments, camera) for camera in cameras]


def _node(arguments, camera):
    remappings = arguments.remappings(camera)  # the first that fits is taken
    if camera:  # what is localised is the robot, not the camera
        remappings.append(('initialpose', str(arguments.robot() / 'initialpose')))
    file, respawn = arguments.path('params_file'), arguments.is_true('respawn')
    return LifecycleNode(
        package='ashtkd_ros',
        executable='vpr_node',
        name='vpr_node',
        namespace='/'.join(word for word in (arguments.text('namespace'), camera) if word),
        parameters=[*([file] if file else []), _parameters(arguments, camera)],
        remappings=remappings,
        arguments=['--ros-args', '--log-level', arguments.text('log_level')],
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
    """The parameters that have a value; the others are left to the file and the node."""
    defaults = {'use_sim_time': False, **{f.name: f.default for f in fields(Parameters)}}
    paths = {f.name for f in fields(Parameters) if f.metadata['path']}
    given = {}
    for name, default in defaults.items():
        read, kind = arguments.path if name in paths else arguments.text, type(default)
        value = read(name, camera)
        if not value:
            continue
        if kind is tuple:
            given[name] = [word.strip() for word in value.split(',')]
            continue
        try:
            given[name] = ParameterValue(coerce_to_type(value, kind), value_type=kind)
        except ValueError as error:
            raise RuntimeError(f'{name} is "{value}"; it must be {_KINDS[kind]}') from error
    return given


def _meaning(field):
    """What --show-args says of a parameter, which has no default here."""
    how = ' Written as a list, separated by commas.' if isinstance(field.default, tuple) else ''
    return f'{describe(field)}{how} Not given: left to the parameters file.'


def generate_launch_description():
    """A node for each camera."""
    shipped = PathJoinSubstitution([FindPackageShare('ashtkd_ros'), 'config', 'vpr.yaml'])
    arguments = [
        *_ARGUMENTS,
        ('params_file', shipped, 'YAML file of parameters; an argument goes before it'),
        *((field.name, '', _meaning(field)) for field in fields(Parameters)),
    ]
    failing = RegisterEventHandler(OnShutdown(on_shutdown=_fail))
    return LaunchDescription([*declare(arguments), failing, OpaqueFunction(function=_start)])

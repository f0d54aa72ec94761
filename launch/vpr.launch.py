# SPDX-License-Identifier: Apache-2.0
"""Start vpr_node, one for each camera.

ros2 launch ashtkd_ros vpr.launch.py map_path:=MAP image_topic:=/camera/image_raw
ros2 launch ashtkd_ros vpr.launch.py map_path:=MAP cameras:=front,rear image_topic:=image_raw

The second starts /front/vpr_node, which looks at /front/image_raw, and /rear/vpr_node likewise.
"""

import os
from dataclasses import fields
from pathlib import Path, PurePosixPath

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction, RegisterEventHandler
from launch.conditions import IfCondition, InvalidConditionExpressionError
from launch.event_handlers import OnShutdown
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch.utilities.type_utils import coerce_to_type
from launch_ros.actions import LifecycleNode
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

from ashtkd_ros.errors import VprError
from ashtkd_ros.files.path_expansion import expand_path
from ashtkd_ros.ros.node.parameters import Parameters, describe
from ashtkd_ros.ros.topic_names import parse_remappings

_ARGUMENTS = (
    ('image_topic', 'image', 'camera topic; one that begins without / lies in the namespace'),
    (
        'cameras',
        '',
        'front,rear: a node for each, in a namespace of that name; {camera} stands for the name '
        'in arguments that are text; initialpose stays outside',
    ),
    ('namespace', '', 'namespace of every node'),
    ('remappings', '', 'further remappings, FROM:=TO, a space between them; they come first'),
    ('use_sim_time', '', 'take the time from /clock'),
    ('log_level', 'info', 'debug, info, warn, error or fatal'),
    ('respawn', 'false', 'start a node again, after 2 s, when it has died'),
)


_FAILURE = 'ashtkd_ros.failure'


def _start(context):
    def text(name):
        return LaunchConfiguration(name).perform(context)

    cameras = [word.strip() for word in text('cameras').split(',') if word.strip()]
    topic = text('image_topic')
    if len(cameras) > 1 and topic.startswith('/') and '{camera}' not in topic:
        raise RuntimeError(f'image_topic {topic} would be one for all: leave out the first /')
    respawn = _respawn(context)
    _check_file(_expanded('params_file', text('params_file')))
    pushed = context.launch_configurations.get('ros_namespace') or ''
    robot = PurePosixPath('/', pushed, text('namespace'))
    return [_node(text, camera, robot, respawn) for camera in cameras or ['']]


def _node(text, camera, robot, respawn):
    remappings = _remappings(_fill(text('remappings'), camera))  # the first that fits is taken
    remappings.append(('image', _fill(text('image_topic'), camera)))
    if camera:  # what is localised is the robot, not the camera
        remappings.append(('initialpose', str(robot / 'initialpose')))
    file = _expanded('params_file', text('params_file'))
    return LifecycleNode(
        package='ashtkd_ros',
        executable='vpr_node',
        name='vpr_node',
        namespace='/'.join(word for word in (text('namespace'), camera) if word),
        parameters=[*([file] if file else []), _parameters(text, camera)],
        remappings=remappings,
        arguments=['--ros-args', '--log-level', text('log_level')],
        respawn=respawn,
        respawn_delay=2.0,
        output='screen',
        on_exit=None if respawn else _note_failure,
    )


def _respawn(context):
    try:
        return IfCondition(LaunchConfiguration('respawn')).evaluate(context)
    except InvalidConditionExpressionError as error:
        value = LaunchConfiguration('respawn').perform(context)
        raise RuntimeError(f'respawn is "{value}"; it is true or false') from error


def _check_file(file):
    """launch_ros would warn of what is not there, and start the node without it."""
    if file and not (Path(file).is_file() and os.access(file, os.R_OK)):
        raise RuntimeError(f'params_file is {file}: no such file, or it cannot be read')


def _remappings(text):
    try:
        return parse_remappings(text)
    except VprError as error:
        raise RuntimeError(str(error)) from error


def _note_failure(event, context):
    if event.returncode and not context.is_shutdown:
        text = f'{event.process_name} has ended with exit code {event.returncode}'
        context.extend_globals({_FAILURE: text})


def _fail(event, context):
    """However a launch ends, it ends with status 1 if a node of it has failed."""
    failure = context.get_locals_as_dict().get(_FAILURE)
    if failure and not event.reason.startswith('Caught exception'):  # that has been said
        raise RuntimeError(f'{failure}, see above')


def _parameters(text, camera):
    """The parameters that are given; what is left empty is left to the file and the node."""
    defaults = {'use_sim_time': False, **{f.name: f.default for f in fields(Parameters)}}
    paths = {f.name for f in fields(Parameters) if f.metadata['path']}
    given = {}
    for name, default in defaults.items():
        value, kind = _fill(text(name), camera), type(default)
        if name in paths:
            value = _expanded(name, value)
        if not value:
            continue
        if kind is tuple:
            given[name] = [word.strip() for word in value.split(',')]
            continue
        try:
            given[name] = ParameterValue(coerce_to_type(value, kind), value_type=kind)
        except ValueError as error:
            raise RuntimeError(f'{name} is "{value}", which is no {kind.__name__}') from error
    return given


def _fill(value, camera):
    """With the camera's name, if there is one, in its place."""
    return value.replace('{camera}', camera) if camera else value


def _expanded(name, value):
    try:
        return expand_path(value)
    except VprError as error:
        raise RuntimeError(f'{name} is {error}') from error


def generate_launch_description():
    """A node for each camera."""
    shipped = PathJoinSubstitution([FindPackageShare('ashtkd_ros'), 'config', 'vpr.yaml'])
    arguments = [
        *_ARGUMENTS,
        ('params_file', shipped, 'parameters; arguments come before'),
        *((field.name, '', describe(field)) for field in fields(Parameters)),
    ]
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=meaning)
        for name, default, meaning in arguments
    ]
    failing = RegisterEventHandler(OnShutdown(on_shutdown=_fail))
    return LaunchDescription([*declared, failing, OpaqueFunction(function=_start)])

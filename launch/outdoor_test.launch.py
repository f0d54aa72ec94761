# SPDX-License-Identifier: Apache-2.0
"""vpr_node on board, and a bag of what it sees and says, for build_map and evaluate afterwards.

ros2 launch ashtkd_ros outdoor_test.launch.py map_path:=MAP image_topic:=/camera/image_raw

Where nothing can be recorded, nothing is started. A recording that ends by itself ends the launch,
and so does the last node, where it is not started again.
"""

import os
import shutil
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path, PurePosixPath

from launch import LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    IncludeLaunchDescription,
    LogInfo,
    OpaqueFunction,
    RegisterEventHandler,
)
from launch.conditions import IfCondition, InvalidConditionExpressionError
from launch.event_handlers import OnProcessExit
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration

from ashtkd_ros.errors import VprError
from ashtkd_ros.files.path_expansion import expand_path
from ashtkd_ros.ros.topic_names import NodeNames, parse_remappings

_ARGUMENTS = (
    ('record', 'true', 'false: the node without a recording'),
    ('record_to', '~/vpr_bags', 'folder; each run writes a bag into it, named by date and time'),
    ('odom_topic', 'odom', 'odometry to record'),
    ('fix_topic', 'fix', 'satellite fixes to record; they say afterwards what was right'),
    ('other_topics', '', 'further ones to record, a space between them'),
    ('split_s', '300', 'seconds in a file of the bag: a robot that loses power loses the last'),
)
_OF_EACH_NODE = ('~/place', '~/pose', '~/vision_info', '/diagnostics')
_OF_THE_ROBOT = ('/tf', '/tf_static')


def _check(context):
    """Before the node starts: RuntimeError where no bag could be written."""
    if not _wanted(context):
        return [LogInfo(msg='record:=false: nothing is recorded')]
    if not (shutil.which('ros2') and find_spec('ros2bag')):
        advice = 'sudo apt install ros-$ROS_DISTRO-rosbag2, or record:=false to drive without'
        raise RuntimeError(f'ros2 bag is not there, nothing would be recorded: {advice}')
    seconds = LaunchConfiguration('split_s').perform(context)
    if not (seconds.isascii() and seconds.isdecimal() and int(seconds) > 0):
        raise RuntimeError(f'split_s is "{seconds}"; it is a whole number of seconds from 1')
    folder = _folder(context)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        text = f'{folder}: cannot be made ({error.strerror}); give another by record_to'
        raise RuntimeError(text) from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise RuntimeError(f'{folder}: cannot be written; give another by record_to')
    return []


def _wanted(context):
    return _is_true('record', context)


def _is_true(name, context):
    try:
        return IfCondition(LaunchConfiguration(name)).evaluate(context)
    except InvalidConditionExpressionError as error:
        value = LaunchConfiguration(name).perform(context)
        raise RuntimeError(f'{name} is "{value}"; it is true or false') from error


def _folder(context):
    try:
        return Path(expand_path(LaunchConfiguration('record_to').perform(context)))
    except VprError as error:
        raise RuntimeError(f'record_to is {error}') from error


def _record(context):
    def text(name):
        return LaunchConfiguration(name).perform(context)

    if not _wanted(context):
        return []
    bag = _folder(context) / datetime.now().strftime('%Y-%m-%d_%H-%M-%S')
    command = ['ros2', 'bag', 'record', '-o', str(bag), '--max-bag-duration', text('split_s')]
    images = [names.image_topics(_transports(names, context)) for names in _nodes(context)]
    fix, *others = _topics(context, images)
    afterwards = f'ros2 run ashtkd_ros evaluate MAP {bag} --pose-topic {fix} -o report.html'
    unsure = [
        LogInfo(
            msg=f'recording {" and ".join(topics)}, whichever of them there are: the node takes '
            f'one; to record that alone, give it as image_topic, and image_transport'
        )
        for topics in images
        if len(topics) > 1
    ]
    return [
        *unsure,
        LogInfo(msg=f'recording into {bag}; afterwards: {afterwards}'),
        # Closing a long bag takes a while.
        ExecuteProcess(
            cmd=[*command, fix, *others],
            output='screen',
            sigterm_timeout='60',
            on_exit=_recording_ended,
        ),
    ]


def _recording_ended(event, context):
    """A field trial without its recording is lost: the launch ends, and not in success."""
    if not context.is_shutdown:
        raise RuntimeError(f'the recording has ended by itself (exit code {event.returncode})')


def _watch(context):
    """Where no node is left, what goes on being recorded is no field trial: the launch ends."""
    if _is_true('respawn', context):
        return []
    left = len(_cameras(context))

    def ended(event, context):
        nonlocal left
        executable = getattr(event.action, 'node_executable', '')
        if context.is_shutdown or executable != 'vpr_node':
            return
        left -= 1
        if left <= 0:
            text = f'{event.process_name} has ended with exit code {event.returncode}'
            raise RuntimeError(f'{text}, see above; no vpr_node is left')

    return [RegisterEventHandler(OnProcessExit(on_exit=ended))]


def _cameras(context):
    text = LaunchConfiguration('cameras').perform(context)
    return [word.strip() for word in text.split(',') if word.strip()] or ['']


def _nodes(context):
    """Names of each node: in the graph, for `ros2 bag record` is in no namespace."""

    def text(name, camera):
        value = LaunchConfiguration(name).perform(context)
        return value.replace('{camera}', camera) if camera else value

    outer = context.launch_configurations.get('ros_remaps') or []  # of SetRemap
    nodes = []
    for camera in _cameras(context):
        try:
            inner = parse_remappings(text('remappings', camera))
        except VprError as error:
            raise RuntimeError(str(error)) from error
        rules = [*outer, *inner, ('image', text('image_topic', camera))]
        nodes.append(NodeNames(str(_robot(context) / camera), 'vpr_node', rules))
    return nodes


def _robot(context):
    pushed = context.launch_configurations.get('ros_namespace') or ''
    return PurePosixPath('/', pushed, LaunchConfiguration('namespace').perform(context))


def _transports(names, context):
    """What `image_transport` may be for a node: an argument, else what parameters files say."""
    given = LaunchConfiguration('image_transport').perform(context)
    if given:
        return [given]
    outer = context.launch_configurations.get('global_params') or []  # of SetParameter
    values = [p[1] for p in outer if isinstance(p, tuple) and p[0] == 'image_transport']
    files = [str(p) for p in outer if not isinstance(p, tuple)]
    try:
        own = expand_path(LaunchConfiguration('params_file').perform(context))
    except VprError as error:
        raise RuntimeError(f'params_file is {error}') from error
    return names.image_transports([*files, *([own] if own else [])], values)


def _topics(context, images):
    """Fixes first, then odometry, then what each node sees and says."""

    def text(name):
        return LaunchConfiguration(name).perform(context)

    topics = [str(_robot(context) / text(name)) for name in ('fix_topic', 'odom_topic')]
    for names, seen in zip(_nodes(context), images, strict=True):
        topics += [*seen, *map(names.resolved, _OF_EACH_NODE)]
    return list(dict.fromkeys([*topics, *_OF_THE_ROBOT, *text('other_topics').split()]))


def generate_launch_description():
    """The node, and the recording beside it."""
    node = Path(__file__).with_name('vpr.launch.py')
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=meaning)
        for name, default, meaning in _ARGUMENTS
    ]
    # The node before the recording, which asks for what it declares.
    start = IncludeLaunchDescription(PythonLaunchDescriptionSource(str(node)))
    check, watch, record = (OpaqueFunction(function=f) for f in (_check, _watch, _record))
    return LaunchDescription([*declared, check, start, watch, record])

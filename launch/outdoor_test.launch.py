# SPDX-License-Identifier: Apache-2.0
"""Start vpr_node, and record what it sees and answers, for build_map and evaluate afterwards.

ros2 launch ashtkd_ros outdoor_test.launch.py map_path:=MAP image_topic:=/camera/image_raw

Nothing is started where nothing can be recorded. The launch ends when the recording ends by
itself, and when no node is left, unless respawn:=true starts them again.
"""

import os
import shutil
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path

from launch import LaunchDescription
from launch.actions import (
    ExecuteProcess,
    IncludeLaunchDescription,
    LogInfo,
    OpaqueFunction,
    RegisterEventHandler,
)
from launch.event_handlers import OnProcessExit
from launch.launch_description_sources import PythonLaunchDescriptionSource

from ashtkd_ros.ros.launch_arguments import (
    OUTER_PARAMETERS,
    OUTER_REMAPPINGS,
    LaunchArguments,
    declare,
)
from ashtkd_ros.ros.topic_names import NodeNames

_ARGUMENTS = (
    ('record', 'true', 'false: start the node without a recording'),
    (
        'record_to',
        '~/vpr_bags',
        'folder for the bags; each run writes one, named by date and time',
    ),
    ('odom_topic', 'odom', 'topic of the odometry to record'),
    (
        'fix_topic',
        'fix',
        'topic of the satellite fixes to record; evaluate uses them as ground truth',
    ),
    ('other_topics', '', 'further topics to record, separated by spaces'),
    (
        'split_s',
        '300',
        'length of each file of the bag, in seconds; if the power fails, the last file is lost',
    ),
)
_OF_EACH_NODE = ('~/place', '~/pose', '~/vision_info', '/diagnostics')
_OF_THE_ROBOT = ('/tf', '/tf_static')


def _check(context):
    """Before the node starts: RuntimeError where no bag could be written."""
    arguments = LaunchArguments(context)
    if not arguments.is_true('record'):
        return [LogInfo(msg='record:=false: nothing is recorded')]
    if not (shutil.which('ros2') and find_spec('ros2bag')):
        advice = 'sudo apt install ros-$ROS_DISTRO-rosbag2, or record:=false to drive without'
        raise RuntimeError(f'ros2 bag is not installed, so nothing can be recorded; {advice}')
    seconds = arguments.text('split_s')
    if not (seconds.isascii() and seconds.isdecimal() and int(seconds) > 0):
        raise RuntimeError(f'split_s is "{seconds}"; it must be a whole number, 1 or more')
    folder = Path(arguments.path('record_to'))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        text = f'{folder}: cannot be made ({error.strerror}); name another folder by record_to'
        raise RuntimeError(text) from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise RuntimeError(f'{folder}: cannot be written; name another folder by record_to')
    return []


def _record(context):
    arguments = LaunchArguments(context)
    if not arguments.is_true('record'):
        return []
    bag = Path(arguments.path('record_to'), datetime.now().strftime('%Y-%m-%d_%H-%M-%S'))
    command = ['ros2', 'bag', 'record', '-o', str(bag)]
    command += ['--max-bag-duration', arguments.text('split_s')]
    nodes = _nodes(arguments)
    images = [names.image_topics(_transports(names, arguments)) for names in nodes]
    fix, *others = _topics(arguments, nodes, images)
    afterwards = f'ros2 run ashtkd_ros evaluate MAP {bag} --pose-topic {fix} -o report.html'
    unsure = [
        LogInfo(
            msg=f'recording {" and ".join(topics)}, for the node will take one of them; to record '
            'that one alone, name it by image_topic and image_transport'
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
    """End the launch with status 1, for a field trial without a recording is lost."""
    if not context.is_shutdown:
        raise RuntimeError(f'the recording has ended by itself (exit code {event.returncode})')


def _watch(context):
    """End the launch when no node is left: a recording without answers is not a field trial."""
    arguments = LaunchArguments(context)
    if arguments.is_true('respawn'):
        return []
    left = len(arguments.cameras())

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


def _nodes(arguments):
    """Names of each node: in the graph, for `ros2 bag record` is in no namespace."""
    outer = list(arguments.outer(OUTER_REMAPPINGS))
    return [
        NodeNames(
            str(arguments.robot() / camera), 'vpr_node', outer + arguments.remappings(camera)
        )
        for camera in arguments.cameras()
    ]


def _transports(names, arguments):
    """What `image_transport` may be for a node: an argument, else what parameters files say."""
    given = arguments.text('image_transport')
    if given:
        return [given]
    outer = arguments.outer(OUTER_PARAMETERS)  # (name, value), or a file
    values = [p[1] for p in outer if isinstance(p, tuple) and p[0] == 'image_transport']
    files = [str(p) for p in outer if not isinstance(p, tuple)]
    own = arguments.path('params_file')
    return names.image_transports([*files, *([own] if own else [])], values)


def _topics(arguments, nodes, images):
    """Topics to record: fixes first, then odometry, then what each node sees and answers."""
    robot = arguments.robot()
    topics = [str(robot / arguments.text(name)) for name in ('fix_topic', 'odom_topic')]
    for names, seen in zip(nodes, images, strict=True):
        topics += [*seen, *map(names.resolve, _OF_EACH_NODE)]
    others = arguments.text('other_topics').split()
    return list(dict.fromkeys([*topics, *_OF_THE_ROBOT, *others]))


def generate_launch_description():
    """The node, and the recording beside it."""
    node = Path(__file__).with_name('vpr.launch.py')
    # The node before the recording, which asks for what it declares.
    start = IncludeLaunchDescription(PythonLaunchDescriptionSource(str(node)))
    check, watch, record = (OpaqueFunction(function=f) for f in (_check, _watch, _record))
    return LaunchDescription([*declare(_ARGUMENTS), check, start, watch, record])

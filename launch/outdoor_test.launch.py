# SPDX-License-Identifier: Apache-2.0
"""vpr_node on board, and a bag of what it sees and says, for build_map and evaluate afterwards.

ros2 launch ashtkd_ros outdoor_test.launch.py map_path:=MAP image_topic:=/camera/image_raw

Where nothing can be recorded, nothing is started; a recording that ends by itself ends the launch.
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
)
from launch.conditions import IfCondition
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration

from ashtkd_ros.errors import VprError
from ashtkd_ros.expansion import expand_path

_ARGUMENTS = (
    ('record', 'true', 'false: the node without a recording'),
    ('record_to', '~/vpr_bags', 'folder; each run writes a bag into it, named by date and time'),
    ('odom_topic', 'odom', 'odometry to record'),
    ('fix_topic', 'fix', 'satellite fixes to record; they say afterwards what was right'),
    ('other_topics', '', 'further ones to record, a space between them'),
    ('split_s', '300', 'seconds in a file of the bag: a robot that loses power loses the last'),
)
_OF_EACH_NODE = ('vpr_node/place', 'vpr_node/pose', 'vpr_node/vision_info')
_OF_THE_ROBOT = ('/diagnostics', '/tf', '/tf_static')


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
    return IfCondition(LaunchConfiguration('record')).evaluate(context)


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
    fix, *others = _topics(context, text)
    afterwards = f'ros2 run ashtkd_ros evaluate MAP {bag} --pose-topic {fix} -o report.html'
    return [
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


def _topics(context, text):
    """Fixes first; names as they are in the graph: `ros2 bag record` is in no namespace."""
    pushed = context.launch_configurations.get('ros_namespace') or ''
    robot = PurePosixPath('/', pushed, text('namespace'))
    cameras = [word.strip() for word in text('cameras').split(',') if word.strip()]
    topics = [robot / text('fix_topic'), robot / text('odom_topic')]
    for camera in cameras or ['']:
        image = text('image_topic').replace('{camera}', camera)
        if text('image_transport') == 'compressed' and not image.endswith('/compressed'):
            image += '/compressed'
        topics += [robot / camera / name for name in (image, *_OF_EACH_NODE)]
    return [*map(str, topics), *_OF_THE_ROBOT, *text('other_topics').split()]


def generate_launch_description():
    """The node, and the recording beside it."""
    node = Path(__file__).with_name('vpr.launch.py')
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=meaning)
        for name, default, meaning in _ARGUMENTS
    ]
    # The node before the recording, which asks for what it declares.
    start = IncludeLaunchDescription(PythonLaunchDescriptionSource(str(node)))
    check, record = OpaqueFunction(function=_check), OpaqueFunction(function=_record)
    return LaunchDescription([*declared, check, start, record])

# SPDX-License-Identifier: Apache-2.0
"""vpr_node on board, and a bag of what it sees and says, for build_map and evaluate afterwards.

ros2 launch ashtkd_ros outdoor_test.launch.py map_path:=MAP image_topic:=/camera/image_raw
"""

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
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration

_ARGUMENTS = (
    ('record_to', '~/vpr_bags', 'folder; each run writes a bag into it, named by date and time'),
    ('odom_topic', 'odom', 'odometry to record'),
    ('fix_topic', 'fix', 'satellite fixes to record; they say afterwards what was right'),
    ('other_topics', '', 'further ones to record, a space between them'),
    ('split_s', '300', 'seconds in a file of the bag: a robot that loses power loses the last'),
)
_OF_EACH_NODE = ('vpr_node/place', 'vpr_node/pose', 'vpr_node/vision_info')
_OF_THE_ROBOT = ('/diagnostics', '/tf', '/tf_static')


def _record(context):
    def text(name):
        return LaunchConfiguration(name).perform(context)

    if not (shutil.which('ros2') and find_spec('ros2bag')):
        advice = 'sudo apt install ros-$ROS_DISTRO-rosbag2'
        return [LogInfo(msg=f'ros2 bag is not there, nothing is recorded; {advice}')]
    folder = Path(text('record_to')).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    bag = folder / datetime.now().strftime('%Y-%m-%d_%H-%M-%S')
    command = ['ros2', 'bag', 'record', '-o', str(bag), '--max-bag-duration', text('split_s')]
    fix, *others = _topics(context, text)
    afterwards = f'ros2 run ashtkd_ros evaluate MAP {bag} --pose-topic {fix} -o report.html'
    return [
        LogInfo(msg=f'recording into {bag}; afterwards: {afterwards}'),
        # Closing a long bag takes a while.
        ExecuteProcess(cmd=[*command, fix, *others], output='screen', sigterm_timeout='60'),
    ]


def _topics(context, text):
    """Fixes first; names as they are in the graph: `ros2 bag record` is in no namespace."""
    pushed = context.launch_configurations.get('ros_namespace') or ''
    robot = PurePosixPath('/', pushed, text('namespace'))
    cameras = [word.strip() for word in text('cameras').split(',') if word.strip()]
    topics = [robot / text('fix_topic'), robot / text('odom_topic')]
    for camera in cameras or ['']:
        image = text('image_topic').replace('{camera}', camera)
        topics += [robot / camera / name for name in (image, *_OF_EACH_NODE)]
    return [*map(str, topics), *_OF_THE_ROBOT, *text('other_topics').split()]


def generate_launch_description():
    """The node, and the recording beside it."""
    node = Path(__file__).with_name('vpr.launch.py')
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=meaning)
        for name, default, meaning in _ARGUMENTS
    ]
    # The node first: the recording asks for what it declares.
    start = IncludeLaunchDescription(PythonLaunchDescriptionSource(str(node)))
    return LaunchDescription([*declared, start, OpaqueFunction(function=_record)])

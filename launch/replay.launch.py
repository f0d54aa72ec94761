# SPDX-License-Identifier: Apache-2.0
"""Replay a bag against a node of its own and judge the answers; the launch ends with the report.

ros2 launch ashtkd_ros replay.launch.py map_path:=MAP bag:=BAG report:=REPORT.html rate:=2.0
"""

from pathlib import Path

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, ExecuteProcess, OpaqueFunction, Shutdown
from launch.substitutions import LaunchConfiguration
from launch_ros.substitutions import ExecutableInPackage

from ashtkd_ros.errors import VprError
from ashtkd_ros.files.path_expansion import expand_path

_REQUIRED = {
    'map_path': 'folder made by build_map',
    'bag': 'rosbag, or folder with poses.csv or index.csv',
    'report': 'HTML report to write; the answers lie beside it, as .answers.json',
}
# Options of `live` and of `evaluate`, by the same name; those that are empty are left out.
_LIVE = {
    'rate': 'times as fast as recorded',
    'hz': 'images a second, in place of the times recorded',
    'player': 'who plays the bag: auto, own or ros2',
}
_EVALUATE = {
    'min_confidence': 'a best match below is an unknown place, 0 to 1',
    'metres': 'a place within is the right one',
    'degrees': 'a place turned by no more is the right one',
    'frames': 'the same where places are numbered',
    'correspondences': 'CSV query,map[,traverse]: numbers of the right frames, in place of poses',
    'labels': "CSV frame,label: names of the places in the bag's images",
    'pose_topic': 'odometry, pose, /tf or NavSatFix; none: no poses',
    'trajectory': 'file in TUM format instead of a topic',
    'stamps': 'times to find the poses by: header or receive',
    'max_pose_gap': 'seconds between poses above which an image has none',
    'map_frame': 'with /tf: the fixed frame',
    'camera_frame': "with /tf: the camera's frame, in place of the images' own",
}
_BOTH = {
    'image_topic': 'where a bag has several',
    'role': 'rows of an index.csv to take',
    'model': 'network (.onnx); the student that is shipped when not given',
}
_PATHS = ('model', 'trajectory', 'labels', 'correspondences')


def _start(context):
    def given(*names):
        values = {name: LaunchConfiguration(name).perform(context) for name in names}
        values = {n: _expanded(n, v) if n in _PATHS else v for n, v in values.items()}
        return [x for n, v in values.items() if v for x in (f'--{n.replace("_", "-")}', v)]

    map_path, bag, report = (
        _expanded(name, LaunchConfiguration(name).perform(context)) for name in _REQUIRED
    )
    answers = str(Path(report).with_suffix('.answers.json'))
    judge = _command(
        'evaluate',
        [map_path, bag, '--answers', answers, '-o', report, *given(*_EVALUATE, *_BOTH)],
        Shutdown(reason=f'the report is written: {report}'),
    )
    record = [map_path, bag, '-o', answers, *given(*_LIVE, *_BOTH)]
    return [_command('live', record, judge)]


def _expanded(name, value):
    try:
        return expand_path(value)
    except VprError as error:
        raise RuntimeError(f'{name} is {error}') from error


def _command(executable, arguments, afterwards):
    """A command of this package, and what follows when it has done its work."""

    def ended(event, context):
        if context.is_shutdown:
            return None
        if event.returncode:  # what is raised here ends the launch with status 1
            raise RuntimeError(f'{executable} failed, see above; there is no report')
        return [afterwards]

    # No Node: ROS arguments are not for `evaluate`, and `live` names nodes itself.
    command = [ExecutableInPackage(package='ashtkd_ros', executable=executable), *arguments]
    return ExecuteProcess(cmd=command, output='screen', on_exit=ended)


def generate_launch_description():
    """Recording, then judging."""
    declared = [DeclareLaunchArgument(n, description=about) for n, about in _REQUIRED.items()]
    for name, about in {**_LIVE, **_EVALUATE, **_BOTH}.items():
        declared.append(DeclareLaunchArgument(name, default_value='', description=about))
    return LaunchDescription([*declared, OpaqueFunction(function=_start)])

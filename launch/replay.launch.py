# SPDX-License-Identifier: Apache-2.0
"""Replay a bag against a node of its own and judge the answers; the launch ends with the report.

ros2 launch ashtkd_ros replay.launch.py map_path:=MAP bag:=BAG report:=REPORT.html rate:=2.0

This is the command `evaluate --live`; the arguments are its options, by the same names.
"""

from launch import LaunchDescription
from launch.actions import ExecuteProcess, OpaqueFunction, Shutdown
from launch_ros.substitutions import ExecutableInPackage

from ashtkd_ros.commands.evaluate import evaluate_parser
from ashtkd_ros.ros.launch_arguments import LaunchArguments, OptionArguments, declare

_REQUIRED = {
    'map_path': 'folder of the map, made by build_map',
    'bag': 'what to replay: a rosbag, a video, or a folder with poses.csv or index.csv',
    'report': 'HTML report to write; the answers lie beside it, as .answers.json',
}
# What the launch itself says to `evaluate`; every other option is an argument.
_NOT_PASSED_ON = ('help', 'map', 'source', 'out', 'compare', 'live', 'answers')


def _options():
    return OptionArguments(o for o in evaluate_parser().arguments if o.dest not in _NOT_PASSED_ON)


def _declared():
    required = [(name, None, description) for name, description in _REQUIRED.items()]
    return [*required, *_options().declared()]


def _start(context):
    arguments = LaunchArguments(context)
    arguments.tell_misspelt((name for name, _, _ in _declared()), __file__)
    map_path, bag, report = (arguments.path(name) for name in _REQUIRED)
    # No Node: ROS arguments are not for `evaluate`.
    command = [ExecutableInPackage(package='ashtkd_ros', executable='evaluate')]
    command += [map_path, bag, '--live', '-o', report]
    command += _options().command_line(arguments)

    def ended(event, context):
        if context.is_shutdown:
            return None
        if event.returncode:  # what is raised here ends the launch with status 1
            raise RuntimeError('evaluate failed, see above; there is no report')
        return [Shutdown(reason=f'the report is written: {report}')]

    return [ExecuteProcess(cmd=command, output='screen', on_exit=ended, sigterm_timeout='15')]


def generate_launch_description():
    """Replaying and judging."""
    return LaunchDescription([*declare(_declared()), OpaqueFunction(function=_start)])

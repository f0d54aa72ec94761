# SPDX-License-Identifier: Apache-2.0
"""Drive an outdoor trial: check list, vpr_node, recorder and watch, all into one folder.

ros2 launch ashtkd_ros outdoor_test.launch.py map_path:=MAP image_topic:=/camera/image_raw

This is the command `vpr_trial`, which keeps everything running until Ctrl-C; the arguments are its
options, by the same names. A no-go of the check list ends the launch with status 1.

The recorder is `trial_recorder`, not `ros2 bag record`: it need not be installed, it says in its
diagnostics what it loses, and a kill costs it a second, not the file.
"""

import signal
import sys

from launch import LaunchDescription
from launch.actions import ExecuteProcess, OpaqueFunction, Shutdown

from ashtkd_ros.ros.launch_arguments import (
    OUTER_PARAMETERS,
    OUTER_REMAPPINGS,
    LaunchArguments,
    declare,
)
from ashtkd_ros.ros.node_arguments import NODE_ARGUMENTS
from ashtkd_ros.ros.trial.processes import end_child
from ashtkd_ros.ros.trial.trial_options import PARAMS_FILE, TRIAL_ARGUMENTS, all_arguments

_ARGUMENTS = (*TRIAL_ARGUMENTS, *NODE_ARGUMENTS, PARAMS_FILE)
_END_S = '95'  # nodes, recorder and watch are ended one after the other


def _start(context):
    arguments = LaunchArguments(context)
    given = {name: arguments.text(name) for name, _, _ in all_arguments()}
    given['namespace'] = str(arguments.robot())
    usual = {name: default for name, default, _ in all_arguments()}
    arguments.tell_misspelt(usual, __file__)
    command = [sys.executable, '-m', 'ashtkd_ros.entry', 'vpr_trial']
    command += [
        f'--{name.replace("_", "-")}={text}' for name, text in given.items() if text != usual[name]
    ]
    if outer := _outer(arguments):
        command += ['--ros-args', *outer]
    trial = ExecuteProcess(
        cmd=command, name='vpr_trial', output='screen', sigkill_timeout=_END_S, on_exit=_ended
    )
    if signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
        signal.signal(signal.SIGTERM, lambda *_: _end(trial))
    return [trial]


def _end(trial):
    """SIGTERM would end the launch and nothing else; of a kill the trial shall know nothing."""
    if details := getattr(trial, 'process_details', None):
        end_child(details['pid'])


def _outer(arguments):
    """What the launch that includes this one has set for all nodes, as arguments of ROS."""
    words = []
    for before, after in arguments.outer(OUTER_REMAPPINGS):
        words += ['-r', f'{before}:={after}']
    for parameter in arguments.outer(OUTER_PARAMETERS):
        if isinstance(parameter, tuple):
            words += ['-p', f'{parameter[0]}:={parameter[1]}']
        else:
            words += ['--params-file', str(parameter)]
    return words


def _ended(event, context):
    if context.is_shutdown:
        return None
    if event.returncode:  # what is raised here ends the launch with status 1
        raise RuntimeError('the trial has ended, see above')
    return [Shutdown(reason='the trial has ended')]


def generate_launch_description():
    """The trial."""
    return LaunchDescription([*declare(all_arguments()), OpaqueFunction(function=_start)])

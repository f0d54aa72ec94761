# SPDX-License-Identifier: Apache-2.0
"""The options of `vpr_trial`, which are the arguments of outdoor_test.launch.py."""

from __future__ import annotations

from pathlib import Path

from ashtkd_ros.cli.command import make_parser
from ashtkd_ros.cli.terminal import SafeParser
from ashtkd_ros.ros.node.given_parameters import parameter_arguments
from ashtkd_ros.ros.node_arguments import NODE_ARGUMENTS
from ashtkd_ros.trials.folder import TRIALS

SHIPPED = 'shipped'  # as params_file: config/vpr.yaml of the package
CHECKS = ('true', 'warn', 'false')
TRIAL_ARGUMENTS = (
    ('trial', '', 'name of the trial, in the name of its folder; empty: the name of the machine'),
    ('trials_folder', TRIALS, 'folder of the trials; each makes a folder DATE_TIME_NAME in it'),
    ('condition', '', 'for the sheet: what reports compare by, such as day, dusk, night or rain'),
    ('weather', '', 'for the sheet: the weather'),
    ('light', '', 'for the sheet: the light'),
    ('operator', '', 'for the sheet: who drives'),
    ('robot', '', 'for the sheet: robot and camera'),
    ('route', '', 'for the sheet: the route'),
    ('remarks', '', 'for the sheet: whatever else should be known'),
    (
        'check',
        'true',
        'true: what the check list finds missing ends the trial before it starts; warn: it goes '
        'on nevertheless; false: there is no check list',
    ),
    ('planned_minutes', '30', 'how long the trial will be, in minutes: the disk must have room'),
    ('record', 'true', 'false: drive without a recording'),
    ('node', 'true', 'false: record without vpr_node, such as the first drive, before any map'),
    ('odom_topic', 'odom', 'topic of the odometry'),
    ('fix_topic', 'fix', 'topic of the satellite fixes, by which the report tells what was right'),
    ('battery_topic', 'battery_state', 'topic of the state of the battery'),
    ('other_topics', '', 'further topics to record, separated by spaces'),
    (
        'split_s',
        '300',
        'length of each file of the bag, in seconds; if the power fails, the last file is cut off',
    ),
)
PARAMS_FILE = (
    'params_file',
    SHIPPED,
    'YAML file of parameters, an argument goes before it; shipped: that of the package, empty: '
    'none',
)


def all_arguments() -> list[tuple[str, str, str]]:
    """(name, default, meaning) of every argument of a trial."""
    parameters = [
        (name, '', f'{meaning} Empty: left to the parameters file.')
        for name, meaning in parameter_arguments()
    ]
    return [*TRIAL_ARGUMENTS, *NODE_ARGUMENTS, PARAMS_FILE, *parameters]


def trial_parser(doc: str) -> SafeParser:
    """The parser of `vpr_trial`: every argument is an option, with - for _; and `--end`."""
    parser = make_parser(doc)
    parser.add_argument(
        '--end',
        type=Path,
        metavar='TRIAL',
        help='end a trial whose vpr_trial was killed, name its folder; nothing is started',
    )
    for name, default, meaning in all_arguments():
        told = f'{meaning} (default: {default})' if default else meaning
        parser.add_argument(
            f'--{name.replace("_", "-")}', default=default, help=told.replace('%', '%%')
        )
    return parser

# SPDX-License-Identifier: Apache-2.0
"""Options of the commands that play a source, and the source that they name."""

from __future__ import annotations

import argparse
from pathlib import Path

from rclpy.utilities import remove_ros_args

from ashtkd_ros.cli.command import run_command
from ashtkd_ros.cli.playback_options import add_speed_options
from ashtkd_ros.cli.terminal import print_source_notes
from ashtkd_ros.errors import VprError
from ashtkd_ros.ros.session import argument_error
from ashtkd_ros.traverses.opening import open_traverse
from ashtkd_ros.traverses.traverse import PLAY, Playback, TraverseOptions


def add_source_options(parser: argparse.ArgumentParser) -> None:
    """What to play, and how fast; see `open_playback`."""
    add = parser.add_argument
    add('source', type=Path, help='a rosbag, a video, or a folder with poses.csv or index.csv')
    add_speed_options(parser)
    add(
        '--image-topic',
        default='',
        help='topic of the images in a bag (default: the only topic with images)',
    )
    add(
        '--role',
        default='',
        help='take the rows of index.csv with this role (default: the rows of the queries if it '
        'has several roles)',
    )
    add(
        '--compressed',
        action='store_true',
        help='send the JPEG or PNG bytes of a folder as CompressedImage, not its pixels',
    )


def open_playback(args: argparse.Namespace) -> Playback:
    """The source that the command line names; VprError where an option is for another kind."""
    options = TraverseOptions(role=args.role, image_topic=args.image_topic, purpose=PLAY)
    traverse = open_traverse(args.source, options)
    print_source_notes(args.source, traverse.notes)
    return traverse.playback(args.hz or 0.0, args.compressed)


def own_arguments(argv: list[str]) -> list[str]:
    """The arguments that are not for ROS; it ends the process where ROS cannot read them."""
    try:
        return remove_ros_args(argv)[1:]
    except UnicodeError:
        reason = (
            'ROS cannot take these arguments, for one of them is not UTF-8 text; rename the file'
        )
        error = VprError(reason)
    except Exception as refused:  # UnknownROSArgsError, RCLError: see `session`
        error = argument_error(refused) or refused

    def refuse() -> int:
        raise error

    run_command(refuse)
    raise error

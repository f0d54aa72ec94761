# SPDX-License-Identifier: Apache-2.0
"""Play a rosbag or a folder of images as a camera.

A bag's images go out as they were recorded, byte for byte and at the times they were received at;
pauses of the recording are kept.

example: ros2 run ashtkd_ros replay tuesday.mcap --rate 2 --ros-args -r image:=/camera/image_raw
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rclpy.utilities import remove_ros_args

from ashtkd_ros.cli.arguments import positive, rate
from ashtkd_ros.cli.command import make_parser, run_command
from ashtkd_ros.cli.terminal import say, tell_notes
from ashtkd_ros.errors import VprError
from ashtkd_ros.ros.play.image_publisher import ImagePublisher
from ashtkd_ros.ros.play.players import play
from ashtkd_ros.ros.session import ros_session
from ashtkd_ros.traverses.opening import open_traverse
from ashtkd_ros.traverses.traverse import PLAY, Playback, TraverseOptions


def add_source_options(parser: argparse.ArgumentParser) -> None:
    """What to play, and how fast; see `open_playback`."""
    add = parser.add_argument
    add('source', type=Path, help='rosbag, or folder with poses.csv or index.csv')
    add('--rate', type=rate, default=1.0, help='times as fast as recorded (1)')
    add('--hz', type=rate, help='images a second; of a folder 10, of a bag as recorded')
    add('--image-topic', default='', help='where a bag has several')
    add('--role', default='', help='rows of index.csv to take (query, where there are several)')
    add('--compressed', action='store_true', help="send a folder's JPEG or PNG bytes")


def open_playback(args: argparse.Namespace) -> Playback:
    """The source that the command line names; VprError where an option is for another kind."""
    options = TraverseOptions(role=args.role, image_topic=args.image_topic, purpose=PLAY)
    traverse = open_traverse(args.source, options)
    tell_notes(args.source, traverse.notes)
    return traverse.playback(args.hz or 0.0, args.compressed)


def own_arguments(argv: list[str]) -> list[str]:
    """The arguments that are not ROS's; where ROS cannot read them, one line and status 1."""

    def refuse() -> int:
        raise VprError('ROS does not take these arguments: they are no UTF-8 text; rename files')

    try:
        return remove_ros_args(argv)[1:]
    except UnicodeError:
        run_command(refuse)
        raise


def main(argv: list[str] | None = None) -> None:
    """Command line."""
    argv = sys.argv if argv is None else ['replay', *argv]
    parser = make_parser(__doc__)
    add_source_options(parser)
    parser.add_argument('--wait', type=positive, default=30.0, help='seconds for a subscriber')
    args = parser.parse_args(own_arguments(argv))

    def command() -> int:
        source = open_playback(args)
        with ros_session(argv):
            camera = ImagePublisher(source.compressed)
            camera.wait_for_subscriber(args.wait)
            say(f'{play(camera, source, args.rate)} images played')
        return 0

    run_command(command)


if __name__ == '__main__':
    main()

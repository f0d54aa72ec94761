# SPDX-License-Identifier: Apache-2.0
"""Play a rosbag, a video or a folder of images as a camera.

A bag's images go out as they were recorded, byte for byte and at the times they were received at;
pauses of the recording are kept.

example: ros2 run ashtkd_ros replay tuesday.mcap --rate 2 --ros-args -r image:=/camera/image_raw
"""

from __future__ import annotations

import sys

from ashtkd_ros.cli.arguments import positive
from ashtkd_ros.cli.command import make_parser, run_command
from ashtkd_ros.cli.terminal import print_lines, print_source_notes
from ashtkd_ros.ros.play.image_publisher import ImagePublisher
from ashtkd_ros.ros.play.play_options import add_source_options, open_playback, own_arguments
from ashtkd_ros.ros.play.players import play
from ashtkd_ros.ros.session import end_on_signal, ros_session
from ashtkd_ros.text import counted


def main(argv: list[str] | None = None) -> None:
    """Command line."""
    argv = sys.argv if argv is None else ['replay', *argv]
    parser = make_parser(__doc__)
    add_source_options(parser)
    parser.add_argument(
        '--wait',
        type=positive,
        default=30.0,
        help='seconds to wait for a subscriber before giving up (default: %(default)g)',
    )
    args = parser.parse_args(own_arguments(argv))

    def command() -> int:
        source = open_playback(args)
        told = len(source.traverse.notes)
        with ros_session(argv):
            publisher = ImagePublisher(source.compressed)
            publisher.wait_for_subscriber(args.wait, end_on_signal)
            count = play(publisher, source, args.rate, end_on_signal)
            end_on_signal()
        print_source_notes(source.path, source.traverse.notes[told:])
        print_lines(f'{counted(count, "image")} played')
        return 0

    run_command(command)


if __name__ == '__main__':
    main()

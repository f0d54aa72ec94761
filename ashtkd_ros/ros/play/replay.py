# SPDX-License-Identifier: Apache-2.0
"""Play a rosbag or a folder of images as a camera.

A bag's images go out as they were recorded, byte for byte and at the times they were received at;
pauses of the recording are kept.

example: ros2 run ashtkd_ros replay tuesday.mcap --rate 2 --ros-args -r image:=/camera/image_raw
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator
from pathlib import Path

from rclpy.utilities import remove_ros_args

from ashtkd_ros.bags.bag import COMPRESSED_TYPE, Bag, is_bag
from ashtkd_ros.cli.arguments import positive, rate
from ashtkd_ros.cli.command import make_parser, run_command
from ashtkd_ros.cli.terminal import say, tell_notes
from ashtkd_ros.errors import VprError
from ashtkd_ros.evaluation.node_answers import header_ns
from ashtkd_ros.ros.play.image_publisher import ImagePublisher
from ashtkd_ros.ros.play.message_stamps import Stamp, stamp_of
from ashtkd_ros.ros.play.players import play
from ashtkd_ros.ros.session import session
from ashtkd_ros.stamps import ns_to_s, split_ns
from ashtkd_ros.traverses.bag_traverse import choose_image_topic
from ashtkd_ros.traverses.image_folder import Frame, read_source

_FOLDER_HZ = 10.0
_LONG_PAUSE_S = 5.0


class Folder:
    """The frames of a folder, `hz` a second."""

    def __init__(self, path: Path, role: str = '', compressed: bool = False, hz: float = 0.0):
        self.path, self.compressed = path, compressed
        notes: list[str] = []
        self._frames, self.hz = read_source(path, role, notes, 'query'), hz or _FOLDER_HZ
        tell_notes(path, notes)

    def __iter__(self) -> Iterator[tuple[float, Frame]]:
        """Seconds after the first, frame."""
        for i, frame in enumerate(self._frames):
            yield i / self.hz, frame

    def stamps(self) -> Iterator[Stamp]:
        """Of the messages that the frames are sent as."""
        return (split_ns(header_ns(frame)) for frame in self._frames)


class Recording:
    """The images of one topic of a bag, at the times of receipt, or `hz` a second."""

    def __init__(self, path: Path, image_topic: str = '', hz: float = 0.0):
        self.path, self.bag, self.hz = path, Bag(path), hz
        self.topic = choose_image_topic(self.bag, image_topic)
        self.compressed = self.topic.type == COMPRESSED_TYPE

    def __iter__(self) -> Iterator[tuple[float, bytes]]:
        """Seconds after the first, serialized message; one is in memory at a time."""
        first, last = None, math.inf
        for i, (_, received, data) in enumerate(self.bag.serialized([self.topic.name])):
            first = received if first is None else first
            pause, last = ns_to_s(received - last), received
            if pause > _LONG_PAUSE_S and not self.hz:
                say(f'{self.path}: a pause of {pause:.1f} s follows, as recorded')
            yield i / self.hz if self.hz else ns_to_s(received - first), data

    def stamps(self) -> Iterator[Stamp]:
        """Of the messages' headers."""
        return (stamp_of(data) for _, _, data in self.bag.serialized([self.topic.name]))


def add_source_options(parser: argparse.ArgumentParser) -> None:
    """What to play, and how fast; see `open_source`."""
    add = parser.add_argument
    add('source', type=Path, help='rosbag, or folder with poses.csv or index.csv')
    add('--rate', type=rate, default=1.0, help='times as fast as recorded (1)')
    add('--hz', type=rate, help='images a second; of a folder 10, of a bag as recorded')
    add('--image-topic', default='', help='where a bag has several')
    add('--role', default='', help='rows of index.csv to take (query, where there are several)')
    add('--compressed', action='store_true', help="send a folder's JPEG or PNG bytes")


def open_source(args: argparse.Namespace) -> Folder | Recording:
    """The source that the command line names; VprError where an option is for the other kind."""
    path, hz = args.source, args.hz or 0.0
    if not is_bag(path):
        if args.image_topic:
            raise VprError(f'{path}: --image-topic is for bags, this is a folder')
        if not path.is_dir():
            raise VprError(
                f'{path}: no such folder or bag; a bag is a folder, or a .db3, .mcap or .bag file'
            )
        return Folder(path, args.role, args.compressed, hz)
    if args.role:
        raise VprError(f'{path}: --role is for folders with an index.csv, this is a bag')
    recording = Recording(path, args.image_topic, hz)
    for note in recording.bag.notes:
        print(f'note: {path}: {note}', file=sys.stderr, flush=True)
    if args.compressed and not recording.compressed:
        raise VprError(
            f'{path}: {recording.topic.name} holds raw images, which are played as recorded; '
            'leave --compressed out'
        )
    return recording


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
        source = open_source(args)
        with session(argv):
            camera = ImagePublisher(source.compressed)
            camera.wait_for_subscriber(args.wait)
            say(f'{play(camera, source, args.rate)} images played')
        return 0

    run_command(command)


if __name__ == '__main__':
    main()

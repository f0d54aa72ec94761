# SPDX-License-Identifier: Apache-2.0
"""Make a rosbag from a folder of images, or list the topics of a bag.

example: ros2 run ashtkd_ros bag_tools make ~/walks/monday -o ~/bags/monday --storage mcap
example: ros2 run ashtkd_ros bag_tools info ~/bags/monday
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from ashtkd_ros.bags.bag import COMPRESSED_TYPE, IMAGE_TYPE, Bag
from ashtkd_ros.bags.bag_names import is_bag
from ashtkd_ros.cli.arguments import finite, rate
from ashtkd_ros.cli.command import make_parser, run_command
from ashtkd_ros.cli.terminal import print_lines, print_source_notes
from ashtkd_ros.errors import VprError
from ashtkd_ros.files.reading import is_folder
from ashtkd_ros.geometry.geodesy import GeoOrigin
from ashtkd_ros.traverses.bag_writer import COMPRESSIONS, START_S, STORAGES, BagOptions, make_bag
from ashtkd_ros.traverses.image_folder import has_times, read_source
from ashtkd_ros.traverses.pose_messages import POSE_TYPES

_INDEX_HZ = 10.0


def make(args: argparse.Namespace) -> int:
    """`bag_tools make`: write the bag and print its topics."""
    notes: list[str] = []
    if os.path.exists(args.source) and (is_bag(args.source) or not is_folder(args.source)):
        raise VprError(
            f'{args.source}: is not a folder of images; name one with poses.csv or index.csv'
        )
    frames = read_source(args.source, args.role, notes)
    print_source_notes(args.source, notes)
    hz = args.hz or (None if has_times(args.source) else _INDEX_HZ)
    options = BagOptions(
        storage=args.storage,
        compression=args.compression,
        jpeg=args.jpeg,
        start_s=args.start,
        hz=hz,
        odom_hz=args.odom_hz,
        odom_frame=args.odom_frame,
        tf=args.tf,
        origin=GeoOrigin(*args.origin, 0.0) if args.origin else None,
    )
    counts = make_bag(frames, args.out, options)
    print_lines(f'{args.out}: ' + ', '.join(f'{n} {topic}' for topic, n in counts.items()))
    return 0


def info(args: argparse.Namespace) -> int:
    """`bag_tools info`: print topics with counts and rates, and which have images or poses."""
    bag = Bag(args.bag)
    print_source_notes(args.bag, bag.notes)
    marks = {IMAGE_TYPE: 'images', COMPRESSED_TYPE: 'images', **dict.fromkeys(POSE_TYPES, 'poses')}
    print_lines(f'{args.bag}: {bag.end_s - bag.start_s:.1f} s')
    for topic in bag.topics.values():
        print_lines(f'{marks.get(topic.type, ""):>7} {topic}')
    return 0


def main(argv: list[str] | None = None) -> None:
    """Command line."""
    parser = make_parser(__doc__)
    commands = parser.add_subparsers(dest='command', required=True)
    _add_make(commands)
    tell = commands.add_parser('info', help='list the topics of a bag')
    tell.set_defaults(run=info)
    tell.add_argument('bag', type=Path, help='rosbag of ROS 1 or ROS 2')
    args = parser.parse_args(argv)
    run_command(lambda: args.run(args))


def _add_make(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser('make', help='make a bag from a folder of images')
    parser.set_defaults(run=make)
    add = parser.add_argument
    add('source', type=Path, help='folder with poses.csv or index.csv')
    add('-o', '--out', type=Path, required=True, help='folder of the new bag')
    add('--role', default='', help='take the rows of index.csv with this role (default: all rows)')
    text = f'format of the files (default: {STORAGES[0]})'
    add('--storage', choices=STORAGES, default=STORAGES[0], help=text)
    text = 'what is compressed by zstd; "storage" needs --storage mcap (default: none)'
    add('--compression', choices=COMPRESSIONS, default='none', help=text)
    text = 'write the bytes of JPEG and PNG files instead of pixels'
    add('--jpeg', action='store_true', help=text)
    text = f'images per second (default: by their stamps; {_INDEX_HZ:g} with an index.csv)'
    add('--hz', type=rate, help=text)
    text = 'time that is added to every stamp, in seconds (default: 0, or '
    text += f'{START_S} if a stamp would be 0)'
    add('--start', type=finite, help=text)
    add('--odom-hz', type=rate, default=20.0, help='poses per second (default: %(default)g)')
    add('--odom-frame', default='odom', help='frame of the poses (default: %(default)s)')
    add('--tf', action='store_true', help='write /tf and /tf_static as well')
    text = 'write /fix as well: latitude and longitude of x = y = 0, in degrees (WGS 84)'
    add('--origin', nargs=2, type=finite, metavar=('LAT', 'LON'), help=text)


if __name__ == '__main__':
    main()

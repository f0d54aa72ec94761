# SPDX-License-Identifier: Apache-2.0
"""Build a map of places from rosbags, videos or folders of images.

A bag is a ROS 2 bag (sqlite3 or MCAP, compressed or not) or a ROS 1 .bag; a video is a .mp4, .m4v,
.mov, .avi, .mkv or .webm file; a folder has a poses.csv or an index.csv. Several sources become
one map. If a build was killed, the same command continues it.

example: ros2 run ashtkd_ros build_map ~/bags/monday ~/bags/rainy_tuesday -o ~/maps/campus
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ashtkd_ros.cli.command import make_parser, run_command
from ashtkd_ros.cli.terminal import print_lines, print_notes
from ashtkd_ros.commands.keyframe_options import add_keyframe_options, keyframes_of
from ashtkd_ros.commands.options import (
    add_model_options,
    add_traverse_options,
    load_embedder,
    traverse_options,
)
from ashtkd_ros.mapping.build import MapOptions, build_map
from ashtkd_ros.mapping.build_summary import notes_after_build, route_line, summary
from ashtkd_ros.mapping.keyframes import unused_options
from ashtkd_ros.mapping.plan import plan
from ashtkd_ros.mapping.source_checks import cautions
from ashtkd_ros.traverses.opening import open_traverses


def _build(args: argparse.Namespace) -> int:
    keyframes = keyframes_of(args)
    traverses = open_traverses(args.source, traverse_options(args, purpose='map'))
    print_notes(*unused_options(traverses, keyframes))
    if args.dry_run:
        print_lines(
            *(line for t in traverses for line in plan(t, keyframes)), *cautions(traverses)
        )
        return 0
    print_notes(
        *(f'{t.path}: {text}' for t in traverses for text in t.notes), *cautions(traverses)
    )
    printed = [len(t.notes) for t in traverses]
    options = MapOptions(keyframes, args.thumbnails, args.local, args.threads, args.replace)
    place_map, counts = build_map(traverses, load_embedder(args), args.out, options)
    print_lines(*summary(place_map, counts, args.out, args.local))
    print_notes(*notes_after_build(traverses, printed, counts))
    route, missing = route_line(place_map, args.out)
    print_lines(*filter(None, [route]))
    print_notes(*filter(None, [missing]))
    return 0


def main(argv: list[str] | None = None) -> None:
    """Command line."""
    parser = make_parser(__doc__)
    parser.add_argument(
        'source', type=Path, nargs='+', help='bag, video, or folder with a poses.csv or index.csv'
    )
    parser.add_argument('-o', '--out', type=Path, required=True, help='folder of the new map')
    parser.add_argument(
        '--dry-run', action='store_true', help='print what would be used, and build no map'
    )
    parser.add_argument(
        '--thumbnails',
        action=argparse.BooleanOptionalAction,
        default=MapOptions().thumbnails,
        help='keep a small JPEG of each place for the debug image and for reports',
    )
    parser.add_argument(
        '--local',
        action=argparse.BooleanOptionalAction,
        default=MapOptions().local,
        help='keep the local features of each place, by which answers are verified, where the '
        'network has such; without them a map is smaller (default: %(default)s)',
    )
    text = 'replace a map in the same folder even if it was made from other sources'
    parser.add_argument('--replace', action='store_true', help=text)
    add_keyframe_options(parser)
    add_traverse_options(parser)
    add_model_options(parser)
    args = parser.parse_args(argv)
    run_command(lambda: _build(args))


if __name__ == '__main__':
    main()

# SPDX-License-Identifier: Apache-2.0
"""Build a map of places from rosbags, videos or folders of images.

A bag is a ROS 2 bag (sqlite3 or MCAP, compressed or not) or a ROS 1 .bag; a video is a .mp4, .m4v,
.mov, .avi, .mkv or .webm file; a folder has a poses.csv or an index.csv. Several sources become
one map. If a build was killed, the same command continues it.

example: ros2 run ashtkd_ros build_map ~/bags/monday ~/bags/rainy_tuesday -o ~/maps/campus
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from ashtkd_ros.cli.arguments import count
from ashtkd_ros.cli.command import make_parser, run_command
from ashtkd_ros.cli.terminal import print_lines, print_notes
from ashtkd_ros.commands.index_options import add_index_options, index_of
from ashtkd_ros.commands.keyframe_options import add_keyframe_options, keyframes_of
from ashtkd_ros.commands.map_fleet import build_for, map_output
from ashtkd_ros.commands.options import (
    add_model_options,
    add_traverse_options,
    load_embedder,
    traverse_options,
)
from ashtkd_ros.mapping.build import Builder, MapOptions, build_map
from ashtkd_ros.mapping.build_summary import notes_after_build, route_line, summary
from ashtkd_ros.mapping.journal import Journal
from ashtkd_ros.mapping.keyframes import unused_options
from ashtkd_ros.mapping.plan import plan
from ashtkd_ros.mapping.source_checks import cautions
from ashtkd_ros.maps.milvus_store import is_address
from ashtkd_ros.maps.place_map import alike_note
from ashtkd_ros.traverses.opening import open_traverses
from ashtkd_ros.traverses.traverse import Traverse


def add_fleet_options(parser: argparse.ArgumentParser) -> None:
    """The options for workers that build beside each other."""
    text = 'many sources beside each other, by Ray (pip install ray)'
    add = parser.add_argument_group(text).add_argument
    text = (
        'number of workers; each reads and embeds a source at a time, on one core (--threads is '
    )
    text += 'then for the calibration alone); 0: no workers, or with --ray-address one on each '
    text += 'core of the cluster (default: %(default)d)'
    add('--workers', type=count, default=0, metavar='N', help=text)
    text = 'running Ray cluster of the workers, which need the same files under the same paths '
    text += '(default: workers on this machine, which end with the build)'
    add('--ray-address', default='', metavar='HOST:PORT', help=text)


def _fleet(args: argparse.Namespace) -> Callable[[Builder, Journal], None] | None:
    """What adds the places if workers are to do that; VprError where there are none."""
    if args.dry_run or not (args.workers or args.ray_address):
        return None
    from ashtkd_ros.mapping.fleet import fleet  # imports Ray

    return fleet(args.workers, args.ray_address)


def _build(args: argparse.Namespace) -> int:
    keyframes, add_places = keyframes_of(args), _fleet(args)
    traverses = open_traverses(args.source, traverse_options(args, purpose='map'))
    print_notes(*unused_options(traverses, keyframes))
    if args.dry_run:
        print_lines(
            *(line for t in traverses for line in plan(t, keyframes)), *cautions(traverses)
        )
        return 0
    return build_for(args.out, args.replace, lambda out: _built(args, traverses, add_places, out))


def _built(
    args: argparse.Namespace,
    traverses: list[Traverse],
    add_places: Callable[[Builder, Journal], None] | None,
    out: Path,
) -> int:
    print_notes(
        *(f'{t.path}: {text}' for t in traverses for text in t.notes), *cautions(traverses)
    )
    printed = [len(t.notes) for t in traverses]
    kept = args.thumbnails, args.local
    options = MapOptions(keyframes_of(args), *kept, args.threads, args.replace, index_of(args))
    place_map, counts = build_map(traverses, load_embedder(args), out, options, add_places)
    print_lines(*summary(place_map, counts, args.out, args.local))
    print_notes(*notes_after_build(traverses, printed, counts))
    print_notes(*alike_note(args.out, place_map.index))
    if is_address(args.out):  # the folder is not what stays
        return 0
    route, missing = route_line(place_map, out)
    print_lines(*filter(None, [route]))
    print_notes(*filter(None, [missing]))
    return 0


def main(argv: list[str] | None = None) -> None:
    """Command line."""
    parser = make_parser(__doc__)
    parser.add_argument(
        'source', type=Path, nargs='+', help='bag, video, or folder with a poses.csv or index.csv'
    )
    text = 'folder of the new map, or milvus://... as for map_tools push; --dry-run needs none'
    parser.add_argument('-o', '--out', type=map_output, help=text)
    parser.add_argument(
        '--dry-run', action='store_true', help='print what would be used, and build no map'
    )
    parser.add_argument(
        '--thumbnails',
        action=argparse.BooleanOptionalAction,
        default=MapOptions().thumbnails,
        help='keep a small JPEG of each place for the debug image and for reports '
        '(default: %(default)s)',
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
    add_fleet_options(parser)
    add_index_options(parser)
    add_traverse_options(parser)
    add_model_options(parser)
    args = parser.parse_args(argv)
    if args.out is None and not args.dry_run:
        parser.error('the following arguments are required: -o/--out')
    run_command(lambda: _build(args))


if __name__ == '__main__':
    main()

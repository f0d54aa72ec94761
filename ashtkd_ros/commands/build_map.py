# SPDX-License-Identifier: Apache-2.0
"""Build a map of places from rosbags or folders of images.

A bag is a ROS 2 bag (sqlite3 or MCAP, compressed or not) or a ROS 1 .bag; a folder has a poses.csv
or an index.csv. Several sources become one map. A build that was killed goes on where it stopped
when it is called again.

example: ros2 run ashtkd_ros build_map ~/bags/monday ~/bags/rainy_tuesday -o ~/maps/campus
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ashtkd_ros.cli.arguments import not_negative, share
from ashtkd_ros.cli.command import make_parser, run_command
from ashtkd_ros.cli.terminal import note, say
from ashtkd_ros.commands.options import (
    add_model_options,
    add_traverse_options,
    load_embedder,
    open_traverses,
)
from ashtkd_ros.files.reading import is_file
from ashtkd_ros.geometry.trajectory import REASONS
from ashtkd_ros.mapping.build import LOST, MapOptions, build_map, cautions, rule_of
from ashtkd_ros.mapping.keyframes import RULES, KeyframeOptions, moved
from ashtkd_ros.maps.folder import ROUTE
from ashtkd_ros.maps.place_map import PlaceMap, place_spacing
from ashtkd_ros.traverses.bag_traverse import BagTraverse
from ashtkd_ros.traverses.traverse import Traverse


def add_keyframe_options(parser: argparse.ArgumentParser) -> None:
    """Which images become places."""
    default = KeyframeOptions()
    add = parser.add_argument_group('which images become places').add_argument
    help_rule = 'auto: all of a folder, of a bag by distance or, without poses, by visual change'
    add('--keyframes', choices=RULES, default=default.rule, help=help_rule)
    add(
        '--metres',
        type=not_negative,
        default=default.metres,
        help=f'a place every ({default.metres})',
    )
    add(
        '--degrees',
        type=not_negative,
        default=default.degrees,
        help=f'of turn ({default.degrees})',
    )
    text = f'without poses: a new place below ({default.similarity})'
    add('--similarity', type=share, default=default.similarity, help=text)
    text = f'blur from 0 to 1 above which an image is skipped ({default.max_blur})'
    add('--max-blur', type=share, default=default.max_blur, help=text)
    text = f'99 of 100 pixels darker: skipped ({default.min_light:.0f} of 255)'
    add('--min-light', type=not_negative, default=default.min_light, help=text)


def plan(traverse: Traverse, options: KeyframeOptions) -> list[str]:
    """What would be used of a source, a line each."""
    rule = rule_of(traverse, options)
    lines = [f'{traverse.path}: {traverse.count} images']
    if isinstance(traverse, BagTraverse):
        lines[0] += f' on {traverse.topic.name} ({traverse.topic.hz:.1f} Hz)'
        if traverse.track is not None:
            lines.append(
                f'  poses of {traverse.poses} in {traverse.frame_id}: {traverse.track.describe()}'
            )
            gaps = traverse.track.gaps(traverse.options.max_pose_gap_s)
            if gaps:
                seconds = sum(end - start for start, end in gaps)
                lines.append(f'  {len(gaps)} gaps without poses, {seconds:.1f} s together')
    if rule == 'distance':
        lines.append(f'  about {_estimate(traverse, options)} places by distance')
    else:
        lines.append('  every image becomes a place' if rule == 'all' else '  places by change')
    return lines + [f'  {note}' for note in traverse.notes]


def _estimate(traverse: Traverse, options: KeyframeOptions) -> int:
    """Places by distance, were every image sharp."""
    if not isinstance(traverse, BagTraverse):
        poses = [frame.pose for _, frame in traverse.frames()]
    else:
        start, end = traverse.span
        stamps = np.linspace(start, end, traverse.count)
        gap = traverse.options.max_pose_gap_s
        poses = [traverse.track.at(float(stamp), gap)[0] for stamp in stamps]
    count, last = 0, None
    for pose in poses:
        if pose is not None and moved(pose, last, options):
            count, last = count + 1, pose
    return count


def summary(place_map: PlaceMap, counts: Counter, out: Path) -> list[str]:
    """What a build has come to, a line each."""
    places = place_map.places
    spacing = place_spacing(places)
    with_poses = any(place.pose is not None for place in places)
    apart = '' if with_poses else ', without poses'
    apart = f', {spacing:.1f} m apart' if spacing else apart
    lines = [f'{out}: {len(places)} places{apart}, model {place_map.info.model["name"]}']
    rest = ', '.join(f'{n} {what}' for what, n in counts.items() if what != 'images' and n)
    lines.append(f'{counts["images"]} images{": " if rest else ""}{rest}')
    origin = place_map.info.built.get('origin')
    if origin:
        where = f'{origin["lat"]:.7f}, {origin["lon"]:.7f}, {origin["alt"]:.1f} m'
        lines.append(f'x east, y north, z up of {where}')
    return lines


def _say_route(path: Path) -> None:
    if is_file(path):
        say(f'route: {path}')
    else:
        note('the route could not be drawn; the map is complete without it')


def _say_found(traverses: Sequence[Traverse], said: Sequence[int]) -> None:
    """What was found of the sources while they were read, after so many notes of each."""
    for traverse, before in zip(traverses, said, strict=True):
        found = [*traverse.notes[before:], traverse.depth.text_of_brighter()]
        note(*(f'{traverse.path}: {text}' for text in found if text))


def main(argv: list[str] | None = None) -> None:
    """Command line."""
    parser = make_parser(__doc__)
    parser.add_argument('source', type=Path, nargs='+', help='bag, or folder with a CSV')
    parser.add_argument('-o', '--out', type=Path, required=True, help='folder of the new map')
    parser.add_argument('--dry-run', action='store_true', help='say what would be used, and end')
    parser.add_argument(
        '--thumbnails',
        action=argparse.BooleanOptionalAction,
        default=MapOptions().thumbnails,
        help='a small JPEG of each place, for the debug image and reports',
    )
    text = 'put the map in the place of one that was made of other sources'
    parser.add_argument('--replace', action='store_true', help=text)
    add_keyframe_options(parser)
    add_traverse_options(parser)
    add_model_options(parser)
    args = parser.parse_args(argv)

    def command() -> int:
        keyframes = KeyframeOptions(
            args.keyframes,
            args.metres,
            args.degrees,
            args.similarity,
            args.max_blur,
            args.min_light,
        )
        traverses = open_traverses(args.source, args)
        if args.dry_run:
            lines = [line for t in traverses for line in plan(t, keyframes)]
            say(*lines, *cautions(traverses))
            return 0
        note(*(f'{t.path}: {text}' for t in traverses for text in t.notes), *cautions(traverses))
        said = [len(t.notes) for t in traverses]
        options = MapOptions(keyframes, args.thumbnails, args.threads, args.replace)
        place_map, counts = build_map(traverses, load_embedder(args), args.out, options)
        say(*summary(place_map, counts, args.out))
        _say_found(traverses, said)
        unposed = sum(counts[why] for why in REASONS[1:])
        if 2 * unposed > counts['images']:
            note(
                f'{unposed} of {counts["images"]} images have no pose and are no places; see '
                'what the poses cover with --dry-run, or choose others (--pose-topic)'
            )
        lost = counts[LOST]
        if lost:
            note(f'{lost} images cannot be read: a bag is damaged within; the map lacks them')
        if any(place.pose is not None for place in place_map.places):
            _say_route(args.out / ROUTE)
        return 0

    run_command(command)


if __name__ == '__main__':
    main()

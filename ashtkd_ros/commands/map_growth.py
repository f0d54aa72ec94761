# SPDX-License-Identifier: Apache-2.0
"""Subcommands of map_tools that add to a map or make its descriptors anew."""

from __future__ import annotations

import argparse
import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ashtkd_ros.cli.terminal import print_lines, print_notes
from ashtkd_ros.commands.keyframe_options import add_keyframe_options, keyframes_of
from ashtkd_ros.commands.map_content import add_map, add_same_place, counted_places, same_place
from ashtkd_ros.commands.options import (
    add_model_options,
    add_traverse_options,
    load_embedder,
    traverse_options,
)
from ashtkd_ros.files.writing import check_output, write_bytes
from ashtkd_ros.images.bit_depth import map_bits
from ashtkd_ros.mapping.additions import check_additions, pose_notes, shared_names
from ashtkd_ros.mapping.append import AppendOptions, append
from ashtkd_ros.mapping.build_summary import notes_after_build
from ashtkd_ros.mapping.keyframes import options_of, unused_options
from ashtkd_ros.mapping.merging import Merged, merge
from ashtkd_ros.mapping.plan import plan
from ashtkd_ros.mapping.reembedding import originals_there, reembed
from ashtkd_ros.mapping.revision import ranges, target_of
from ashtkd_ros.maps.map_files import load_description
from ashtkd_ros.maps.place_map import PlaceMap
from ashtkd_ros.maps.places_rows import some_rows
from ashtkd_ros.text import counted
from ashtkd_ros.traverses.opening import open_traverses

_COLUMNS = ['map', 'old', 'new']


def add_parsers(commands: argparse._SubParsersAction) -> None:
    """Add the parsers to those of map_tools."""
    _add_append(commands)
    _add_merge(commands)
    _add_reembed(commands)


def _add_append(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        'append',
        help='add recordings to a map',
        description='Add recordings to a map. Its places keep their numbers, new ones get new '
        'numbers, and the confidence is fitted anew. If it was killed, the same command continues '
        'it.',
    )
    parser.set_defaults(run=_append)
    add_map(parser)
    text = 'bag, video, or folder with a poses.csv or index.csv'
    parser.add_argument('source', type=Path, nargs='+', help=text)
    text = 'a picture of a place that the map has becomes another look of that place, with its '
    text += 'number; without poses the label tells which place it is'
    parser.add_argument('--experiences', action='store_true', help=text)
    add_same_place(parser, 'with --experiences: a picture shows a place')
    text = 'print what would be used, and change nothing'
    parser.add_argument('--dry-run', action='store_true', help=text)
    add_keyframe_options(parser, of_map=True)
    add_traverse_options(parser)
    add_model_options(parser)


def _append(args: argparse.Namespace) -> int:
    target_of(args.map, args.out)  # before the work
    info = load_description(args.map).info
    keyframes = keyframes_of(args, options_of(info.built))
    bits = map_bits(info.traverses)
    wanted = traverse_options(args, origin=info.origin, bits=bits, purpose='map')
    traverses = open_traverses(args.source, wanted)
    if args.dry_run:
        notes = check_additions(PlaceMap.load(args.map), traverses)
        print_lines(*(line for t in traverses for line in plan(t, keyframes)), *notes)
        return 0
    embedder = load_embedder(args)
    print_notes(*(f'{t.path}: {text}' for t in traverses for text in t.notes))
    print_notes(*unused_options(traverses, keyframes))
    printed = [len(t.notes) for t in traverses]
    same = same_place(args, keyframes) if args.experiences else None
    options = AppendOptions(keyframes, same, args.threads)
    done = append(args.map, traverses, embedder, options, args.out, args.given, print_notes)
    places = done.map.places
    looks = f' and {counted(done.looks, "further look")} of places' if same else ''
    rest = ', '.join(f'{n} {what}' for what, n in done.counts.items() if what != 'images' and n)
    images = counted(done.counts['images'], 'image')
    print_lines(
        f'{done.map.folder}: {counted(done.places, "new place")}{looks} from {images}'
        f'{f" ({rest})" if rest else ""}; it has {counted_places(places)} now'
    )
    print_notes(*notes_after_build(traverses, printed, done.counts))
    if same and not done.looks:
        print_notes(
            f'no picture is another look of a place: none was taken within {same.metres:g} m and '
            f'{same.degrees:g} degrees of one, or has the name of one; see --same-metres, '
            '--same-degrees and --labels'
        )
    return 0


def _add_merge(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        'merge',
        help='join maps of one frame and one network',
        description='Join maps of one frame and one network. The places of the first map keep '
        'their numbers, those of the others where no map before has given the number. What '
        'several maps have, such as the map from which they grew, is taken once.',
    )
    parser.set_defaults(run=_merge)
    text = 'folders of the maps; the numbers of the first one stay'
    parser.add_argument('map', type=Path, nargs='+', help=text)
    text = 'folder of the new map'
    parser.add_argument('-o', '--out', type=Path, required=True, help=text)
    text = 'CSV file that gets the columns map,old,new: the numbers of places before and after'
    parser.add_argument('--numbers', type=Path, metavar='CSV', help=text)
    text = 'print the numbers, and make no map'
    parser.add_argument('--dry-run', action='store_true', help=text)
    add_model_options(parser)


def _merge(args: argparse.Namespace) -> int:
    target = target_of(None, args.out)
    if args.numbers is not None and not args.dry_run:
        check_output(args.numbers, lambda data: data.startswith(_header()), 'numbers')
    embedder = load_embedder(args)
    maps = [
        PlaceMap.load(folder, embedder, pictures=True, without_damaged=True) for folder in args.map
    ]
    for place_map in maps:
        print_notes(*place_map.warnings)
    posed = {str(m.folder): bool(m.places.posed.any()) for m in maps[1:]}
    print_notes(*pose_notes(maps[0], posed))
    merged = merge(maps)
    first, places = maps[0].places, merged.revision.places
    new = np.flatnonzero(~np.isin(places.ids, first.ids))
    print_notes(*shared_names(first, some_rows(places, new)), *merged.notes)
    if not args.dry_run:
        merged.revision.calibrate(embedder, args.threads)
        merged.revision.save(target, 'merge', args.given, maps[0].places)
        if args.numbers is not None:
            write_bytes(args.numbers, _table(args.map, merged))
    for folder, numbers, known in zip(args.map, merged.numbers, merged.known, strict=True):
        print_lines(f'{folder}: {_renumbered(numbers, known)}')
    would = 'would have' if args.dry_run else 'has'
    print_lines(f'{args.out}: {would} {counted_places(merged.revision.places)}')
    return 0


def _renumbered(numbers: dict[int, int], known: int) -> str:
    """Old → new numbers of a map in words."""
    shared = f', of which {counted(known, "picture")} were there already' if known else ''
    parts = [counted(len(numbers), 'place') + shared]
    old, new = (np.array(list(x), np.int64) for x in (numbers.keys(), numbers.values()))
    order = np.argsort(old)
    old, new = old[order], new[order]
    if (same := old[old == new]).size:
        parts.append(f'{ranges(same)} stay')
    old, new = old[old != new], new[old != new]
    breaks = np.flatnonzero((np.diff(old) != 1) | (np.diff(new) != 1)) + 1
    for a, b in zip(np.split(old, breaks), np.split(new, breaks), strict=True):
        parts += [f'{ranges(a)} become {ranges(b)}'] if len(a) else []
    return '; '.join(parts)


def _header() -> bytes:
    return (','.join(_COLUMNS) + '\n').encode()


def _table(folders: Sequence[Path], merged: Merged) -> bytes:
    text = io.StringIO()
    rows = csv.writer(text, lineterminator='\n')
    rows.writerow(_COLUMNS)
    for folder, numbers in zip(folders, merged.numbers, strict=True):
        rows.writerows([folder, old, new] for old, new in sorted(numbers.items()))
    return text.getvalue().encode('utf-8', 'surrogateescape')


def _add_reembed(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        'reembed',
        help='give a map another network',
        description='Make the descriptors and local features of a map anew, with another network, '
        'from the images that it was made of. Where those are gone, the small pictures of the map '
        'are taken, which are worse. Numbers, poses, labels and pictures stay, and the confidence '
        'is fitted anew. If it was killed, the same command continues it.',
    )
    parser.set_defaults(run=_reembed)
    add_map(parser)
    text = 'make local features, by which answers are verified, where the network has such '
    parser.add_argument(
        '--local',
        action=argparse.BooleanOptionalAction,
        default=True,
        help=text + '(default: %(default)s)',
    )
    text = 'print how many originals are still there, and change nothing'
    parser.add_argument('--dry-run', action='store_true', help=text)
    add_model_options(parser)


def _reembed(args: argparse.Namespace) -> int:
    target_of(args.map, args.out)  # before the work
    load_description(args.map)
    if args.dry_run:
        place_map = PlaceMap.load(args.map, pictures=True, without_damaged=True)
        count, there = len(place_map.places), originals_there(place_map)
        print_lines(f'{args.map}: of {counted(count, "picture")} {there} have their original')
        return 0
    done = reembed(args.map, load_embedder(args), args.out, args.local, args.threads, args.given)
    place_map, count = done.map, len(done.map.places)
    print_lines(
        f'{place_map.folder}: {counted(count, "picture")} embedded by '
        f'{place_map.info.model["name"]}, {count - done.small} from the originals'
    )
    print_notes(*place_map.warnings)
    if done.small:
        print_notes(
            f'{done.small} of {count} originals are gone or changed; the small pictures of the '
            'map were taken, which are worse: put the recordings back and do it again'
        )
    return 0

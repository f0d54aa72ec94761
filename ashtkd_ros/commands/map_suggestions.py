# SPDX-License-Identifier: Apache-2.0
"""Subcommand of map_tools that tells what of a traverse a map does not know yet."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path

from ashtkd_ros.cli.arguments import positive_count
from ashtkd_ros.cli.terminal import print_lines, print_notes
from ashtkd_ros.commands.options import (
    add_model_options,
    add_traverse_options,
    load_embedder,
    traverse_options,
)
from ashtkd_ros.errors import ArgumentError
from ashtkd_ros.images.bit_depth import map_bits
from ashtkd_ros.mapping.suggestions import (
    KNOWN,
    NEW_LOOK,
    OFF_THE_MAP,
    Stretch,
    Suggestions,
    SuggestOptions,
    places_of,
    suggest,
)
from ashtkd_ros.maps.place_map import PlaceMap
from ashtkd_ros.text import counted, one_line
from ashtkd_ros.traverses.opening import open_traverse

_NO_POSES = (
    'append --experiences tells by poses or by names which place an image shows; map or recording '
    'have no poses, so give --labels'
)
_MOST_NAMES = 3  # of places, that a line has


def add_parsers(commands: argparse._SubParsersAction) -> None:
    """Add the parser to those of map_tools."""
    default = SuggestOptions()
    parser = commands.add_parser(
        'suggest',
        help='tell which parts of recordings a map does not know yet',
        description='Tell which parts of recordings a map does not know yet. Where the place is '
        'certain, but looks as little like its pictures as other places do, it has a new look: '
        'another experience. Where no place is recognised for long, the map has none. Nothing is '
        'added.',
    )
    parser.set_defaults(run=_suggest)
    add = parser.add_argument
    add('map', type=Path, help='folder of the map, made by build_map')
    text = 'bag, video, or folder with a poses.csv or index.csv'
    add('source', type=Path, nargs='+', help=text)
    text = 'images that the sequence filter remembers (default: %(default)d)'
    add('--sequence-length', type=positive_count, default=default.sequence_length, help=text)
    text = 'shortest part that is told: places with a new look, or images off the map that differ '
    text += 'from each other as pictures of the map do (default: %(default)d)'
    add('--least', type=positive_count, default=default.least, metavar='N', help=text)
    add_traverse_options(parser)
    add_model_options(parser)


def _suggest(args: argparse.Namespace) -> int:
    if args.sequence_length < 2:
        raise ArgumentError('--sequence-length must be 2 or more: one image is no sequence')
    embedder = load_embedder(args)
    place_map = PlaceMap.load(args.map, embedder)
    print_notes(*place_map.warnings)
    bits = map_bits(place_map.traverses)
    # What append would take: of an index.csv with roles the rows of the database.
    wanted = traverse_options(args, origin=place_map.info.origin, bits=bits, purpose='map')
    options = SuggestOptions(
        sequence_length=args.sequence_length, least=args.least, workers=args.threads
    )
    traverses = [open_traverse(source, wanted) for source in args.source]
    for number, traverse in enumerate(traverses):
        found = suggest(place_map, embedder, traverse, options)
        print_notes(*(f'{traverse.path}: {note}' for note in traverse.notes))
        if not number:
            print_notes(measure_line(found))
        posed = traverse.has_poses and bool(place_map.places.posed.any())
        same = _same_options(args)
        print_lines(*suggestion_lines(place_map, found, args.map, traverse.path, same, posed))
        if found.looks_to_add and not posed:
            print_notes(_NO_POSES)
    return 0


def suggestion_lines(
    place_map: PlaceMap,
    found: Suggestions,
    folder: Path,
    source: Path,
    options: Sequence[str],
    posed: bool,
) -> list[str]:
    """What was found in a traverse, with the command that would add it to the map in a folder.

    `options`: those by which append takes the same images; `posed`: whether poses tell where the
    robot was.
    """
    counts = {KNOWN: 'known', NEW_LOOK: 'with a new look', OFF_THE_MAP: 'at no known place'}
    parts = [f'{found.counts[kind]} {text}' for kind, text in counts.items()]
    parts += [f'{n} not used: {why}' for why, n in found.passed.items()]
    images = found.counts.total() + sum(found.passed.values())
    lines = [f'{source}: {counted(images, "image")}, {", ".join(parts)}']
    lines += [_line(place_map, stretch, posed) for stretch in found.stretches]
    append = ['ros2', 'run', 'ashtkd_ros', 'map_tools', 'append', str(folder)]
    append += [str(source), *options]
    if found.looks_to_add:
        looks = [*append, '--experiences']
        if found.same_metres is not None:
            looks += ['--same-metres', f'{found.same_metres:g}']
        lines.append(f'  to add further looks of places: {shlex.join(looks)}')
    if found.looks_to_add < len(found.stretches):
        lines.append(f'  to add new places: {shlex.join(append)}')
    return lines if found.stretches else [*lines, '  nothing to add']


def _same_options(args: argparse.Namespace) -> list[str]:
    """The options by which append takes the same images of a source by the same network."""
    parser, options = argparse.ArgumentParser(), []
    add_traverse_options(parser)
    add_model_options(parser)
    for name, default in vars(parser.parse_args([])).items():
        value = getattr(args, name)
        if value != default:
            text = ','.join(value) if isinstance(value, tuple) else str(value)
            options += [f'--{name.replace("_", "-")}', text]
    return options


def measure_line(found: Suggestions) -> str:
    """How new looks are told, in words."""
    looks = found.looks
    return (
        f'a look is new below similarity {looks.limit:.2f}: halfway between that of a picture and '
        f'the next one ({looks.next:.2f}) and of a picture and the most similar one elsewhere '
        f'({looks.elsewhere:.2f}), medians of the map; a place is certain from confidence '
        f'{found.least_confidence:.3f} on'
    )


def _line(place_map: PlaceMap, stretch: Stretch, posed: bool) -> str:
    """A stretch in words; `posed`: whether poses tell where the robot was."""
    first, last = stretch.seen[0].frame, stretch.seen[-1].frame
    line = f'{first.name} to {last.name}, {counted(len(stretch.seen), "image")} in '
    line += f'{last.stamp - first.stamp:.1f} s'
    if stretch.kind == OFF_THE_MAP:
        if stretch.on_route:
            return f'  not recognised: {line}, where the map has places by the poses'
        return f'  {"off the map" if posed else "off the map, or not recognised"}: {line}'
    places = places_of(place_map, stretch)
    where = f'place {places[0].id}'
    where += f' to {places[-1].id}' if len(places) > 1 else ''
    names = list(dict.fromkeys(one_line(p.label) for p in places if p.label))
    if names:
        where += f' ({", ".join(names[:_MOST_NAMES])}{", ..." if names[_MOST_NAMES:] else ""})'
    light = f'light {stretch.light:.0f}'
    if stretch.light_of_map is not None:
        light += f' for {stretch.light_of_map:.0f} in the map'
    return f'  new look: {line}, {where}, similarity {stretch.similarity:.2f}, {light}'

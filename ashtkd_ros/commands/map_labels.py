# SPDX-License-Identifier: Apache-2.0
"""Subcommand of map_tools that gives places other names."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from ashtkd_ros.cli.terminal import print_lines, print_notes
from ashtkd_ros.commands.map_content import add_map
from ashtkd_ros.errors import ArgumentError
from ashtkd_ros.mapping.relabelling import (
    changes,
    notes_on,
    parse_names,
    read_names,
    relabelled,
)
from ashtkd_ros.mapping.revision import copy_map, place_count, put_rows, target_of
from ashtkd_ros.maps.history import noted
from ashtkd_ros.maps.place_map import PlaceMap
from ashtkd_ros.text import counted

_MOST_LINES = 50  # of changes that are printed


def add_parsers(commands: argparse._SubParsersAction) -> None:
    """Add the parser to those of map_tools."""
    parser = commands.add_parser(
        'relabel',
        help='give places other names',
        description='Give places other names. Places of one name count as neighbours: the '
        'confidence does not tell them apart, and where no poses tell what is right, each is '
        'right for all.',
    )
    parser.set_defaults(run=_relabel)
    add_map(parser)
    add = parser.add_argument
    text = 'number of a place and its new name, for all its pictures; an empty name clears it'
    add('names', nargs='*', metavar='ID=NAME', help=text)
    text = 'CSV file with the columns id,label, such as an edited map_tools export'
    add('--table', type=Path, metavar='FILE', help=text)
    add('--dry-run', action='store_true', help='print what would change, and change nothing')


def _relabel(args: argparse.Namespace) -> int:
    if bool(args.names) == bool(args.table):
        raise ArgumentError('give names as ID=NAME, or a --table of them')
    names = read_names(args.table) if args.table else parse_names(args.names)
    target = target_of(args.map, args.out)
    place_map = PlaceMap.load(args.map, pictures=True, without_damaged=True)
    print_notes(*place_map.warnings)
    before = place_map.places
    after = relabelled(before, names)
    changed = changes(before, after)
    lines = [f'place {n}: {_quoted(old)} → {_quoted(new)}' for n, (old, new) in changed.items()]
    print_lines(*lines[:_MOST_LINES])
    if lines[_MOST_LINES:]:
        print_lines(f'... and {len(lines) - _MOST_LINES} more')
    print_notes(*notes_on(before, after))
    if args.dry_run:
        print_lines(f'{args.map}: would rename {counted(len(changed), "place")}')
        return 0
    if not changed:
        copy_map(place_map, target)
        print_lines(f'{args.map}: no name changes')
        return 0
    counts = (place_count(before), place_count(before)), (len(before), len(before))
    result = f'{counted(len(changed), "place")} renamed'
    built = noted(place_map.info.built, 'relabel', args.given, *counts, result)
    place_map.places, place_map.info = after, replace(place_map.info, built=built)
    put_rows(place_map, target)
    print_lines(f'{target.folder}: renamed {counted(len(changed), "place")}')
    return 0


def _quoted(name: str) -> str:
    return f'"{name}"' if name else 'no name'

# SPDX-License-Identifier: Apache-2.0
"""Subcommand of map_tools that writes the places of a map for other programs."""

from __future__ import annotations

import argparse
from pathlib import Path

from ashtkd_ros.cli.arguments import count
from ashtkd_ros.cli.terminal import print_lines, print_notes
from ashtkd_ros.errors import VprError
from ashtkd_ros.files.writing import check_output, write_bytes, write_errors
from ashtkd_ros.maps.export import FORMATS, of_traverse
from ashtkd_ros.maps.place_map import PlaceMap


def add_parsers(commands: argparse._SubParsersAction) -> None:
    """Add the parser to those of map_tools."""
    parser = commands.add_parser(
        'export', help='write the places for other programs: GeoJSON, KML, CSV, TUM'
    )
    parser.set_defaults(run=export)
    parser.add_argument('map', type=Path, help='folder of the map, made by build_map')
    parser.add_argument(
        '-o',
        '--out',
        type=Path,
        required=True,
        help='the file; an earlier export is replaced, another file never',
    )
    parser.add_argument(
        '--format',
        choices=FORMATS,
        help='GeoJSON and KML: a point for each place, a line for each traverse; CSV and TUM '
        '(stamp x y z qx qy qz qw): a row for each picture (default: by the ending of the file)',
    )
    parser.add_argument(
        '--traverse',
        type=count,
        metavar='N',
        help='only the pictures of this traverse (default: of all)',
    )


def export(args: argparse.Namespace) -> int:
    """`map_tools export`: write the file."""
    name = args.format or args.out.suffix.lower().lstrip('.')
    if name not in FORMATS:
        endings = ', '.join(f'.{ending}' for ending in FORMATS)
        raise VprError(f'{args.out}: its ending is not one of {endings}; name a --format')
    kind = FORMATS[name]
    check_output(args.out, kind.is_ours)
    place_map = PlaceMap.load(args.map)
    print_notes(*place_map.warnings)
    if args.traverse is not None:
        place_map = of_traverse(place_map, args.traverse)
    made = kind.write(place_map)
    with write_errors(args.out):
        write_bytes(args.out, made.data)
    print_notes(*made.notes)
    print_lines(f'{args.out}: {made.about}')
    return 0

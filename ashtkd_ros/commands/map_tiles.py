# SPDX-License-Identifier: Apache-2.0
"""Subcommand of map_tools that cuts a map into tiles."""

from __future__ import annotations

import argparse
from pathlib import Path

from ashtkd_ros.cli.arguments import positive
from ashtkd_ros.cli.terminal import print_lines, print_notes
from ashtkd_ros.maps.place_map import PlaceMap
from ashtkd_ros.maps.tiling import cut_into_tiles
from ashtkd_ros.text import counted

_METRES = 200.0


def add_parsers(commands: argparse._SubParsersAction) -> None:
    """Add the parser to those of map_tools."""
    parser = commands.add_parser(
        'tile',
        help='cut a map into square tiles, of which a robot loads those around it',
        description='Cut a map with poses into square tiles, each a map of its own. map_path of '
        'the node may be the folder of the tiles. Places keep their numbers.',
    )
    parser.set_defaults(run=_tile)
    parser.add_argument('map', type=Path, help='folder of the map')
    text = 'folder of the tiles, which is empty or not there yet'
    parser.add_argument('-o', '--out', type=Path, required=True, help=text)
    text = 'width of a tile in metres (default: %(default)g)'
    parser.add_argument('--metres', type=positive, default=_METRES, help=text)


def _tile(args: argparse.Namespace) -> int:
    place_map = PlaceMap.load(args.map, pictures=True, without_damaged=True)
    city = cut_into_tiles(place_map, args.out, args.metres)
    left_out = len(place_map.places) - city.pictures
    notes = [f'{counted(left_out, "picture")} without a pose: in no tile'] if left_out else []
    most = max(tile.pictures for tile in city.tiles)
    print_lines(
        f'{args.out}: {counted(len(city.tiles), "tile")} of {city.metres:g} m, '
        f'{counted(city.pictures, "picture")}, {most} in the fullest'
    )
    print_notes(*place_map.warnings, *notes)
    return 0

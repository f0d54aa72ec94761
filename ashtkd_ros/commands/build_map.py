# SPDX-License-Identifier: Apache-2.0
"""Build a map of places from a folder of images.

example: ros2 run ashtkd_ros build_map ~/walks/monday -o ~/maps/campus
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ashtkd_ros.commands import add_model_options, load_embedder, make_parser, run_command
from ashtkd_ros.place_map import PlaceMap, place_spacing
from ashtkd_ros.recogniser import map_frames
from ashtkd_ros.sources import read_source


def build_map(source: Path, out: Path, args: argparse.Namespace) -> PlaceMap:
    """Embed every image of `source` and write the map to `out`."""
    embedder = load_embedder(args)
    place_map = map_frames(embedder, read_source(source, args.role), source)
    place_map.save(out)
    return place_map


def main(argv: list[str] | None = None) -> None:
    """Command line."""
    parser = make_parser(__doc__)
    parser.add_argument('source', type=Path, help='folder with poses.csv or index.csv')
    parser.add_argument('-o', '--out', type=Path, required=True, help='folder of the new map')
    parser.add_argument('--role', default='', help='rows of index.csv to take, e.g. database')
    add_model_options(parser)
    args = parser.parse_args(argv)

    def command() -> int:
        place_map = build_map(args.source, args.out, args)
        spacing = place_spacing(place_map.places)
        apart = f', {spacing:.1f} m apart' if spacing else ', without poses'
        model = place_map.info.model['name']
        print(f'{args.out}: {len(place_map.places)} places{apart}, model {model}')
        return 0

    run_command(command)


if __name__ == '__main__':
    main()

# SPDX-License-Identifier: Apache-2.0
"""Check a map, and print what is in it.

Every file of the map is checked, its pictures too. The exit status is 1 if the map is damaged.

example: ros2 run ashtkd_ros map_info ~/maps/campus
"""

from __future__ import annotations

from pathlib import Path

from ashtkd_ros.cli.command import make_parser, run_command
from ashtkd_ros.cli.terminal import print_lines, print_notes
from ashtkd_ros.maps.city import is_city
from ashtkd_ros.maps.map_summary import summarise
from ashtkd_ros.maps.place_map import PlaceMap
from ashtkd_ros.maps.tiled_map import TiledMap


def main(argv: list[str] | None = None) -> None:
    """Command line."""
    parser = make_parser(__doc__)
    parser.add_argument(
        'map', type=Path, help='folder of the map, made by build_map, or of its tiles'
    )
    args = parser.parse_args(argv)

    def command() -> int:
        if is_city(args.map):
            print_lines(*(f'{name:>11}: {value}' for name, value in _of_city(args.map).items()))
            return 0
        place_map = PlaceMap.load(args.map, pictures=True)
        print_lines(*(f'{name:>11}: {value}' for name, value in summarise(place_map).items()))
        print_notes(*place_map.warnings)
        return 0

    run_command(command)


def _of_city(folder: Path) -> dict[str, str]:
    """Facts of a city, of which every tile is checked, one after the other."""
    tiled = TiledMap(folder)
    city, fullest = tiled.city, max(tile.pictures for tile in tiled.city.tiles)
    for tile in city.tiles:
        tiled.check(tile)
    return {
        'tiles': f'{len(city.tiles)} of {city.metres:g} m',
        'pictures': f'{city.pictures} in frame "{city.frame}", {fullest} in the fullest tile',
        'model': f'{city.model["name"]} {city.model["sha256"][:16]}',
        'loaded': 'all at once' if tiled.is_small else 'around a prior, see prior_topic',
    }


if __name__ == '__main__':
    main()

# SPDX-License-Identifier: Apache-2.0
"""Check a map, and print what is in it.

Every file of the map is checked, its pictures too. The exit status is 1 if the map is damaged.

example: ros2 run ashtkd_ros map_info ~/maps/campus
"""

from __future__ import annotations

from pathlib import Path

from ashtkd_ros.cli.command import make_parser, run_command
from ashtkd_ros.cli.terminal import print_lines, print_notes
from ashtkd_ros.maps.map_summary import summarise
from ashtkd_ros.maps.place_map import PlaceMap


def main(argv: list[str] | None = None) -> None:
    """Command line."""
    parser = make_parser(__doc__)
    parser.add_argument('map', type=Path, help='folder of the map, made by build_map')
    args = parser.parse_args(argv)

    def command() -> int:
        place_map = PlaceMap.load(args.map, pictures=True)
        print_lines(*(f'{name:>11}: {value}' for name, value in summarise(place_map).items()))
        print_notes(*place_map.warnings)
        return 0

    run_command(command)


if __name__ == '__main__':
    main()

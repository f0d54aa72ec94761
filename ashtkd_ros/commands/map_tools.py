# SPDX-License-Identifier: Apache-2.0
"""Keep a map: add recordings, join maps, drop places, change the network, name places,
write them for other programs, tell what of a recording the map does not know.

A map is changed in one step: a killed command leaves the old map or the new one. Places keep their
numbers, and a number that was dropped is never given again.

example: ros2 run ashtkd_ros map_tools append ~/maps/campus ~/bags/night
example: ros2 run ashtkd_ros map_tools suggest ~/maps/campus ~/bags/night
example: ros2 run ashtkd_ros map_tools export ~/maps/campus -o campus.geojson
example: ros2 run ashtkd_ros map_tools drop ~/maps/campus --area 10 -5 30 5
"""

from __future__ import annotations

import shlex
import sys

from ashtkd_ros.cli.command import make_parser, run_command
from ashtkd_ros.commands import (
    map_content,
    map_export,
    map_fleet,
    map_growth,
    map_labels,
    map_suggestions,
    map_tiles,
)

# Modules of subcommands. Each has `add_parsers(commands)`, which adds parsers whose default `run`
# is a function of the parsed arguments that returns the exit status. `given` is among those: the
# arguments as text, for the history of the map.
_GROUPS = (map_growth, map_content, map_labels, map_export, map_suggestions, map_tiles, map_fleet)


def main(argv: list[str] | None = None) -> None:
    """Command line."""
    parser = make_parser(__doc__)
    commands = parser.add_subparsers(dest='command', required=True)
    for group in _GROUPS:
        group.add_parsers(commands)
    given = sys.argv[1:] if argv is None else argv
    args = parser.parse_args(given)
    args.given = shlex.join(given[1:])
    run_command(lambda: args.run(args))


if __name__ == '__main__':
    main()

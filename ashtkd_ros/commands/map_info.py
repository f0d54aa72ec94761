# SPDX-License-Identifier: Apache-2.0
"""Check a map and tell what is in it.

example: ros2 run ashtkd_ros map_info ~/maps/campus
"""

from __future__ import annotations

from pathlib import Path

from ashtkd_ros.cli.command import make_parser, run_command
from ashtkd_ros.cli.terminal import note, say
from ashtkd_ros.geometry.pose_checks import ODOMETRY_KEY, is_odometry
from ashtkd_ros.maps.place_map import PlaceMap, place_spacing


def map_info(folder: Path) -> tuple[dict[str, str], list[str]]:
    """Facts of a map by name, and warnings; VprError when it does not pass its checks."""
    place_map = PlaceMap.load(folder, pictures=True)
    info, places = place_map.info, place_map.places
    poses = [p.pose for p in places if p.pose is not None]
    facts = {
        'places': f'{len(places)}, {len(poses)} with a pose in frame "{info.frame}"',
        'model': f'{info.model["name"]} {info.model["sha256"][:16]}',
        'descriptor': f'{place_map.index.d} x float32, {type(place_map.index).__name__}',
        'source': ', '.join(t['source'] for t in place_map.traverses) or 'unknown',
    }
    if poses and (is_odometry(info.frame) or any(t.get(ODOMETRY_KEY) for t in info.traverses)):
        facts['poses'] = (
            f'of odometry: "{info.frame}" begins anew with each drive, and AMCL discards its poses'
        )
    if poses:
        xs, ys = [p.x for p in poses], [p.y for p in poses]
        facts['extent'] = f'{max(xs) - min(xs):.1f} x {max(ys) - min(ys):.1f} m'
        facts['spacing'] = f'{place_spacing(places):.2f} m'
    return facts, place_map.warnings


def main(argv: list[str] | None = None) -> None:
    """Command line."""
    parser = make_parser(__doc__)
    parser.add_argument('map', type=Path, help='folder made by build_map')
    args = parser.parse_args(argv)

    def command() -> int:
        facts, warnings = map_info(args.map)
        say(*(f'{name:>11}: {value}' for name, value in facts.items()))
        note(*warnings)
        return 0

    run_command(command)


if __name__ == '__main__':
    main()

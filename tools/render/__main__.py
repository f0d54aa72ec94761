# SPDX-License-Identifier: Apache-2.0
"""Command line: render one walk with its settings, the two that are shipped, or those to train."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from ashtkd_ros.errors import VprError
from tools.render.conditions import CONDITIONS
from tools.render.walk import Drive, render_walk
from tools.render.walks import (
    SHIPPED,
    SHIPPED_TOWN,
    TRAINING_TOWNS,
    render_towns,
    training_walks,
)

EXAMPLE = """examples:
  python -m tools.render -o /tmp/night --town 11 --condition night --seed 3 --lateral 3
  python -m tools.render --shipped        (both walks of test/data/town; remove them first)
  python -m tools.render --training       (walks with depth of five towns to runs/towns)
"""
SHIPPED_FOLDER = Path('test/data/town')
TRAINING_FOLDER = Path('runs/towns')
HELP = {
    'seed': 'seed of what differs from drive to drive: parked cars, lit windows, clouds, jitter',
    'condition': f'light and weather: {", ".join(CONDITIONS)}',
    'spacing': 'distance between pictures, in metres',
    'phase': 'distance of the first picture along the loop, in metres',
    'frames': 'number of pictures; 0: as many as one round has',
    'lateral': 'distance to the left of the right-hand lane, -0.5 to 5, in metres; 3: the other '
    'side of the road',
    'lateral_jitter': 'standard deviation of a random step sideways, 0 to 0.5, in metres',
    'yaw': 'angle by which the camera looks to the left of the road, in degrees',
    'yaw_jitter': 'standard deviation of a random turn of the camera, in degrees',
    'reverse': 'drive the loop the other way round, clockwise',
    'speed': 'driving speed, from which the stamps follow, in m/s',
    'start': 'stamp of the first picture, in seconds',
    'width': 'width of the pictures, 16 to 1920, in pixels',
    'height': 'height of the pictures, 16 to 1080, in pixels',
    'hfov': 'horizontal field of view of the camera, 20 to 140, in degrees',
    'quality': 'quality of the JPEG files, 1 to 100',
    'depth': 'write a depth image beside each picture: depth/NUMBER.png, 16 bits, millimetres '
    'along the optical axis, 0 for the sky and beyond 65.5 m; the focal length is in walk.yaml',
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='python -m tools.render',
        description='Render a walk through a small town: images, their exact poses, settings.',
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        '-o', '--out', type=Path, help='folder for the walk; it must be new or empty'
    )
    parser.add_argument(
        '--town',
        type=int,
        default=SHIPPED_TOWN,
        help='seed of the town: streets, houses, trees (default: %(default)s)',
    )
    for setting in fields(Drive):
        flag = '--' + setting.name.replace('_', '-')
        if isinstance(setting.default, bool):
            parser.add_argument(flag, action='store_true', help=HELP[setting.name])
            continue
        text = f'{HELP[setting.name]} (default: {setting.default})'
        parser.add_argument(flag, type=type(setting.default), default=setting.default, help=text)
    parser.add_argument(
        '--shipped', action='store_true',
        help=f'render both walks that are shipped, to OUT (default: {SHIPPED_FOLDER}); all other '
        'settings are ignored',
    )  # fmt: skip
    parser.add_argument(
        '--training', action='store_true',
        help='render the walks to train with: towns '
        f'{", ".join(map(str, TRAINING_TOWNS))}, each in {len(training_walks())} walks with depth,'
        f' to OUT/townT/NAME (default: {TRAINING_FOLDER}); what is there stays; all other '
        'settings are ignored',
    )  # fmt: skip
    return parser


def render_shipped(folder: Path, progress: bool = False) -> dict[str, int]:
    """Render the shipped walks to `folder`/day and `folder`/dusk; returns the pictures of each."""
    return {
        name: render_walk(SHIPPED_TOWN, drive, folder / name, progress)
        for name, drive in SHIPPED.items()
    }


def _render(args: argparse.Namespace) -> str:
    """What the arguments ask for; says what was written."""
    if args.training:
        folder = args.out or TRAINING_FOLDER
        render_towns(TRAINING_TOWNS, folder, walks=training_walks())
        return f'{len(TRAINING_TOWNS)} towns in {folder}'
    if args.shipped:
        folder = args.out or SHIPPED_FOLDER
        counts = render_shipped(folder, progress=True)
    else:
        settings = {setting.name: getattr(args, setting.name) for setting in fields(Drive)}
        folder, drive = args.out, Drive(**settings)
        counts = {'': render_walk(args.town, drive, args.out, progress=True)}
    lines = [f'{count} pictures with poses in {folder / name}' for name, count in counts.items()]
    return '\n'.join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: 0 done, 1 failed with a line that says why, 2 bad arguments."""
    parser = _parser()
    args = parser.parse_args(argv)
    if args.out is None and not (args.shipped or args.training):
        parser.error('give a folder to write to with -o FOLDER, or use --shipped or --training')
    try:
        print(_render(args))
    except VprError as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())

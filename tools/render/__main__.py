# SPDX-License-Identifier: Apache-2.0
"""Command line: one rendered walk by its settings, or the two that the package ships."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from ashtkd_ros.errors import VprError
from tools.render.conditions import CONDITIONS
from tools.render.walk import Traverse, render_walk

EXAMPLE = """examples:
  python -m tools.render -o /tmp/night --town 11 --condition night --seed 3 --lateral 3
  python -m tools.render --shipped        (both walks of test/data/town; remove them first)
"""
SHIPPED_TOWN = 11
SHIPPED_FOLDER = Path('test/data/town')
SHIPPED = {
    'day': Traverse(seed=1, spacing=1.75, quality=72),
    'dusk': Traverse(
        seed=5, condition='dusk', spacing=1.75, phase=0.875, lateral=1.0, lateral_jitter=0.1,
        yaw_jitter=2.0, start=30000.0, quality=72,
    ),
}  # fmt: skip
HELP = {
    'seed': 'moves parked cars, lit windows, clouds and jitter',
    'condition': ', '.join(CONDITIONS),
    'spacing': 'metres between pictures',
    'phase': 'metres along the loop to the first picture',
    'frames': 'number of pictures; 0 drives once round',
    'lateral': 'metres to the left of the right-hand lane; 3 is the other side of the road',
    'lateral_jitter': 'standard deviation of a random side step, metres',
    'yaw': 'degrees by which the camera looks to the left of the road',
    'yaw_jitter': 'standard deviation of a random turn, degrees',
    'reverse': 'drive the loop clockwise',
    'speed': 'metres a second, for the stamps',
    'start': 'stamp of the first picture, seconds',
    'width': 'pixels',
    'height': 'pixels',
    'hfov': 'horizontal field of view, degrees',
    'quality': 'of the JPEG files, 1 to 100',
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='python -m tools.render',
        description='Render a walk through a small town: images, exact poses, settings.',
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('-o', '--out', type=Path, help='new or empty folder for the walk')
    parser.add_argument(
        '--town', type=int, default=SHIPPED_TOWN, help='seed of the town (%(default)s)'
    )
    for setting in fields(Traverse):
        flag = '--' + setting.name.replace('_', '-')
        if isinstance(setting.default, bool):
            parser.add_argument(flag, action='store_true', help=HELP[setting.name])
            continue
        text = f'{HELP[setting.name]} ({setting.default})'
        parser.add_argument(flag, type=type(setting.default), default=setting.default, help=text)
    parser.add_argument(
        '--shipped', action='store_true',
        help=f'render both shipped walks to OUT ({SHIPPED_FOLDER}); ignores other settings',
    )  # fmt: skip
    return parser


def render_shipped(folder: Path, progress: bool = False) -> dict[str, int]:
    """Render the shipped walks to `folder`/day and `folder`/dusk; returns the pictures of each."""
    return {
        name: render_walk(SHIPPED_TOWN, traverse, folder / name, progress)
        for name, traverse in SHIPPED.items()
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: 0 done, 1 failed with a line that says why, 2 bad arguments."""
    parser = _parser()
    args = parser.parse_args(argv)
    if not args.shipped and args.out is None:
        parser.error('say where to write with -o FOLDER, or use --shipped')
    try:
        if args.shipped:
            folder = args.out or SHIPPED_FOLDER
            counts = render_shipped(folder, progress=True)
        else:
            settings = {setting.name: getattr(args, setting.name) for setting in fields(Traverse)}
            folder, traverse = args.out, Traverse(**settings)
            counts = {'': render_walk(args.town, traverse, args.out, progress=True)}
    except VprError as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    for name, count in counts.items():
        print(f'{count} pictures with poses in {folder / name}')
    return 0


if __name__ == '__main__':
    sys.exit(main())

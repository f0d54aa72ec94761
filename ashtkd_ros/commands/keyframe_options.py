# SPDX-License-Identifier: Apache-2.0
"""The options for the choice of the images that become places, which several commands share."""

from __future__ import annotations

import argparse
from dataclasses import replace

from ashtkd_ros.cli.arguments import not_negative, share
from ashtkd_ros.mapping.keyframes import RULES, KeyframeOptions


def add_keyframe_options(parser: argparse.ArgumentParser, of_map: bool = False) -> None:
    """The options for the choice of the images that become places.

    `of_map`: what is not given is that of the map, see `keyframes_of`.
    """
    group = parser.add_argument_group('which images become places')

    def add(option: str, text: str, field: str = '', **how: object) -> None:
        default = getattr(KeyframeOptions(), field or option[2:].replace('-', '_'))
        shown = f'{default:g}' if isinstance(default, float) else default
        shown = 'as the map was built' if of_map else shown
        default = None if of_map else default
        group.add_argument(option, default=default, help=f'{text} (default: {shown})', **how)

    text = 'how images are chosen: by distance (needs poses), by visual change, or all; auto: '
    text += 'all images of a folder, those of bags and videos by distance, or by change if there '
    add('--keyframes', text + 'are no poses', 'rule', choices=RULES)
    text = 'with --keyframes distance: distance to the last place after which a new one begins, '
    add('--metres', text + 'in metres', type=not_negative)
    text = 'with --keyframes distance: turn after which a new place begins, in degrees'
    add('--degrees', text, type=not_negative)
    text = 'with --keyframes change: an image becomes a place if its similarity with the last '
    add('--similarity', text + 'place is below this, 0 to 1', type=share)
    add('--max-blur', 'skip images with more blur than this, 0 to 1', type=share)
    text = 'skip an image if 99 %% of its pixels are darker than this, 0 to 255'
    add('--min-light', text, type=not_negative)


def keyframes_of(
    args: argparse.Namespace, default: KeyframeOptions | None = None
) -> KeyframeOptions:
    """The command line's options, and `default` for those that it does not give."""
    given = {
        'rule': args.keyframes,
        'metres': args.metres,
        'degrees': args.degrees,
        'similarity': args.similarity,
        'max_blur': args.max_blur,
        'min_light': args.min_light,
    }
    given = {name: value for name, value in given.items() if value is not None}
    return replace(default or KeyframeOptions(), **given)

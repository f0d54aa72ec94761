# SPDX-License-Identifier: Apache-2.0
"""Options for playing a recording, which replay, live and evaluate --live share."""

from __future__ import annotations

import argparse

from ashtkd_ros.cli.arguments import rate

PLAYERS = ('auto', 'own', 'ros2')  # who plays: live itself, "ros2 bag play", or one of them


def add_speed_options(parser: argparse._ActionsContainer) -> None:
    """Add --rate and --hz to a parser or a group of one."""
    parser.add_argument(
        '--rate',
        type=rate,
        default=1.0,
        help='play so many times faster than recorded (default: %(default)g)',
    )
    parser.add_argument(
        '--hz',
        type=rate,
        help='images per second, before --rate (default: 10 for a folder, else as recorded)',
    )


def add_player_option(parser: argparse._ActionsContainer) -> None:
    """Add --player to a parser or a group of one."""
    parser.add_argument(
        '--player',
        choices=PLAYERS,
        default=PLAYERS[0],
        help='program that plays the source: own (this one) or ros2 (ros2 bag play); auto: ros2 '
        'where it can play the source (default: %(default)s)',
    )

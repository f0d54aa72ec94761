# SPDX-License-Identifier: Apache-2.0
"""Options of commands that choose the index of a map anew."""

from __future__ import annotations

import argparse

from ashtkd_ros.cli.arguments import positive
from ashtkd_ros.maps.index_choice import CHOICES, DEFAULT_MB, LARGE, MOST_EXACT, IndexOptions


def add_index_options(parser: argparse.ArgumentParser) -> None:
    """The options for the index of the descriptors."""
    default = IndexOptions()
    text = 'how descriptors are kept in memory and searched: flat (all, exact), fp16 (candidates '
    text += 'are compared exactly), sq8, pq, hnsw or binary (the same, from the disk); auto: flat '
    text += (
        f'up to {MOST_EXACT} places, then the first of {", ".join(LARGE)} that fits the memory '
    )
    text += f'(default: {default.kind})'
    parser.add_argument('--index', choices=CHOICES, default=default.kind, help=text)
    text = 'the most memory that the index may take on the robot, in MB of 10^6 bytes (default: '
    text += f'{DEFAULT_MB:g} with --index auto, else no limit)'
    parser.add_argument('--memory', type=positive, default=default.memory_mb, help=text)


def index_of(args: argparse.Namespace) -> IndexOptions:
    """What the options of `add_index_options` say."""
    return IndexOptions(args.index, args.memory)

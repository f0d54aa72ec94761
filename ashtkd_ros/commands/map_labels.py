# SPDX-License-Identifier: Apache-2.0
"""Subcommand of map_tools that gives places other names."""

from __future__ import annotations

import argparse
from pathlib import Path

from ashtkd_ros.cli.terminal import print_lines, print_notes
from ashtkd_ros.errors import VprError
from ashtkd_ros.maps.relabelling import (
    changes,
    notes_on,
    parse_names,
    read_names,
    relabelled,
)


def add_parsers(commands: argparse._SubParsersAction) -> None:
    """Add the parser to those of map_tools."""
    parser = commands.add_parser('relabel', help='give places other names')
    parser.set_defaults(run=relabel)
    add = parser.add_argument
    add('map', type=Path, help='folder of the map, made by build_map')
    text = 'number of a place and its new name; all its pictures get it; an empty name clears it'
    add('names', nargs='*', metavar='ID=NAME', help=text)
    text = 'CSV file with the columns id,label, such as an edited map_tools export'
    add('--table', type=Path, metavar='FILE', help=text)
    add('--dry-run', action='store_true', help='print what would change, and change nothing')

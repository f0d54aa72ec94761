# SPDX-License-Identifier: Apache-2.0
"""Subcommands of map_tools that take places from a map or join maps."""

from __future__ import annotations

import argparse


def add_parsers(commands: argparse._SubParsersAction) -> None:
    """Add the parsers to those of map_tools."""

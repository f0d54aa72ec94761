# SPDX-License-Identifier: Apache-2.0
"""What a user calls between and after trials: the map of a bag, and the reports."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from ashtkd_ros.cli.child_process import child_process

_LONGEST_S = 600.0


def _called(name: str, module: str, *arguments: object) -> list[str]:
    """Run a command to its end; what it printed. VprError where it fails."""
    command = [sys.executable, '-m', module, *map(str, arguments)]
    with child_process(name, command) as child:
        if child.process.wait(_LONGEST_S):
            raise child.failure()
        return child.lines()


def build_map(bags: Sequence[Path], folder: Path, metres: float = 1.0) -> None:
    """The map of recordings, its places so many metres apart, by satellite fixes."""
    options = ['-o', folder, '--pose-topic', '/fix', '--metres', metres, '--replace']
    _called('build_map', 'ashtkd_ros.commands.build_map', *bags, *options)


def write_reports(trials: Sequence[Path], overview: Path) -> list[str]:
    """A report of each trial in its folder, and one over all; the lines that were printed."""
    options = ['report', *trials, '-o', overview]
    return _called('trials', 'ashtkd_ros.commands.trials', *options)

# SPDX-License-Identifier: Apache-2.0
"""Commands as tests call them, and the figures that an evaluation writes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ashtkd_ros.commands.evaluate import main as evaluate
from ashtkd_ros.geometry.geodesy import GeoOrigin

ORIGIN = GeoOrigin(48.2, 16.37, 180.0)
FEW = 24


def run(command, *arguments: object) -> int:
    """Exit status of a command."""
    with pytest.raises(SystemExit) as end:
        command([str(argument) for argument in arguments])
    return end.value.code or 0


def figures(report: Path) -> dict[str, dict]:
    """Method → recalls and average precision in a report's JSON."""
    methods = json.loads(report.with_suffix('.json').read_text())['methods']
    return {m['name']: {**m['recall'], 'AP': m['average_precision']} for m in methods}


def judged(map_folder: Path, source: Path, *options: object) -> dict[str, dict]:
    """The figures of an evaluation."""
    report = map_folder.parent / f'{map_folder.name}_{source.name}.html'
    assert run(evaluate, map_folder, source, '-o', report, '--no-timing', *options) == 0
    return figures(report)

# SPDX-License-Identifier: Apache-2.0
"""What a run leaves beside its network: the curve of its losses, and its results."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

from ashtkd_ros.errors import VprError
from ashtkd_ros.files.reading import read_text
from ashtkd_ros.files.writing import whole_file, write_text
from ashtkd_ros.text import reason_of
from tools.training.config import Schedule
from tools.training.processes import is_first

_FIRST = ['step', 'seconds']  # columns
GRADIENT = 'gradient '  # columns of these are filled in some rows only


class Curve:
    """curve.csv: step, seconds, losses and, in some rows, the norms of their gradients.

    Rows that a killed run wrote after its checkpoint go.

    VprError where the file at `path` is not such a curve.
    """

    def __init__(self, path: Path, step: int):
        self.path, self.rows = path, []
        if path.exists():
            self.rows = [row for row in _rows(path) if int(row['step']) <= step]

    @property
    def seconds(self) -> float:
        """How long the run has taken so far."""
        return float(self.rows[-1]['seconds']) if self.rows else 0.0

    def __enter__(self) -> Curve:
        return self

    def __exit__(self, *_) -> None:
        self.flush()

    def add(self, step: int, losses: dict[str, float], seconds: float) -> None:
        """Add one step: its losses, and the seconds since the run began."""
        values = {name: f'{value:.6g}' for name, value in losses.items()}
        self.rows.append({'step': step, 'seconds': f'{seconds:.1f}', **values})

    def flush(self) -> None:
        """Write the whole curve."""
        if not self.rows or not is_first():
            return
        with (
            whole_file(self.path, follow_links=False) as draft,
            draft.open('w', newline='') as file,
        ):
            told = {n for row in self.rows for n in row if n.startswith(GRADIENT)}
            columns = [n for n in self.rows[-1] if n not in told] + sorted(told)
            writer = csv.DictWriter(file, columns, restval='', extrasaction='ignore')
            writer.writeheader()
            writer.writerows(self.rows)


def _rows(path: Path) -> list[dict[str, str]]:
    """The rows of a curve.csv; VprError where it is not the curve of a run."""
    try:
        table = csv.DictReader(io.StringIO(read_text(path), newline=''))
        rows, columns = list(table), table.fieldnames or _FIRST
        if list(columns[:2]) != _FIRST:
            raise ValueError('it has other columns')
        for row in rows:
            _ = int(row['step']), [float(value) for value in row.values() if value != '']
    except (OSError, ValueError, TypeError, csv.Error) as error:
        raise VprError(
            f'{path}: is not the curve of a run ({reason_of(error)}); move it elsewhere'
        ) from error
    return rows


def write_results(folder: Path, schedule: Schedule, parameters: float, macs: float) -> None:
    """Write results.json of a run: parameters (millions), multiply-adds (billions), time, losses.

    Losses are means over the last 50 steps.
    """
    if not is_first():
        return
    curve = Curve(folder / 'curve.csv', schedule.steps)
    results = {'parameters_m': parameters, 'gmac': macs, 'seconds': curve.seconds}
    if curve.seconds:
        images = schedule.steps * schedule.places * schedule.views
        results['images_per_s'] = round(images / curve.seconds, 1)
        last = curve.rows[-50:]
        names = [n for n in last[-1] if n not in _FIRST and not n.startswith(GRADIENT)]
        mean = {n: sum(float(row[n]) for row in last) / len(last) for n in names}
        results['losses'] = {n: float(f'{value:.4g}') for n, value in mean.items()}
    write_text(folder / 'results.json', json.dumps(results, indent=2) + '\n')

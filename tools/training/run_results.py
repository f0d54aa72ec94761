# SPDX-License-Identifier: Apache-2.0
"""What a run leaves beside its network: the curve of its losses, and its results."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from ashtkd_ros.files.writing import whole_file, write_text
from tools.training.config import Schedule
from tools.training.processes import is_first


class Curve:
    """curve.csv: step, seconds, losses; rows that a killed run wrote after its checkpoint go."""

    def __init__(self, path: Path, step: int):
        self.path, self.rows = path, []
        if path.exists() and step:
            with path.open(newline='') as file:
                self.rows = [r for r in csv.DictReader(file) if int(r['step']) <= step]

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
            writer = csv.DictWriter(file, list(self.rows[-1]), restval='')
            writer.writeheader()
            writer.writerows(self.rows)


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
        names = [name for name in last[-1] if name not in ('step', 'seconds')]
        mean = {n: sum(float(row[n]) for row in last) / len(last) for n in names}
        results['losses'] = {n: float(f'{value:.4g}') for n, value in mean.items()}
    write_text(folder / 'results.json', json.dumps(results, indent=2) + '\n')

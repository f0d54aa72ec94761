# SPDX-License-Identifier: Apache-2.0
"""The overview of many trials: one HTML page, and the same as CSV and JSON beside it."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ashtkd_ros.errors import VprError
from ashtkd_ros.evaluation.figures import STATES
from ashtkd_ros.evaluation.illustrations import illustration
from ashtkd_ros.evaluation.page import generator_of, render
from ashtkd_ros.files.marks import json_keys
from ashtkd_ros.files.writing import check_output, resolved, write_errors, write_together
from ashtkd_ros.trials.overview import FIGURES, ConditionRow, Overview, TrialRow
from ashtkd_ros.trials.trial_page import PACKAGE, clock

SCHEMA_VERSION = 1
GENERATOR = 'ashtkd_ros trials'
_COLUMNS = ('trial', 'condition', 'minutes', 'judged', *FIGURES, 'faults')
_HEADER = ','.join(_COLUMNS).encode()
_KEYS = {'schema_version', 'trials', 'conditions', 'spots'}
_WHAT = 'the overview'
_MOST_SPOTS, _MOST_FAULTS, _MOST_BARS, _MOST_REASONS = 100, 1000, 40, 20
_SHARES = (('right_share', 'right'), ('wrong_share', 'wrong'), ('unknown_share', 'unknown'))
_BARS = (
    'Of the answers on the map, which share was right, wrong and unknown. A trial without any '
    'truth has no bar.'
)
_SPOTS = (
    'The spots of 10 m that were passed; no trial failed at the grey ones. The larger and redder, '
    'the more trials failed there: a place that fails in several has changed, or is too dark, or '
    'looks like another one.'
)


def check_overview(path: Path, reports: Sequence[Path] = ()) -> None:
    """VprError where the files of an overview cannot be written: earlier ones alone are replaced.

    `reports`: pages of trials, which it must not replace.
    """
    if path.suffix != '.html':
        raise VprError(f'{path}: {_WHAT} is an HTML file; give it a name that ends in .html')
    if resolved(path) in {resolved(report) for report in reports}:
        raise VprError(f'{path}: is the report of a trial; give another name')
    check_output(path, lambda data: generator_of(data) == GENERATOR, _WHAT)
    check_output(path.with_suffix('.json'), lambda data: json_keys(data) >= _KEYS, _WHAT)
    check_output(path.with_suffix('.csv'), lambda data: data.startswith(_HEADER), _WHAT)


def write_overview(path: Path, overview: Overview) -> None:
    """Write `path` (.html), and .csv and .json beside it, all or none; see `check_overview`."""
    check_overview(path)
    values = json.dumps(overview_values(overview), allow_nan=False, ensure_ascii=False, indent=1)
    files = {
        path.with_suffix('.json'): f'{values}\n'.encode('utf-8', 'replace'),
        path.with_suffix('.csv'): overview_csv(overview).encode('utf-8', 'replace'),
        path: overview_page(overview).encode('utf-8', 'replace'),
    }
    with write_errors(path, _WHAT):
        write_together(files)


def overview_csv(overview: Overview) -> str:
    """A row a trial; empty: not known. `faults`: how many."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator='\n')
    rows.writerow(_COLUMNS)
    for row in overview.trials:
        values = (row.figures.get(key) for key in FIGURES)
        told = ('' if value is None else value for value in values)
        judged = 'yes' if row.judged else 'no'
        rows.writerow((row.name, row.condition, row.minutes, judged, *told, len(row.faults)))
    return text.getvalue()


def overview_values(overview: Overview) -> dict:
    """What the JSON holds."""
    spots = [
        {**asdict(spot), 'places': sorted(spot.places), 'x': spot.x, 'y': spot.y}
        for spot in overview.spots
    ]
    return {
        'schema_version': SCHEMA_VERSION,
        'trials': [asdict(row) for row in overview.trials],
        'conditions': [asdict(row) for row in overview.conditions],
        'spots': spots,
    }


def overview_page(overview: Overview) -> str:
    """HTML of the overview."""
    faults = [(row, *fault) for row in overview.trials for fault in row.faults]
    trials = [row for row in overview.trials if row.figures.get('on_map')]
    pictures = []
    if trials:
        pictures.append(illustration(lambda: _bars(trials[:_MOST_BARS]), 'Trials', _BARS))
    conditions = [row for row in overview.conditions if row.figures['on_map']]
    if len(conditions) > 1:
        pictures.append(illustration(lambda: _bars(conditions), 'Conditions', _BARS))
    maps = dict.fromkeys(spot.map for spot in (*overview.spots, *overview.route))
    for name in maps:
        title = f'Where it fails in the map "{Path(name).name}"'
        pictures.append(
            illustration(lambda name=name: _spot_figure(overview, name), title, _SPOTS)
        )
    return render(
        'trials_overview.html',
        PACKAGE,
        generator=GENERATOR,
        overview=overview,
        faults=faults[:_MOST_FAULTS],
        more_faults=max(len(faults) - _MOST_FAULTS, 0),
        spots=overview.spots[:_MOST_SPOTS],
        most_spots=_MOST_SPOTS,
        pictures=pictures,
        reasons=_reasons(overview.conditions),
        clock=lambda minute: clock(60 * minute),
    )


def _reasons(conditions: Sequence[ConditionRow]) -> list[str]:
    """Why trials failed, that which took longest first."""
    seconds: Counter[str] = Counter()
    for row in conditions:
        seconds.update(row.reasons)
    return [why for why, _ in seconds.most_common(_MOST_REASONS)]


def _bars(rows: Sequence[TrialRow | ConditionRow]) -> Figure:
    """A bar a row: right, wrong, unknown."""
    figure = Figure(figsize=(5.4, 1.2 + 0.34 * len(rows)), layout='constrained')
    axes = figure.subplots()
    names = [getattr(row, 'name', row.condition) for row in rows]
    start = np.zeros(len(rows))
    for key, state in _SHARES:
        shares = np.array([100 * (row.figures.get(key) or 0.0) for row in rows])
        colour, _, text = STATES[state]
        axes.barh(range(len(rows)), shares, left=start, color=colour, label=text, height=0.7)
        start += shares
    labels = [name if len(name) <= 32 else f'…{name[-31:]}' for name in names]
    axes.set_yticks(range(len(rows)), labels, fontsize=8, parse_math=False)
    axes.invert_yaxis()
    axes.set(xlim=(0, 100), xlabel='% of the answers on the map')
    axes.legend(loc='lower left', bbox_to_anchor=(0, 1.01), ncols=3, frameon=False, fontsize=9)
    axes.spines[['top', 'right']].set_visible(False)
    return figure


def _spot_figure(overview: Overview, name: str) -> Figure:
    figure = Figure(figsize=(5.4, 4.6), layout='constrained')
    axes = figure.subplots()
    spots = [spot for spot in (*overview.spots, *overview.route) if spot.map == name]
    good = [spot for spot in spots if not spot.failed]
    spots = [spot for spot in spots if spot.failed]
    if good:
        at = np.array([(spot.x, spot.y) for spot in good])
        axes.scatter(*at.T, s=16, color='#C9CED2')
    if spots:
        at = np.array([(spot.x, spot.y) for spot in spots])
        count = np.array([len(spot.failed) for spot in spots])
        looks = {'c': count, 'cmap': 'OrRd', 'vmin': 0, 'vmax': len(overview.trials)}
        drawn = axes.scatter(*at.T, s=20 + 30 * count, ec='#8A1C00', **looks)
        bar = figure.colorbar(drawn, ax=axes, label='trials that failed')
        bar.locator = MaxNLocator(integer=True)
    axes.set(xlabel='x [m]', ylabel='y [m]')
    axes.set_aspect('equal', adjustable='datalim')
    axes.grid(alpha=0.25)
    return figure

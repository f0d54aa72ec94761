# SPDX-License-Identifier: Apache-2.0
"""Reports of evaluations side by side: what changed, and for which queries."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from ashtkd_ros.errors import VprError
from ashtkd_ros.evaluation.figures import precision_recall_figure, reliability_figure
from ashtkd_ros.evaluation.illustrations import PRECISION_RECALL, RELIABILITY, illustration
from ashtkd_ros.evaluation.metrics import RECALL_AT, Calibration
from ashtkd_ros.evaluation.page import decimal, is_comparison_page, render
from ashtkd_ros.evaluation.report import ANSWER_COLUMNS
from ashtkd_ros.evaluation.report_file import Report
from ashtkd_ros.files.writing import check_output, resolved, write_errors, write_text
from ashtkd_ros.text import one_line

# Key of a figure → heading, factor to show it by, decimals.
FIGURES = {
    'R@1': ('R@1 %', 100.0, 1),
    'within_twice': ('2x %', 100.0, 1),
    **{f'R@{n}': (f'R@{n} %', 100.0, 1) for n in RECALL_AT[1:]},
    'average_precision': ('AP', 1.0, 3),
    'recall_at_full_precision': ('R at 100 % P', 100.0, 1),
    'f1_max': ('F1 max', 1.0, 3),
}
# How an answer may differ between two reports → heading.
CHANGES = {
    'right_to_wrong': 'Right, then wrong',
    'right_to_unnamed': 'Right, then no place named',
    'wrong_to_right': 'Wrong, then right',
    'unnamed_to_right': 'No place named, then right',
}
_MOST_CHANGES = 200
_WHAT = 'the comparison'


@dataclass(frozen=True)
class Row:
    """A method of a report: its figures by the keys of `FIGURES`, None where it has not that one.

    `change`: figure minus the first report's of the same method, empty for the first report and
    where there is none such; `comparable`: False where the queries are not the first report's.
    """

    report: str
    method: str
    figures: Mapping[str, float | None]
    change: Mapping[str, float]
    comparable: bool


def compare(reports: Sequence[Report]) -> list[Row]:
    """A row for each method of at least one report, in their order."""
    first, rows = reports[0], []
    for i, (name, report) in enumerate(zip(names_of(reports), reports, strict=True)):
        for method, values in report.methods.items():
            figures = _figures(values)
            before = _figures(first.methods[method]) if i and method in first.methods else {}
            change = {
                key: value - before[key]
                for key, value in figures.items()
                if value is not None and before.get(key) is not None
            }
            rows.append(Row(name, method, figures, change, report.queries == first.queries))
    return rows


def _figures(method: Mapping) -> dict[str, float | None]:
    recall = {f'R@{n}': method['recall'].get(str(n)) for n in RECALL_AT}
    return {key: recall[key] if key in recall else method.get(key) for key in FIGURES}


def names_of(reports: Sequence[Report]) -> list[str]:
    """A short name for each report, all different: its file, its folder or its whole path."""
    short = [r.path.parent.name if r.path.stem == 'report' else r.path.stem for r in reports]
    if '' in short or len(set(short)) < len(short):
        short = [os.fspath(r.path) for r in reports]
    short = [one_line(name) for name in short]
    return [name if name not in short[:i] else f'{name} ({i + 1})' for i, name in enumerate(short)]


def table(rows: Sequence[Row]) -> str:
    """Text for a terminal: a line for each report and method, changes to the first in brackets."""
    cells = [['report', 'method', *(heading for heading, _, _ in FIGURES.values())]]
    for row in rows:
        mark = '' if row.comparable else ' *'
        cells.append([row.report + mark, row.method, *(_cell(row, key) for key in FIGURES)])
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        '  '.join(
            text.ljust(width) if i < 2 else text.rjust(width)
            for i, (text, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in cells
    ]
    if not all(row.comparable for row in rows):
        lines.append('* This report has other queries than the first; the changes mean nothing.')
    return '\n'.join(lines)


def _cell(row: Row, key: str) -> str:
    _, factor, places = FIGURES[key]
    value = row.figures[key]
    text = decimal(None if value is None else factor * value, places)
    return f'{text} ({factor * row.change[key]:+.{places}f})' if key in row.change else text


def differences(reports: Sequence[Report]) -> list[str]:
    """Reasons why reports cannot be compared with the first, a line each."""
    first, lines = reports[0], []
    names = names_of(reports)
    truth = [a[-1] for a in first.values['answers']]
    for name, report in zip(names[1:], reports[1:], strict=True):
        if report.queries != first.queries:
            lines.append(
                f'{name} has other queries than {names[0]}: their figures are not comparable.'
            )
        elif [a[-1] for a in report.values['answers']] != truth:
            lines.append(
                f'{name} was judged by another map or tolerance than {names[0]}: other queries '
                'have a right place in the map.'
            )
    return lines


@dataclass(frozen=True)
class Changed:
    """A query that is right in one report and wrong in the other.

    `query`: its frame number; `stamp`: in seconds; `before`, `after`: see `ANSWER_COLUMNS`.
    """

    query: int
    stamp: float
    before: Mapping
    after: Mapping


def changes(first: Report, second: Report) -> dict[str, list[Changed]] | None:
    """The queries that changed, by the keys of `CHANGES`; None where the queries differ."""
    if first.queries != second.queries:
        return None
    changed: dict[str, list[Changed]] = {kind: [] for kind in CHANGES}
    for row, other in zip(first.values['answers'], second.values['answers'], strict=True):
        before, after = (dict(zip(ANSWER_COLUMNS, r, strict=True)) for r in (row, other))
        if before['right'] != after['right']:
            wrong = after if before['right'] else before
            state = 'unnamed' if wrong['place'] is None else 'wrong'
            kind = f'right_to_{state}' if before['right'] else f'{state}_to_right'
            changed[kind].append(Changed(before['query'], before['stamp'], before, after))
    return changed


def write_comparison(path: Path, reports: Sequence[Report]) -> None:
    """Write one HTML file.

    Raises VprError as `check_comparison` does, and where it cannot be written.
    """
    check_comparison(path, reports)
    names = names_of(reports)
    facts = {key: None for r in reports for key in r.values['facts']}
    told = {key: [r.values['facts'].get(key, '–') for r in reports] for key in facts}
    html = render(
        'comparison.html',
        names=names,
        named=list(zip(names, reports, strict=True)),
        rows=[(row, [_cell(row, key) for key in FIGURES]) for row in compare(reports)],
        headings=[heading for heading, _, _ in FIGURES.values()],
        differences=differences(reports),
        facts={key: v for key, v in told.items() if any(x != v[0] for x in v)},
        figures=_illustrations(names, reports),
        changes=changes(reports[0], reports[1]),
        kinds=CHANGES,
        start=min((stamp for _, stamp in reports[0].queries if stamp is not None), default=0.0),
        most=_MOST_CHANGES,
    )
    with write_errors(path, _WHAT):
        write_text(path, html)


def check_comparison(path: Path, reports: Sequence[Report]) -> None:
    """Make the folder of a comparison; VprError where it cannot be written there.

    It replaces only a comparison, and none of the reports. It needs at least two reports.
    """
    if len(reports) < 2:
        raise VprError(f'{path}: a comparison needs at least two reports; name another one')
    if any(resolved(path) == resolved(r.path.with_suffix('.html')) for r in reports):
        raise VprError(f'{path}: is one of the reports that are compared; give another name')
    check_output(path, is_comparison_page, _WHAT)


def _illustrations(names: Sequence[str], reports: Sequence[Report]) -> list:
    """A precision-recall figure for each method, and the reliability of every report."""
    drawn = []
    for method in {m: None for r in reports for m in r.methods}:
        curves = {
            f'{name}, AP {r.methods[method]["average_precision"]:.3f}': _curve(r.methods[method])
            for name, r in zip(names, reports, strict=True)
            if method in r.methods
        }
        title = f'Precision and recall: {method}'
        figure = partial(precision_recall_figure, curves)
        drawn.append(illustration(figure, title, PRECISION_RECALL))
    bins = {n: _calibration(r.values['calibration']) for n, r in zip(names, reports, strict=True)}
    title = 'Reliability of the confidence'
    drawn.append(illustration(partial(reliability_figure, bins), title, RELIABILITY))
    return drawn


def _curve(method: Mapping) -> tuple[np.ndarray, np.ndarray]:
    curve = method['curve']
    return np.array(curve['found'], float), np.array(curve['precision'], float)


def _calibration(values: Mapping) -> Calibration:
    columns = (np.array(values[key], float) for key in ('count', 'confidence', 'right'))
    return Calibration(*columns, values['error'])

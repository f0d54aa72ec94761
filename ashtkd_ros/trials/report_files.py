# SPDX-License-Identifier: Apache-2.0
"""The files of a trial's report, in its folder: report.html, report.json, answers.csv."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from ashtkd_ros.errors import VprError
from ashtkd_ros.evaluation.page import generator_of
from ashtkd_ros.files.documents import parse_json
from ashtkd_ros.files.marks import json_keys
from ashtkd_ros.files.reading import read_text
from ashtkd_ros.files.writing import check_output, write_errors, write_together
from ashtkd_ros.sampling import thin
from ashtkd_ros.stamps import split_ns
from ashtkd_ros.text import reason_of
from ashtkd_ros.trials.folder import REPORT, TrialFolder
from ashtkd_ros.trials.judging import RIGHT, Judged
from ashtkd_ros.trials.stretches import Stretch
from ashtkd_ros.trials.timeline import Event
from ashtkd_ros.trials.trial_maps import KnownMap, TrialMaps
from ashtkd_ros.trials.trial_report import TrialReport

SCHEMA_VERSION = 1
VALUES, ANSWERS = 'report.json', 'answers.csv'
GENERATOR = 'ashtkd_ros trial'
COLUMNS = ('stamp', 'minute', 'place', 'name', 'confidence', 'verdict', 'distance', 'why')
_HEADER = ','.join(COLUMNS).encode()
_KEYS = {'schema_version', 'trial', 'figures', 'stretches', 'events'}
_MOST_POINTS = 3000  # of the route
_WHAT = 'the report'


def check_report_files(folder: TrialFolder) -> None:
    """VprError where a file of the report cannot be written; only earlier reports are replaced."""
    path = folder.path
    check_output(path / REPORT, lambda data: generator_of(data) == GENERATOR, _WHAT)
    check_output(path / VALUES, lambda data: json_keys(data) >= _KEYS, _WHAT)
    check_output(path / ANSWERS, lambda data: data.startswith(_HEADER), _WHAT)


def write_report_files(report: TrialReport, page: str) -> None:
    """Write all three, or none; VprError as `check_report_files`, or where one cannot be written.

    `page`: HTML, see `trial_page`.
    """
    check_report_files(report.source.folder)
    folder = report.source.folder.path
    text = json.dumps(report_values(report), allow_nan=False, ensure_ascii=False, indent=1)
    files = {
        folder / VALUES: f'{text}\n'.encode('utf-8', 'replace'),
        folder / ANSWERS: answers_csv(report).encode('utf-8', 'replace'),
        folder / REPORT: page.encode('utf-8', 'replace'),
    }
    with write_errors(folder / REPORT, _WHAT):
        write_together(files)


def answers_csv(report: TrialReport) -> str:
    """A row an answer: stamp of the image (s), minute of the trial, what was named, the verdict,
    metres to the named place, and why it is not right. Empty: not known."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator='\n')
    rows.writerow(COLUMNS)
    for one in report.judged:
        place = '' if one.place is None else one.place
        row = (_seconds(one.answer.stamp_ns), f'{one.seconds / 60:.4f}', place, one.name)
        rows.writerow((*row, _n(one.confidence, 4), one.verdict, _n(one.metres, 2), one.why))
    return text.getvalue()


def _seconds(ns: int) -> str:
    whole, rest = split_ns(ns)
    return f'{whole}.{rest:09d}'


def _n(value: float, places: int) -> str:
    return '' if math.isnan(value) else f'{value:.{places}f}'


def report_values(report: TrialReport) -> dict:
    """What report.json holds: plain values, None for what is not known; `overview` reads it."""
    source, maps = report.source, report.source.maps
    return {
        'schema_version': SCHEMA_VERSION,
        'trial': _trial(report),
        'map': _map(maps),
        'truth': {
            'kinds': report.truth.kinds,
            'rule': report.truth.rule,
            'metres': report.options.metres,
        },
        'figures': {key: _plain(value) for key, value in report.figures.items()},
        'stretches': [_stretch(stretch) for stretch in report.stretches],
        'lost': [
            {'minute': _minute(t.start), 'seconds': round(t.end - t.start, 2), 'ended': t.ended}
            for t in report.lost
        ],
        'events': [_event(event) for event in source.events],
        'marks': [
            {'minute': _minute(when), 'kind': mark.kind, 'text': mark.text}
            for when, mark in source.marks
        ],
        'places': _places(report.judged, maps.main),
        'route': _route(report.judged),
        'notes': report.notes,
        'checks': source.checks,
    }


def _trial(report: TrialReport) -> dict:
    source = report.source
    return {
        'folder': str(source.folder.path),
        'name': report.name,
        'condition': report.condition,
        'minutes': _minute(source.seconds),
        'sheet': asdict(source.sheet),
    }


def _map(maps: TrialMaps) -> dict | None:
    if maps.path is None:
        return None
    places = len(maps.main.places) if maps.main else None
    return {'path': str(maps.path), 'places': places, 'changed': maps.changed}


def _minute(seconds: float) -> float:
    return round(seconds / 60, 3)


def _plain(value: object) -> object:
    """As JSON knows it: null for a number that is not finite."""
    if not isinstance(value, float):
        return value
    return round(value, 6) if math.isfinite(value) else None


def _stretch(stretch: Stretch) -> dict:
    return {
        'minute': _minute(stretch.start),
        'seconds': round(stretch.end - stretch.start, 2),
        'what': stretch.what,
        'why': stretch.why,
        'camera': stretch.camera,
        'at': None if stretch.at is None else [round(x, 2) for x in stretch.at],
    }


def _event(event: Event) -> dict:
    values = {'minute': round(event.minute, 3), 'kind': event.kind, 'text': event.text}
    told = {
        'live': event.live,
        'fault': event.is_fault,
        'values': {k: _plain(v) for k, v in event.values.items()},
    }
    return {**values, **told}


def _places(judged: list[Judged], main: KnownMap | None) -> list[list]:
    """Of each place that was passed: its number, x, y, right answers, and others."""
    passed: dict[int, list] = {}
    for one in judged:
        if one.nearest is None or one.at is None:
            continue
        number = int(main.places.ids[one.nearest])
        x, y = main.places.positions[one.nearest, :2].round(2).tolist()
        row = passed.setdefault(number, [number, x, y, 0, 0])
        row[3] += one.verdict == RIGHT
        row[4] += one.failed
    return [passed[number] for number in sorted(passed)]


def _route(judged: list[Judged]) -> list[list]:
    """x, y, verdict and minute of answers with a position, evenly spread."""
    placed = [one for one in judged if one.at is not None]
    return [
        [*(round(x, 2) for x in placed[k].at), placed[k].verdict, _minute(placed[k].seconds)]
        for k in thin(len(placed), _MOST_POINTS).tolist()
    ]


@dataclass(frozen=True)
class WrittenReport:
    """report.json of a trial, as it was written."""

    path: Path
    values: Mapping


def load_written(folder: TrialFolder) -> WrittenReport:
    """The report of a trial; VprError where there is none, or it is damaged."""
    path, advice = folder.path / VALUES, 'write it anew with trials report'
    try:
        values = parse_json(read_text(path))
    except (OSError, ValueError) as error:
        raise VprError(f'{path}: cannot be read ({reason_of(error)}); {advice}') from error
    if not isinstance(values, dict) or not set(values) >= _KEYS:
        raise VprError(f'{path}: is no report of a trial; {advice}')
    if values['schema_version'] != SCHEMA_VERSION:
        raise VprError(f'{path}: is of another version; {advice}')
    return WrittenReport(path, values)

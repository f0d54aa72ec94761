# SPDX-License-Identifier: Apache-2.0
"""A report of an evaluation: one HTML file that opens from disk, its figures as JSON beside it."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path

import numpy as np

from ashtkd_ros.errors import VprError
from ashtkd_ros.evaluation.figures import CURVE_POINTS
from ashtkd_ros.evaluation.ground_truth import JudgedQuery
from ashtkd_ros.evaluation.metrics import (
    Calibration,
    Metrics,
    calibration_of,
    localisation_error,
    unknown_share,
)
from ashtkd_ros.evaluation.page import is_report_page
from ashtkd_ros.evaluation.report_page import MatchesOf, PictureOf, SalientOf, report_page
from ashtkd_ros.evaluation.result import Evaluation
from ashtkd_ros.files.marks import json_keys
from ashtkd_ros.files.writing import check_output, resolved, write_errors, write_together
from ashtkd_ros.sampling import thin

SCHEMA_VERSION = 1
NOT_HTML = 'the report is an HTML file; give it a name that ends in .html'
# What the JSON tells of each judged query, in this order.
ANSWER_COLUMNS = (
    'query',
    'stamp',
    'place',
    'confidence',
    'similarity',
    'right',
    'accepted',
    'has_positive',
)
# What it tells beyond that, in lists of their own, so that older programs read the rest.
DETAIL_COLUMNS = ('within_twice', 'metres', 'agreement', 'lower', 'further_right')
# By these names in its JSON an earlier report of any version is known, and its durations.
_VALUES_KEYS = {'schema_version', 'answer_columns', 'answers'}
_TIMING_KEYS = {'schema_version', 'milliseconds'}
_WHAT = 'the report'


def write_report(
    path: Path,
    evaluation: Evaluation,
    picture_of: PictureOf,
    salient_of: SalientOf | None = None,
    matches_of: MatchesOf | None = None,
) -> None:
    """Write `path` (.html), and beside it .json and, where there is timing, .timing.json.

    The JSON is the same for the same evaluation: durations, which never are, lie in a file of
    their own. All files are written, or none. Raises VprError when there is no query, or a file
    cannot be written.
    """
    if not evaluation.judged:
        raise VprError(f'{path}: no query was answered, so there is no report; check the traverse')
    if path.suffix != '.html':
        raise VprError(f'{path}: {NOT_HTML}')
    check_report(path)
    page = report_page(evaluation, picture_of, salient_of, matches_of)
    timing = None  # durations of an earlier run would seem to be of this one
    if evaluation.timing:
        stages = {name: asdict(t) for name, t in evaluation.timing.items()}
        values = {'schema_version': SCHEMA_VERSION, 'milliseconds': stages}
        timing = _json({**values, 'machine': dict(evaluation.machine)})
    files = {
        path.with_suffix('.json'): _json(report_values(evaluation)),
        path.with_suffix('.timing.json'): timing,
        path: page.encode('utf-8', 'replace'),
    }
    with write_errors(path, _WHAT):
        write_together(files)


def check_report(path: Path) -> None:
    """Make the folder of a report; VprError where one of its files cannot be written.

    A file of another kind is not replaced, and neither is a comparison.
    """
    if path.suffix != '.html':
        raise VprError(f'{path}: the report is an HTML file; give it a name that ends in .html')
    check_output(path, is_report_page, _WHAT)
    places = {resolved(path)}
    for name, keys in (('.json', _VALUES_KEYS), ('.timing.json', _TIMING_KEYS)):
        beside = path.with_suffix(name)
        check_output(beside, lambda data, keys=keys: keys <= json_keys(data))
        if resolved(beside) in places:
            raise VprError(f'{beside}: is a link to another file of the report; remove it')
        places.add(resolved(beside))


def report_values(evaluation: Evaluation) -> dict:
    """What the JSON holds; `report_file` reads it."""
    judged = evaluation.judged
    metres = localisation_error(judged)
    return {
        'schema_version': SCHEMA_VERSION,
        'title': evaluation.title,
        'facts': dict(evaluation.facts),
        'min_confidence': evaluation.min_confidence,
        'methods': [
            _method(name, m, evaluation.reliability.get(name))
            for name, m in evaluation.methods.items()
        ],
        'calibration': asdict(calibration_of(judged)),
        'localisation_m': asdict(metres) if metres else None,
        'unknown_share': unknown_share(judged),
        'traffic': asdict(evaluation.traffic) if evaluation.traffic else None,
        'notes': list(evaluation.notes),
        'answer_columns': ANSWER_COLUMNS,
        'answers': [_row(q) for q in judged],
        'detail_columns': DETAIL_COLUMNS,
        'details': [_details(q) for q in judged],
    }


def _method(name: str, metrics: Metrics, reliability: Calibration | None) -> dict:
    values = asdict(metrics)
    values['calibration_error'] = reliability.error if reliability else None
    kept = thin(len(metrics.thresholds), CURVE_POINTS)
    columns = {'thresholds': 'thresholds', 'precision': 'precision_curve', 'found': 'recall_curve'}
    curve = {key: values.pop(column)[kept].round(6) for key, column in columns.items()}
    return {'name': name, **values, 'curve': curve}


def _row(q: JudgedQuery) -> list:
    similar = round(float(q.similarity), 6)
    verdicts = bool(q.right), bool(q.accepted), bool(q.has_positive)
    place = None if q.place is None else q.place.id
    return [q.query.order, q.query.stamp, place, round(q.confidence, 6), similar, *verdicts]


def _details(q: JudgedQuery) -> list:
    """Metres, and of the local features shares of the picture; None for what is not known."""
    shares = (None,) * 3 if q.check is None else (q.check.agreement, *q.check.displacement)
    numbers = (None if x is None else round(float(x), 6) for x in (q.metres, *shares))
    return [bool(q.within_twice), *numbers]


def _json(values: dict) -> bytes:
    text = json.dumps(_plain(values), allow_nan=False, separators=(',', ':')) + '\n'
    return text.encode()


def _plain(value: object) -> object:
    """The value as JSON knows it: no NumPy, and null for a number that is not finite."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

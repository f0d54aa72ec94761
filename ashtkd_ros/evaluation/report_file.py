# SPDX-License-Identifier: Apache-2.0
"""A report that was written earlier: read from its JSON, and checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ashtkd_ros.errors import VprError
from ashtkd_ros.evaluation.report import ANSWER_COLUMNS, SCHEMA_VERSION
from ashtkd_ros.files.documents import parse_json
from ashtkd_ros.files.reading import is_file, is_folder, read_text
from ashtkd_ros.text import one_line, reason_of

_NUMBER = (int, float)
_OPTIONAL = (int, float, type(None))
_KINDS = {
    'title': str,
    'facts': dict,
    'min_confidence': _NUMBER,
    'methods': list,
    'calibration': dict,
    'localisation_m': (dict, type(None)),
    'unknown_share': _NUMBER,
    'answers': list,
}
_METHOD_KINDS = {
    'name': str,
    'recall': dict,
    'average_precision': _NUMBER,
    'recall_at_full_precision': _NUMBER,
    'f1_max': _NUMBER,
    'f1_threshold': _OPTIONAL,
    'within_twice': _OPTIONAL,  # older reports do not tell it
    'curve': dict,
}
_ANSWER_KINDS = ['number'] * 5 + ['bool'] * 3


@dataclass(frozen=True)
class Report:
    """A report: the path of its .json, and the values in it (see `report.report_values`)."""

    path: Path
    values: Mapping

    @property
    def methods(self) -> dict[str, dict]:
        """Name → figures, in the report's order."""
        return {one_line(m['name']): m for m in self.values['methods']}

    @property
    def queries(self) -> list[tuple]:
        """Frame number and stamp of each query."""
        return [(a[0], a[1]) for a in self.values['answers']]


def load_report(path: Path) -> Report:
    """Read a report; `path`: its .json, the .html beside it, or the folder of a report.json.

    Raises VprError that names the file where it is missing or damaged, is not the JSON of a
    report, or has the format of another version.
    """
    path = Path(path)
    file = path / 'report.json' if is_folder(path) else path.with_suffix('.json')
    if path.suffix != '.html' and is_file(path):
        file = path  # the error then names this file
    try:
        values = parse_json(read_text(file))
    except FileNotFoundError as error:
        raise VprError(f'{file}: no such report; write one with evaluate -o') from error
    except OSError as error:
        raise VprError(
            f'{file}: the report cannot be read ({reason_of(error)}); name another'
        ) from error
    except ValueError as error:
        raise VprError(f'{file}: is not JSON; name the .json of a report') from error
    if not isinstance(values, dict) or not {'schema_version', 'answers'} <= values.keys():
        raise VprError(f'{file}: is not a report of evaluate; name the .json beside a report')
    if values['schema_version'] != SCHEMA_VERSION:
        raise VprError(
            f'{file}: has report format {str(values["schema_version"])[:20]}, this program reads '
            f'{SCHEMA_VERSION}; write it anew with evaluate -o'
        )
    if not _is_whole(values):
        raise VprError(f'{file}: the report is damaged; write it anew with evaluate -o')
    return Report(file, values)


def _is_whole(values: dict) -> bool:
    """Whether it has everything that a comparison reads."""
    if not _has(values, _KINDS) or values.get('answer_columns') != list(ANSWER_COLUMNS):
        return False
    methods, answers = values['methods'], values['answers']
    if not methods or not answers:
        return False
    if not all(isinstance(m, dict) and _has(m, _METHOD_KINDS) for m in methods):
        return False
    curves = [_columns(m['curve'], ('found', 'precision')) for m in methods]
    bins = _columns(values['calibration'], ('count', 'confidence', 'right'))
    rows = all(isinstance(a, list) and list(map(_kind, a)) == _ANSWER_KINDS for a in answers)
    shares = all(isinstance(r, _NUMBER) for m in methods for r in m['recall'].values())
    error = isinstance(values['calibration'].get('error'), _NUMBER)
    metres = values.get('localisation_m') or {'median': 0.0, 'p95': 0.0}
    located = _has(metres, {'median': _NUMBER, 'p95': _NUMBER})
    return rows and shares and error and located and bins and all(curves)


def _kind(value: object) -> str:
    if value is None or (isinstance(value, _NUMBER) and not isinstance(value, bool)):
        return 'number'
    return type(value).__name__


def _has(values: dict, kinds: Mapping) -> bool:
    return all(isinstance(values.get(key), kind) for key, kind in kinds.items())


def _columns(values: dict, names: Sequence[str]) -> bool:
    """Whether there are lists of numbers under these names, all of one length."""
    lists = [values.get(name) for name in names]
    if not all(isinstance(v, list) and v for v in lists) or len({len(v) for v in lists}) > 1:
        return False
    return all(isinstance(x, _OPTIONAL) for v in lists for x in v)

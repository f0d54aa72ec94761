# SPDX-License-Identifier: Apache-2.0
"""The events that the report of a trial names, read from its figures."""

from __future__ import annotations

from pathlib import Path

from ashtkd_ros.errors import VprError
from ashtkd_ros.files.documents import parse_json
from ashtkd_ros.files.reading import read_regular
from ashtkd_ros.text import reason_of
from ashtkd_ros.trials.folder import REPORT, TrialFolder
from tools.trial.verdict import LASTING, Named

_LIMIT = 2**28  # bytes


def named_in(trial: TrialFolder) -> list[Named]:
    """In the order of the report; VprError where there is no report."""
    path = Path(trial.path / REPORT).with_suffix('.json')
    try:
        values = parse_json(read_regular(path, _LIMIT).decode())
        return [_named(event) for event in values['events']]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise VprError(f'{path}: cannot be read ({reason_of(error)})') from error


def _named(event: dict) -> Named:
    values, kind = event['values'], event['kind']
    lasted_s = float(values.get('seconds', 0.0)) if kind in LASTING else 0.0
    return Named(event['minute'], kind, event['text'], values.get('process', ''), lasted_s)

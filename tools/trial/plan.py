# SPDX-License-Identifier: Apache-2.0
"""What is driven and what goes wrong at which second: the plan of simulated trials, in YAML."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ashtkd_ros.errors import VprError
from ashtkd_ros.files.documents import parse_yaml
from ashtkd_ros.files.reading import read_regular
from ashtkd_ros.text import reason_of
from ashtkd_ros.trials import vocabulary as words
from ashtkd_ros.trials.folder import check_name
from tools.render.conditions import CONDITIONS

PLAN = Path(__file__).with_name('faults.yaml')
VERSION = 1
_LIMIT = 2**20  # bytes
_LONGEST_S = 3600.0
# Faults of the robot's sensors, which the robot itself has, and the event that names each.
CAMERA_UNPLUGGED, CAMERA_DARK, CAMERA_FROZEN = 'camera unplugged', 'camera dark', 'camera frozen'
CLOCK_JUMP, GNSS_JUMP, GNSS_OUTAGE = 'clock jump', 'gnss jump', 'gnss outage'
ODOMETRY_STOPPED = 'odometry stopped'
SENSOR_FAULTS = {
    CAMERA_UNPLUGGED: (words.CAMERA_STOPPED,),
    CAMERA_DARK: (words.CAMERA_FAULT,),
    CAMERA_FROZEN: (words.CAMERA_FAULT,),
    CLOCK_JUMP: (words.CLOCK_JUMP,),
    GNSS_JUMP: (words.GNSS_JUMP,),
    GNSS_OUTAGE: (words.GNSS_LOST,),
    ODOMETRY_STOPPED: (words.ODOMETRY_STOPPED,),
}
# Faults of the computer, which are done to it from outside.
RECORDER_KILLED, NODE_KILLED, WATCH_KILLED = 'recorder killed', 'node killed', 'watch killed'
SUPERVISOR_KILLED = 'supervisor killed'  # what started all the others
DISK_FULL, MAP_SWAPPED = 'disk full', 'map swapped'
KILLED = {  # and which process is
    RECORDER_KILLED: 'trial_recorder',
    NODE_KILLED: '/vpr_node',
    WATCH_KILLED: 'trial_watch',
    SUPERVISOR_KILLED: 'vpr_trial',
}
COMPUTER_FAULTS = {
    **dict.fromkeys(KILLED, (words.PROCESS_DIED,)),
    DISK_FULL: (words.DISK_FULL,),
    MAP_SWAPPED: (words.MAP_SWAPPED,),
}
FAULTS = SENSOR_FAULTS | COMPUTER_FAULTS


@dataclass(frozen=True)
class Fault:
    """`at`: second of the drive; `fault`: one of FAULTS; `seconds`: how long (0: a moment)."""

    at: float
    fault: str
    seconds: float = 0.0


@dataclass(frozen=True)
class Mark:
    """What the operator marks at second `at` of the drive: a kind of mark, and words."""

    at: float
    kind: str
    text: str = ''


@dataclass(frozen=True)
class PlannedTrial:
    """A drive of so many `seconds` under a `condition` of tools.render."""

    name: str
    condition: str
    seconds: float
    faults: tuple[Fault, ...] = ()
    marks: tuple[Mark, ...] = ()


def read_plan(path: Path = PLAN) -> list[PlannedTrial]:
    """The trials of a plan, in order; VprError says what is wrong with the file."""
    try:
        values = parse_yaml(read_regular(path, _LIMIT))
        if not isinstance(values, dict) or values.get('version') != VERSION:
            raise ValueError(f'it must begin with "version: {VERSION}"')
        _check_keys(values, {'version', 'trials'}, 'the plan')
        trials = [_trial(value) for value in _list(values, 'trials', 'the plan')]
        if not trials:
            raise ValueError('it has no trials')
    except (OSError, ValueError) as error:
        raise VprError(f'{path}: is no plan of trials ({reason_of(error)}); mend it') from error
    return trials


def _trial(value: object) -> PlannedTrial:
    where = f'trial {_text(value, "name", "a trial")}'
    _check_keys(value, {'name', 'condition', 'seconds', 'faults', 'marks'}, where)
    check_name(value['name'])
    seconds = _number(value, 'seconds', where, least=1.0)
    faults = tuple(_fault(v, where, seconds) for v in _list(value, 'faults', where))
    marks = tuple(_mark(v, where, seconds) for v in _list(value, 'marks', where))
    condition = _one_of(value, 'condition', CONDITIONS, where)
    return PlannedTrial(value['name'], condition, seconds, faults, marks)


def _fault(value: object, where: str, most_s: float) -> Fault:
    where = f'{where}, a fault'
    _check_keys(value, {'at', 'fault', 'seconds'}, where)
    at = _number(value, 'at', where, most=most_s)
    seconds = _number(value, 'seconds', where, most=most_s) if 'seconds' in value else 0.0
    return Fault(at, _one_of(value, 'fault', FAULTS, where), seconds)


def _mark(value: object, where: str, most_s: float) -> Mark:
    where = f'{where}, a mark'
    _check_keys(value, {'at', 'kind', 'text'}, where)
    text = _text(value, 'text', where) if 'text' in value else ''
    at = _number(value, 'at', where, most=most_s)
    return Mark(at, _one_of(value, 'kind', words.MARK_KINDS, where), text)


def _check_keys(value: object, known: set[str], where: str) -> None:
    if not isinstance(value, dict):
        raise ValueError(f'{where} is not a table')
    if unknown := sorted(str(key) for key in set(value) - known):
        raise ValueError(f'{where}: "{unknown[0]}" is not one of {", ".join(sorted(known))}')


def _list(value: Mapping, key: str, where: str) -> list:
    found = value.get(key) or []
    if not isinstance(found, list):
        raise ValueError(f'{where}: "{key}" is not a list')
    return found


def _text(value: object, key: str, where: str) -> str:
    found = value.get(key) if isinstance(value, dict) else None
    if not isinstance(found, str):
        raise ValueError(f'{where}: "{key}" is not a text')
    return found


def _number(
    value: Mapping, key: str, where: str, least: float = 0.0, most: float = _LONGEST_S
) -> float:
    found = value.get(key)
    whole = type(found) in (int, float) and math.isfinite(found)
    if not whole or not least <= found <= most:
        raise ValueError(f'{where}: "{key}" is not a number of seconds from {least:g} to {most:g}')
    return float(found)


def _one_of(value: Mapping, key: str, known: Mapping | tuple, where: str) -> str:
    found = value.get(key)
    if not isinstance(found, str) or found not in known:
        raise ValueError(f'{where}: "{key}" is not one of {", ".join(known)}')
    return found

# SPDX-License-Identifier: Apache-2.0
"""Many trials side by side: by condition, all faults, and where they fail again and again."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ashtkd_ros.errors import VprError
from ashtkd_ros.text import one_line
from ashtkd_ros.trials.judging import UNJUDGED

NO_CONDITION = 'not told'
_USUAL = ('day', 'dusk', 'night', 'rain')
SPOT_M = 10.0  # failures so near to each other are at one spot
# Column → figure of a report, in the order of overview.csv.
FIGURES = (
    'answers',
    'on_map',
    'right',
    'wrong',
    'unknown',
    'right_share',
    'wrong_share',
    'unknown_share',
    'precision',
    'off_map',
    'off_map_wrong',
    'unjudged',
    'named_share',
    'metres_between_median',
    'metres_between_longest',
    'lost_times',
    'lost_s',
    'longest_lost_s',
    'latency_p50_ms',
    'latency_p95_ms',
    'dropped',
)
_SUMMED = ('answers', 'on_map', 'right', 'wrong', 'unknown', 'off_map_wrong', 'all_right')
_SUMMED += ('all_wrong', 'lost_times', 'lost_s')


@dataclass(frozen=True)
class TrialRow:
    """One trial: `figures` as in its report; `faults`: minute, kind and text; `judged`: whether
    anything told what is right; `reasons`: why it failed → for how many seconds."""

    name: str
    condition: str
    minutes: float
    judged: bool
    figures: Mapping[str, float | None]
    faults: Sequence[tuple[float, str, str]]
    reasons: Mapping[str, float]


@dataclass(frozen=True)
class ConditionRow:
    """All trials of one condition together; shares are of all their answers, None without any."""

    condition: str
    trials: int
    minutes: float
    figures: Mapping[str, float | None]
    faults: int
    reasons: Mapping[str, float]


@dataclass
class Spot:
    """A square of 10 m of a map's route: names of trials that failed there, and that did not.

    `x`, `y`: its middle in metres; `places`: numbers of the places in it.
    """

    map: str
    x: float
    y: float
    places: set[int] = field(default_factory=set)
    failed: list[str] = field(default_factory=list)
    passed: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Overview:
    """`spots`: where more than one trial failed, the worst first; `route`: all other spots that
    were passed."""

    trials: list[TrialRow]
    conditions: list[ConditionRow]
    spots: list[Spot]
    route: list[Spot]


def overview_of(reports: Sequence[Mapping]) -> Overview:
    """`reports`: what the report.json of at least one trial hold.

    VprError where one is not as `report_values` makes them.
    """
    rows, passed = [], {}
    for number, report in enumerate(reports, 1):
        try:
            rows.append(_row(report))
            _pass(passed, report)
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            text = f'report {number}: is damaged; write it anew with trials report'
            raise VprError(text) from error
    spots = [passed[key] for key in sorted(passed)]
    repeated = [spot for spot in spots if len(spot.failed) > 1]
    repeated.sort(key=lambda spot: (len(spot.passed) - len(spot.failed), spot.x, spot.y))
    others = [spot for spot in spots if len(spot.failed) < 2]
    return Overview(rows, _conditions(rows), repeated, others)


def _row(report: Mapping) -> TrialRow:
    trial, figures = report['trial'], report['figures']
    faults = [
        (float(e['minute']), one_line(str(e['kind'])), one_line(str(e['text'])))
        for e in report['events']
        if e['fault']
    ]
    return TrialRow(
        one_line(str(trial['name'])),
        one_line(str(trial['condition'])) or NO_CONDITION,
        float(trial['minutes']),
        bool(report['truth']['kinds']),
        {key: _number(value) for key, value in figures.items()},
        faults,
        _reasons(report['stretches']),
    )


def _reasons(stretches: Sequence[Mapping]) -> dict[str, float]:
    """Why a trial failed, by the commonest reason of each stretch → seconds."""
    reasons: dict[str, float] = {}
    for stretch in stretches:
        if stretch['what'] != UNJUDGED:
            why = one_line(str(next(iter(stretch['why']), stretch['what'])))
            reasons[why] = reasons.get(why, 0.0) + float(stretch['seconds'])
    return reasons


def _number(value: object) -> float | None:
    return value if type(value) in (int, float) else None


def _conditions(rows: Sequence[TrialRow]) -> list[ConditionRow]:
    """By the names of the conditions: the usual ones, then others as they first come."""
    found, names = [], dict.fromkeys(row.condition for row in rows)
    usual = [name for name in _USUAL if name in names]
    for condition in dict.fromkeys([*usual, *names]):
        own = [row for row in rows if row.condition == condition]
        sums = {key: sum(row.figures.get(key) or 0 for row in own) for key in _SUMMED}
        on = sums['on_map']
        shares = {f'{key}_share': _share(sums[key], on) for key in ('right', 'wrong', 'unknown')}
        shares['precision'] = _share(sums['all_right'], sums['all_right'] + sums['all_wrong'])
        minutes, faults = sum(row.minutes for row in own), sum(len(row.faults) for row in own)
        reasons = {why: 0.0 for row in own for why in row.reasons}
        reasons = {why: sum(row.reasons.get(why, 0.0) for row in own) for why in reasons}
        figures = {**sums, **shares}
        found.append(ConditionRow(condition, len(own), minutes, figures, faults, reasons))
    return found


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _pass(spots: dict[tuple[str, int, int], Spot], report: Mapping) -> None:
    """Add the squares that a trial passed; it failed where more answers failed than were right."""
    if not report['map']:
        return
    path, counts = str(report['map']['path']), {}
    for number, x, y, right, failed in report['places']:
        column, row = math.floor(float(x) / SPOT_M), math.floor(float(y) / SPOT_M)
        key, middle = (path, column, row), ((column + 0.5) * SPOT_M, (row + 0.5) * SPOT_M)
        spots.setdefault(key, Spot(path, *middle)).places.add(int(number))
        sums = counts.setdefault(key, [0, 0])
        sums[0] += int(right)
        sums[1] += int(failed)
    name = one_line(str(report['trial']['name']))
    for key, (right, failed) in counts.items():
        (spots[key].failed if failed > right else spots[key].passed).append(name)

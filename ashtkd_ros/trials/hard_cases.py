# SPDX-License-Identifier: Apache-2.0
"""The answers of a trial from which a network can learn: wrong, unknown, or hardly right."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

from ashtkd_ros.trials.judging import RIGHT, SWAPPED, UNKNOWN, WRONG, Judged
from ashtkd_ros.trials.recorded_images import FROZEN, UNREADABLE
from ashtkd_ros.trials.trial_maps import KnownMap
from ashtkd_ros.trials.trial_report import TrialReport

LOW_MARGIN, LOW_CONFIDENCE = 'low margin', 'low confidence'
_ELSEWHERE = 2.0  # times the tolerance: a place so far from the right one is another one
NO_PLACE = 'the right place is not known'  # why nothing can be learnt from an answer


@dataclass(frozen=True)
class HardOptions:
    """`margin`, `confidence`: a right answer is hard whose confidence is less than this above that
    of the best place elsewhere, or below this; `apart_s`: seconds between two cases of a camera.
    """

    margin: float = 0.2
    confidence: float = 0.95
    apart_s: float = 1.0


@dataclass(frozen=True)
class HardCase:
    """`kind`: WRONG, UNKNOWN, LOW_MARGIN or LOW_CONFIDENCE; `right`: rows of the right place in
    the map of the trial; `taken_for`: row of the place it was taken for, or None."""

    judged: Judged
    kind: str
    right: tuple[int, ...]
    taken_for: int | None = None

    @property
    def expected(self) -> str:
        """The name of the right place, where no position tells which it is."""
        return self.judged.expected if self.judged.nearest is None else ''


def hard_cases(report: TrialReport, options: HardOptions) -> tuple[list[HardCase], Counter[str]]:
    """Those of a trial in order, and why others were left out: reason → how many."""
    main, found, left_out = report.source.maps.main, [], Counter()
    last: dict[str, float] = {}
    for one in report.judged:
        kind = _kind(one, main, options, report.options.metres)
        if not kind:
            continue
        if reason := _unfit(one, main):
            left_out[reason] += 1
        elif one.seconds - last.get(one.answer.topic, -math.inf) < options.apart_s:
            left_out[f'less than {options.apart_s:g} s after another one'] += 1
        else:
            last[one.answer.topic] = one.seconds
            taken_for = None
            if kind == WRONG and not one.metres <= _ELSEWHERE * report.options.metres:
                taken_for = main.places.first_rows.get(one.place)
            found.append(HardCase(one, kind, _right(one, main), taken_for))
    return found, left_out


def _kind(one: Judged, main: KnownMap | None, options: HardOptions, metres: float) -> str:
    if one.verdict in (WRONG, UNKNOWN):
        return one.verdict if one.on_map is not False else ''
    if one.verdict != RIGHT or main is None:
        return ''
    if _margin(one, main, metres) < options.margin:
        return LOW_MARGIN
    return LOW_CONFIDENCE if one.confidence < options.confidence else ''


def _margin(one: Judged, main: KnownMap, metres: float) -> float:
    """The confidence minus that of the best place elsewhere; infinite where none was named."""
    for place, score in list(zip(one.answer.places, one.answer.scores, strict=True))[1:]:
        if one.at is not None:
            elsewhere = main.metres_to(place, *one.at) > _ELSEWHERE * metres
        else:
            elsewhere = main.name_of(place).casefold() != one.expected.casefold()
        if elsewhere:
            return one.confidence - score
    return math.inf


def _unfit(one: Judged, main: KnownMap | None) -> str:
    """Why nothing can be learnt from an answer; empty: something can."""
    if one.why in (FROZEN, UNREADABLE, SWAPPED):
        return one.why
    if one.answer.row is None:
        return 'its image was not recorded'
    return '' if main is not None and _right(one, main) else NO_PLACE


def _right(one: Judged, main: KnownMap) -> tuple[int, ...]:
    """Rows of the map that show the right place: the nearest picture first."""
    if one.nearest is not None:
        number = int(main.places.ids[one.nearest])
        rows = main.places.rows_of(number).tolist()
        return (one.nearest, *(row for row in rows if row != one.nearest))
    return main.rows_named(one.expected) if one.expected else ()

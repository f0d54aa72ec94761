# SPDX-License-Identifier: Apache-2.0
"""Stamps of a table → seconds; size and steps of the numbers tell s, ms, us and ns apart."""

from __future__ import annotations

import numpy as np

UNITS = ((1.0, 's'), (1e-3, 'ms'), (1e-6, 'us'), (1e-9, 'ns'))
# Seconds since 1970 of the years 1979 to 2096; smaller numbers count from another moment.
EARLIEST_S, _LATEST_S = 3e8, 4e9
_LIKELY_S = 1.1e9, 2.2e9  # 2004 to 2039; us of these years could also be ns of 13 to 25 days
FASTEST_S, SLOWEST_S = 1e-3, 10.0  # the median step of a recording
_SLOW_S = 3.0  # the longest step that is usual; beyond, a smaller unit is more likely
_SHARE = (
    0.01  # of the time since a start that a recording lasts; of the years since 1970: 200 days
)
_LARGEST_JUMP = 1e6  # in median steps; a larger jump means that two units are mixed
_ADVICE = 'give seconds, or ms, us or ns since 1970'


def to_seconds(stamps: np.ndarray, finely: bool = False) -> tuple[np.ndarray, str]:
    """float64 (N,) stamps in any unit → seconds, and the unit they were in: s, ms, us or ns.

    `finely`: whether some are written with three decimals or more, as seconds are, even if those
    are zeros.

    In the right unit the stamps are dates of the years 1979 to 2096, and the median step between
    them is that of a recording. For stamps that count from another moment, such as the start of a
    robot, the step alone decides. ValueError where no unit fits, or two do.
    """
    sizes = np.abs(stamps[stamps != 0])
    if not len(sizes):
        return stamps, 's'
    finely = finely or bool((stamps % 1).any())
    unit = _since_1970(stamps, sizes, finely) or _since_start(stamps, sizes, finely)
    factor = next(f for f, name in UNITS if name == unit)
    return (stamps if unit == 's' else stamps * factor), unit


def _fitting(stamps: np.ndarray, sizes: np.ndarray) -> list[str]:
    """The units in which the median step is that of a recording."""
    middle = middle_step(stamps)
    return [
        unit
        for factor, unit in UNITS
        if FASTEST_S <= round(middle * factor, 12) <= SLOWEST_S
        and sizes.max() * factor < _LATEST_S
    ]


def _since_1970(stamps: np.ndarray, sizes: np.ndarray, finely: bool) -> str:
    """The unit in which the stamps are dates; empty where they are not, or only seem to be."""
    found = [
        (factor, unit)
        for factor, unit in UNITS
        if sizes.min() * factor >= EARLIEST_S and sizes.max() * factor < _LATEST_S
    ]
    if not found:
        return ''
    ((factor, unit),) = found
    fitting = _fitting(stamps, sizes)
    is_likely = _LIKELY_S[0] <= sizes.max() * factor <= _LIKELY_S[1]
    if unit not in fitting:
        is_start = _is_since_start(stamps, sizes, unit, fitting)
        if is_start and unit == 's':
            is_start = not (is_likely or finely)
        return '' if is_start else unit
    if unit == 's':
        return unit
    if len(fitting) > 1 and not is_likely:
        raise ValueError(_ambiguous(stamps, fitting))
    return unit


def _is_since_start(stamps: np.ndarray, sizes: np.ndarray, unit: str, fitting: list[str]) -> bool:
    """Whether stamps that look like dates in `unit` count in a smaller unit from a start.

    A unit a million times as small is accepted only where that start was not long before.
    """
    if not fitting:
        return False
    after = [name for _, name in UNITS].index(unit) + 1
    factor, following = UNITS[after]
    is_next = fitting[0] == following and middle_step(stamps) * factor < _SLOW_S
    return is_next or np.ptp(stamps) > _SHARE * sizes.max()


def _since_start(stamps: np.ndarray, sizes: np.ndarray, finely: bool) -> str:
    """The unit of stamps that count from another moment, judged by the step between them."""
    middle = middle_step(stamps)
    may_be_s = sizes.max() < _LATEST_S
    if may_be_s and (middle <= SLOWEST_S or finely):
        return 's'
    fitting = [unit for unit in _fitting(stamps, sizes) if unit != 's']
    mixed = np.diff(np.unique(stamps)).max(initial=0.0) > _LARGEST_JUMP * middle
    if not fitting or mixed:
        if may_be_s:
            return 's'
        raise ValueError(
            f'stamps from {stamps.min():.17g} to {stamps.max():.17g} fit no single unit; {_ADVICE}'
        )
    factor = next(f for f, unit in UNITS if unit == fitting[0])
    if len(fitting) == 1 or middle * factor < _SLOW_S:
        return fitting[0]
    if fitting[0] == 'ms':
        raise ValueError(_ambiguous(stamps, fitting))
    return fitting[1]


def _ambiguous(stamps: np.ndarray, units: list[str]) -> str:
    return (
        f'stamps from {stamps.min():.17g} to {stamps.max():.17g}, {middle_step(stamps):.6g} '
        f'apart, may be {" or ".join(units)}; {_ADVICE}'
    )


def middle_step(stamps: np.ndarray) -> float:
    """The median step from one stamp to the next later one; 0 where all stamps are equal.

    Of an even number of steps it is the lower one of the two in the middle.
    """
    steps = np.sort(np.diff(np.unique(stamps)))
    return float(steps[(len(steps) - 1) // 2]) if len(steps) else 0.0

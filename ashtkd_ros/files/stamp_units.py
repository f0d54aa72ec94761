# SPDX-License-Identifier: Apache-2.0
"""Stamps of a table → seconds: s, ms, us and ns are told apart by their size and their steps."""

from __future__ import annotations

import numpy as np

UNITS = ((1.0, 's'), (1e-3, 'ms'), (1e-6, 'us'), (1e-9, 'ns'))
# Seconds since 1970 of the years 1979 to 2096; below it seconds count from something else.
EARLIEST_S, _LATEST_S = 3e8, 4e9
_LIKELY_S = 1.1e9, 2.2e9  # 2004 to 2039: ns of 13 to 25 days could as well be us of these
FASTEST_S, SLOWEST_S = 1e-3, 10.0  # the middle step of a recording
_SLOW_S = 3.0  # so seldom come images; more seldom, the next smaller unit is the likelier one
_SHARE = (
    0.01  # of the time since a start that a recording lasts; of the years since 1970: 200 days
)
_LARGEST_JUMP = 1e6  # of the middle step; beyond, two units are mixed
_ADVICE = 'give seconds, or ms, us or ns since 1970'


def to_seconds(stamps: np.ndarray) -> tuple[np.ndarray, str]:
    """float64 (N,) stamps in any unit → seconds, and the unit they were in: s, ms, us or ns.

    The unit is the one in which they lie in the years 1979 to 2096, and the middle step between
    them is one of a recording. What counts from another moment, such as the start of a robot, is
    told by the step alone. ValueError where they are of no one unit, or could be of two.
    """
    sizes = np.abs(stamps[stamps != 0])
    if not len(sizes):
        return stamps, 's'
    unit = _since_1970(stamps, sizes) or _since_start(stamps, sizes)
    factor = next(f for f, name in UNITS if name == unit)
    return (stamps if unit == 's' else stamps * factor), unit


def _fitting(stamps: np.ndarray, sizes: np.ndarray) -> list[str]:
    """The units in which the stamps may be those of a recording, by the step."""
    middle = middle_step(stamps)
    return [
        unit
        for factor, unit in UNITS
        if FASTEST_S <= round(middle * factor, 12) <= SLOWEST_S
        and sizes.max() * factor < _LATEST_S
    ]


def _since_1970(stamps: np.ndarray, sizes: np.ndarray) -> str:
    """The unit in which stamps are dates; empty where they are none, or only seem to be."""
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
            is_start = not (is_likely or (stamps % 1).any())
        return '' if is_start else unit
    if unit == 's':
        return unit
    if len(fitting) > 1 and not is_likely:
        raise ValueError(_two(stamps, fitting))
    return unit


def _is_since_start(stamps: np.ndarray, sizes: np.ndarray, unit: str, fitting: list[str]) -> bool:
    """Whether what would be dates of a `unit`, but for its steps, is a smaller one from a start.

    A million times as small, only where that start was not long before.
    """
    if not fitting:
        return False
    after = [name for _, name in UNITS].index(unit) + 1
    factor, following = UNITS[after]
    is_next = fitting[0] == following and middle_step(stamps) * factor < _SLOW_S
    return is_next or np.ptp(stamps) > _SHARE * sizes.max()


def _since_start(stamps: np.ndarray, sizes: np.ndarray) -> str:
    """The unit of stamps that count from another moment, by the step between them."""
    middle = middle_step(stamps)
    may_be_s = sizes.max() < _LATEST_S
    if may_be_s and (middle <= SLOWEST_S or (stamps % 1).any()):
        return 's'
    fitting = [unit for unit in _fitting(stamps, sizes) if unit != 's']
    mixed = np.diff(np.unique(stamps)).max(initial=0.0) > _LARGEST_JUMP * middle
    if not fitting or mixed:
        if may_be_s:
            return 's'
        raise ValueError(
            f'stamps from {stamps.min():.17g} to {stamps.max():.17g} are of no one unit; {_ADVICE}'
        )
    factor = next(f for f, unit in UNITS if unit == fitting[0])
    if len(fitting) == 1 or middle * factor < _SLOW_S:
        return fitting[0]
    if fitting[0] == 'ms':
        raise ValueError(_two(stamps, fitting))
    return fitting[1]


def _two(stamps: np.ndarray, units: list[str]) -> str:
    return (
        f'stamps from {stamps.min():.17g} to {stamps.max():.17g}, {middle_step(stamps):.6g} '
        f'apart, may be {" or ".join(units)}; {_ADVICE}'
    )


def middle_step(stamps: np.ndarray) -> float:
    """The median of the steps from one stamp to the next later one, the lower of two; 0: none."""
    steps = np.sort(np.diff(np.unique(stamps)))
    return float(steps[(len(steps) - 1) // 2]) if len(steps) else 0.0

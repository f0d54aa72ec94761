# SPDX-License-Identifier: Apache-2.0
"""Stamps of a table → seconds: s, ms, us and ns are told apart by their size, for all at once."""

from __future__ import annotations

import numpy as np

_UNITS = ((1.0, 's'), (1e-3, 'ms'), (1e-6, 'us'), (1e-9, 'ns'))
# Seconds since 1970 of the years 1979 to 2096; below it seconds count from something else.
_EARLIEST_S, _LATEST_S = 3e8, 4e9
# Steps between neighbours from which on stamps that begin at 0 are ns or us: 3 ms of a camera.
_STEPS = ((3e6, 1e-9, 'ns'), (3e3, 1e-6, 'us'))
_LARGEST_JUMP = 1e6  # of the middle step; beyond, two units are mixed


def to_seconds(stamps: np.ndarray) -> tuple[np.ndarray, str]:
    """float64 (N,) stamps in any unit → seconds, and the unit they were in: s, ms, us or ns.

    Below 4e9 they are seconds. Above, they are ms, us or ns since 1970 where that makes a year
    from 1979 to 2096; else they count from another moment, and the middle step between them must
    be one of a camera in us or ns. ValueError where they are of no one unit.
    """
    sizes = np.abs(stamps[stamps != 0])
    if not len(sizes) or sizes.max() < _LATEST_S:
        return stamps, 's'
    for factor, unit in _UNITS[1:]:
        if sizes.min() * factor >= _EARLIEST_S and sizes.max() * factor < _LATEST_S:
            return stamps * factor, unit
    middle = middle_step(stamps)
    mixed = np.diff(np.unique(stamps)).max(initial=0.0) > _LARGEST_JUMP * middle
    for least, factor, unit in () if mixed else _STEPS:
        if middle >= least and sizes.max() * factor < _LATEST_S:
            return stamps * factor, unit
    raise ValueError(
        f'stamps from {stamps.min():.17g} to {stamps.max():.17g} are of no one unit; give '
        'seconds, or ms, us or ns since 1970'
    )


def middle_step(stamps: np.ndarray) -> float:
    """The median of the steps from one stamp to the next later one, the lower of two; 0: none."""
    steps = np.sort(np.diff(np.unique(stamps)))
    return float(steps[(len(steps) - 1) // 2]) if len(steps) else 0.0

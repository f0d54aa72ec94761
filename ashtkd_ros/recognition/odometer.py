# SPDX-License-Identifier: Apache-2.0
"""How far a robot has gone between two moments, from its forward speeds."""

from __future__ import annotations

import math
import threading
from collections import deque

_LONGEST_GAP_S = 1.0  # between two speeds; over a longer one nothing is known
_AHEAD_S = 0.3  # how far the last speed is taken to last
_FASTEST_M_S = 50.0
_KEPT = 6000  # speeds, a minute at 100 Hz


class Odometer:
    """Adds up speeds; one thread may add them while another one asks.

    `jumps`: speeds that were no numbers or too high, after which the sum begins anew.
    """

    def __init__(self):
        self.jumps = 0
        self._lock = threading.Lock()
        self._sums: deque[tuple[float, float, float]] = deque(maxlen=_KEPT)  # stamp, speed, metres

    def add(self, stamp_s: float, speed_m_s: float) -> None:
        """The forward speed at a moment, in order of time; negative: backward."""
        with self._lock:
            if not abs(speed_m_s) <= _FASTEST_M_S or not math.isfinite(stamp_s):  # NaN as well
                self.jumps += 1
                self._sums.clear()
                return
            metres = 0.0
            if self._sums:
                last, before, metres = self._sums[-1]
                if not 0 <= stamp_s - last <= _LONGEST_GAP_S:
                    self._sums.clear()
                metres += (stamp_s - last) * (before + speed_m_s) / 2
            self._sums.append((stamp_s, speed_m_s, metres))

    def between(self, start_s: float, end_s: float) -> float | None:
        """Metres forward from one moment to a later one; None where that is not known."""
        with self._lock:
            sums = list(self._sums)
        if not sums or start_s > end_s:
            return None
        ends = [_at(sums, moment) for moment in (start_s, end_s)]
        return None if None in ends else ends[1] - ends[0]


def _at(sums: list[tuple[float, float, float]], moment: float) -> float | None:
    """The sum at a moment, between two speeds as if the speed were the first one's."""
    if not sums[0][0] <= moment <= sums[-1][0] + _AHEAD_S:
        return None
    stamp, speed, metres = next(row for row in reversed(sums) if row[0] <= moment)
    return metres + (moment - stamp) * speed

# SPDX-License-Identifier: Apache-2.0
"""Messages of one topic as they arrive: how often they usually do, and since when none has."""

from __future__ import annotations

import statistics
from collections import deque

_INTERVALS, _FEW, _MANY = 21, 3, 10
FLOOR_S = 1.5  # a machine may stutter for a second
_PATIENCE_S = 10.0  # as long as it is not known how often messages come


class Arrivals:
    """Times are seconds of `Clocks.awake_s`. Stopped: nothing came for 5 usual intervals, and at
    least `floor_s`; `first_s`: nothing came at all for so long, None: then it is never expected.
    """

    def __init__(self, floor_s: float = FLOOR_S, first_s: float | None = None):
        self._floor_s, self._first_s = floor_s, first_s
        self._intervals: deque[float] = deque(maxlen=_INTERVALS)
        self.last: float | None = None
        self.count = 0
        self.stopped = False

    def arrived(self, now: float) -> float:
        """One message; the seconds for which messages had stopped, 0 where they had not."""
        lost = self.silence(now) if self.stopped else 0.0
        if self.last is not None and (not self.stopped or len(self._intervals) >= _MANY):
            self._intervals.append(now - self.last)
        self.last, self.stopped = now, False
        self.count += 1
        return lost

    def resume(self, since: float) -> None:
        """Messages had stopped already, at `since`."""
        self.last, self.stopped = since, True

    def silence(self, now: float) -> float:
        """Seconds since the last message, or since the begin of the watch."""
        return now - (0.0 if self.last is None else self.last)

    def stops(self, now: float) -> bool:
        """Whether messages have stopped: true once, until the next one arrives."""
        limit = self._first_s if self.last is None else self.limit_s
        if limit is None or self.stopped or self.silence(now) <= limit:
            return False
        self.stopped = True
        return True

    @property
    def usual_s(self) -> float | None:
        """The usual interval in seconds, the longest of the first ones; None before the third."""
        if len(self._intervals) < _FEW:
            return None
        return (statistics.median if len(self._intervals) >= _MANY else max)(self._intervals)

    @property
    def limit_s(self) -> float:
        """Longest silence that is none yet."""
        usual = self.usual_s
        return max(_PATIENCE_S if usual is None else 5.0 * usual, self._floor_s)

    @property
    def rate_hz(self) -> float:
        """Messages per second; 0 where they have stopped, or are too few to tell."""
        usual = self.usual_s
        return 0.0 if self.stopped or not usual else 1.0 / usual

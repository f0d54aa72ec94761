# SPDX-License-Identifier: Apache-2.0
"""Limits the number of images per second, by one rule for the node and for evaluations."""

from __future__ import annotations

import math
import time


class RateGate:
    """Admits at most so many images per second, by their stamps; starts again if they go back
    by more than the time between two that are admitted."""

    def __init__(self):
        self._last = -math.inf

    def admits(self, stamp_s: float, max_rate_hz: float) -> bool:
        """Whether to use an image with this stamp in seconds; a stamp of 0 means the time of now.

        `max_rate_hz`: the most images per second; 0: all.
        """
        now = stamp_s or time.monotonic()
        # With a tolerance of 1 %: a camera of exactly this rate keeps it only on average.
        # A step back that is shorter than the period is of two cameras, or of a driver's threads.
        early = bool(max_rate_hz) and abs(now - self._last) < 0.99 / max_rate_hz
        if not early:
            self._last = now
        return not early

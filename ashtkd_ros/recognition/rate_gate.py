# SPDX-License-Identifier: Apache-2.0
"""Which images are too many a second: one rule for the node and for an evaluation."""

from __future__ import annotations

import time


class RateGate:
    """Lets at most so many images a second through, by their stamps; back in time starts anew."""

    def __init__(self):
        self._last = -1.0

    def admits(self, stamp_s: float, max_rate_hz: float) -> bool:
        """Whether an image with this stamp is to be used; a stamp of zero is no time: now is."""
        now = stamp_s or time.monotonic()
        # A hundredth of slack: a camera of just that rate keeps it only on average.
        early = 0.0 <= now - self._last < 0.99 / max_rate_hz if max_rate_hz else False
        if not early:
            self._last = now
        return not early

# SPDX-License-Identifier: Apache-2.0
"""When to say that something does not come: once, and only if that lasts."""

from __future__ import annotations

PATIENCE_S = 5.0


class Patience:
    """Counts by the stamps of the images, so that a recording is played at any speed."""

    def __init__(self):
        self._since: float | None = None  # when it was there, or the first image came
        self._told = False

    def ends(self, stamp_s: float, there: bool) -> bool:
        """Whether it has been missing for `PATIENCE_S`, at the image with this stamp; true once,
        until it has been there again."""
        if there or self._since is None or stamp_s < self._since:
            self._since, self._told = stamp_s, False
        elif stamp_s - self._since > PATIENCE_S and not self._told:
            self._told = True
            return True
        return False

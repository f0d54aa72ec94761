# SPDX-License-Identifier: Apache-2.0
"""Log lines of what the diagnostics say: changes of their level, and waiting for images."""

from __future__ import annotations

import time
from collections.abc import Callable

from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.impl.rcutils_logger import RcutilsLogger

_FIRST_S, _AGAIN_S = 3.0, 60.0
_STEADY_S = 10.0
_NAMES = {
    DiagnosticStatus.OK: 'OK',
    DiagnosticStatus.WARN: 'WARN',
    DiagnosticStatus.ERROR: 'ERROR',
}


class DiagnosticsLog:
    """Logs as few lines as possible."""

    def __init__(self, logger: RcutilsLogger):
        self._logger = logger
        # A node begins unconfigured, which is an ERROR; the reason is logged where it occurs.
        self._level, self._next_s = DiagnosticStatus.ERROR, _FIRST_S
        self._began, self._better_since = False, None

    def report_level(self, level: bytes, text: str) -> None:
        """Log the level of the diagnostics and their message: a worse one at once, a better one
        when it has lasted, so that what comes and goes is one line."""
        if not level < self._level:
            self._better_since = None
        if level == self._level or self._may_pass(level):
            return
        self._level, self._began, self._better_since = level, True, None
        line = f'diagnostics {_NAMES[level]}: {text}'
        # Separate calls: rclpy allows only one severity for each line of code.
        if level == DiagnosticStatus.ERROR:
            self._logger.error(line)
        elif level == DiagnosticStatus.WARN:
            self._logger.warning(line)
        else:
            self._logger.info(line)

    def _may_pass(self, level: bytes) -> bool:
        """Whether a level is better than the last one, and has not lasted yet."""
        if level > self._level or not self._began:
            return False
        now = time.monotonic()
        self._better_since = self._better_since or now
        return now - self._better_since < _STEADY_S

    def report_waiting(self, waited_s: float, topic: str, why: Callable[[], str]) -> None:
        """Log that no image has come for `waited_s` seconds: first after 3 s, then rarely."""
        if waited_s < _FIRST_S:
            self._next_s = _FIRST_S
        if waited_s >= self._next_s:
            self._next_s = max(_AGAIN_S, 2 * self._next_s)
            self._logger.info(f'no image on {topic} for {waited_s:.0f} s: {why()}')

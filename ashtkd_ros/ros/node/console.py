# SPDX-License-Identifier: Apache-2.0
"""Log lines of what the diagnostics say: changes of their level, and waiting for images."""

from __future__ import annotations

from collections.abc import Callable

from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.impl.rcutils_logger import RcutilsLogger

_FIRST_S, _AGAIN_S = 3.0, 60.0
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

    def report_level(self, level: bytes, text: str) -> None:
        """Log the level of the diagnostics and their message, if the level has changed."""
        if level == self._level:
            return
        self._level = level
        line = f'diagnostics {_NAMES[level]}: {text}'
        # Separate calls: rclpy allows only one severity for each line of code.
        if level == DiagnosticStatus.ERROR:
            self._logger.error(line)
        elif level == DiagnosticStatus.WARN:
            self._logger.warning(line)
        else:
            self._logger.info(line)

    def report_waiting(self, waited_s: float, topic: str, why: Callable[[], str]) -> None:
        """Log that no image has come for `waited_s` seconds: first after 3 s, then rarely."""
        if waited_s < _FIRST_S:
            self._next_s = _FIRST_S
        if waited_s >= self._next_s:
            self._next_s = max(_AGAIN_S, 2 * self._next_s)
            self._logger.info(f'no image on {topic} for {waited_s:.0f} s: {why()}')

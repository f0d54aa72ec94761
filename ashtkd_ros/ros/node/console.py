# SPDX-License-Identifier: Apache-2.0
"""What a person at the console must hear: changes of the diagnostics' level, and waiting."""

from __future__ import annotations

from collections.abc import Callable

from diagnostic_msgs.msg import DiagnosticStatus

_FIRST_S, _AGAIN_S = 3.0, 60.0
_NAMES = {
    DiagnosticStatus.OK: 'OK',
    DiagnosticStatus.WARN: 'WARN',
    DiagnosticStatus.ERROR: 'ERROR',
}


class Console:
    """Log lines of a node's diagnostics, as few as tell all."""

    def __init__(self, logger):
        self._logger = logger
        # A node that is not configured yet: what fails then is logged where it fails.
        self._level, self._next_s = DiagnosticStatus.ERROR, _FIRST_S

    def tell(self, level: bytes, text: str) -> None:
        """The level of the diagnostics, with their message: a line where it has changed."""
        if level == self._level:
            return
        self._level = level
        line = f'diagnostics {_NAMES[level]}: {text}'
        # One place a severity: rclpy refuses a line that logs under another one.
        if level == DiagnosticStatus.ERROR:
            self._logger.error(line)
        elif level == DiagnosticStatus.WARN:
            self._logger.warning(line)
        else:
            self._logger.info(line)

    def wait(self, waited_s: float, topic: str, why: Callable[[], str]) -> None:
        """No image for so many seconds: a line after 3 s, then rarely."""
        if waited_s < _FIRST_S:
            self._next_s = _FIRST_S
        if waited_s >= self._next_s:
            self._next_s = max(_AGAIN_S, 2 * self._next_s)
            self._logger.info(f'waiting for images on {topic} for {waited_s:.0f} s: {why()}')

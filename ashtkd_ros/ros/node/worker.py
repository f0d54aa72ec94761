# SPDX-License-Identifier: Apache-2.0
"""A thread that works on the newest message; older ones that wait are dropped."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from ashtkd_ros.ros.threads import start_thread


class Worker:
    """Calls `process(message)` in its own thread; a newer message replaces one that still waits.

    An error of `process` is passed to `on_error`, and the thread goes on.
    """

    def __init__(self, process: Callable[[Any], None], on_error: Callable[[Exception], None]):
        self._process, self._on_error = process, on_error
        self._slot, self._open = None, True
        self._wake = threading.Condition()
        self._thread = start_thread('recogniser', self._run)

    def offer(self, message: Any) -> bool:
        """Hand over a message; False if an older one, or this one after `close`, is dropped."""
        with self._wake:
            if not self._open:
                return False
            fresh = self._slot is None
            self._slot = message
            self._wake.notify()
        return fresh

    def close(self, timeout_s: float = 2.0) -> None:
        """Finish the message in work, drop the one that waits, and end the thread."""
        with self._wake:
            self._open = False
            self._wake.notify()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._slot is not None or not self._open)
                if not self._open:
                    return
                message, self._slot = self._slot, None
            try:
                self._process(message)
            except Exception as error:  # without this thread nothing would be answered
                self._on_error(error)

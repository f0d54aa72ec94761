# SPDX-License-Identifier: Apache-2.0
"""One thread behind a mailbox with one slot: the newest message wins."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from ashtkd_ros.ros.threads import start_thread


class Worker:
    """Calls `process(message)` off the caller's thread; a message not yet begun is replaced.

    What `process` raises goes to `failed`; the thread lives on.
    """

    def __init__(self, process: Callable[[Any], None], failed: Callable[[Exception], None]):
        self._process, self._failed = process, failed
        self._slot, self._open = None, True
        self._wake = threading.Condition()
        self._thread = start_thread('recogniser', self._run)

    def offer(self, message: Any) -> bool:
        """Hand over a message; False when an older one was dropped for it, or this one is late."""
        with self._wake:
            if not self._open:
                return False
            fresh = self._slot is None
            self._slot = message
            self._wake.notify()
        return fresh

    def close(self, timeout_s: float = 2.0) -> None:
        """Finish the message in hand, forget the one in the slot, and end the thread."""
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
            except Exception as error:  # a thread that dies in silence would leave a deaf node
                self._failed(error)

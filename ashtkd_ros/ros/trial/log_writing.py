# SPDX-License-Identifier: Apache-2.0
"""Lines of a trial's logs brought to the disk by a thread, for a disk may stall or be full."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable

from ashtkd_ros.errors import VprError
from ashtkd_ros.ros.threads import start_thread
from ashtkd_ros.trials.trial_log import LogEntry, TrialLog

_MOST = 10_000  # lines that wait
_STALLED_S = 3.0


class LogWriter:
    """Writes lines in their order; `done` is called in its thread once a line is on the disk."""

    def __init__(self):
        self._lines: queue.Queue = queue.Queue(_MOST)
        self._fault, self._busy_since = '', 0.0
        self._thread = start_thread('log writer', self._run)

    def write(
        self, log: TrialLog, entry: LogEntry, done: Callable[[], None] = lambda: None
    ) -> threading.Event:
        """Bring a line to the disk, soon; the event is set once it is there."""
        written = threading.Event()
        try:
            self._lines.put_nowait((log, entry, done, written))
        except queue.Full:
            self._fault = 'too many lines wait for the disk; check the disk'
        return written

    def _run(self) -> None:
        while (line := self._lines.get()) is not None:
            log, entry, done, written = line
            self._busy_since = time.monotonic()
            try:
                log.append(entry)
                self._fault = ''
                written.set()
                with contextlib.suppress(Exception):  # the middleware may be closed already
                    done()
            except VprError as error:
                self._fault = str(error)
            self._busy_since = 0.0

    @property
    def fault(self) -> str:
        """Why lines are not on the disk; empty where they are."""
        since = self._busy_since
        if since and time.monotonic() > since + _STALLED_S:
            return f'the disk has not answered for {time.monotonic() - since:.0f} s'
        return self._fault

    def close(self, seconds: float) -> None:
        """Write what waits, for so many seconds at most."""
        self._lines.put(None)
        self._thread.join(seconds)

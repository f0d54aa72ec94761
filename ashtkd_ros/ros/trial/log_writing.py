# SPDX-License-Identifier: Apache-2.0
"""Lines of a trial's logs brought to the disk by a thread, for a disk may stall or be full."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from ashtkd_ros.errors import VprError
from ashtkd_ros.ros.threads import start_thread
from ashtkd_ros.trials.trial_log import LogEntry, TrialLog

_MOST = 10_000  # lines that wait
_TOO_MANY = 'too many lines wait for the disk; check the disk'
_STALLED_S, _AGAIN_S = 3.0, 1.0


class _Line(NamedTuple):
    log: TrialLog
    entry: LogEntry
    done: Callable[[], None]
    written: threading.Event


class LogWriter:
    """Writes the lines of each log in their order, those that the disk refuses as soon as it takes
    them; `done` is called in its thread once a line is on the disk."""

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
            self._lines.put_nowait(_Line(log, entry, done, written))
        except queue.Full:
            self._fault = _TOO_MANY
        return written

    def _run(self) -> None:
        refused: list[_Line] = []
        is_open = True
        while is_open:
            lines = refused
            with contextlib.suppress(queue.Empty):
                line = self._lines.get(timeout=_AGAIN_S if refused else None)
                is_open = line is not None
                lines = [*refused, line] if is_open else refused
            refused = self._append_all(lines)
            if len(refused) > _MOST:
                refused.pop()
                self._fault = _TOO_MANY
            self._fault = self._fault if refused else ''

    def _append_all(self, lines: Sequence[_Line]) -> list[_Line]:
        """Write lines down; those that the disk refuses are returned."""
        refused, logs = [], set()
        for line in lines:
            if line.log in logs or not self._append(line):
                refused.append(line)
                logs.add(line.log)
        return refused

    def _append(self, line: _Line) -> bool:
        self._busy_since = time.monotonic()
        try:
            line.log.append(line.entry)
        except VprError as error:
            self._fault = str(error)
            return False
        finally:
            self._busy_since = 0.0
        line.written.set()
        with contextlib.suppress(Exception):  # the middleware may be closed already
            line.done()
        return True

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

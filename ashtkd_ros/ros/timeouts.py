# SPDX-License-Identifier: Apache-2.0
"""Work that may never return, such as reading a stalled disk, in a thread with a time limit."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from ashtkd_ros.errors import VprError
from ashtkd_ros.ros.threads import start_thread

_LOOK_S = 0.05
_Result = TypeVar('_Result')


class Task(Generic[_Result]):
    """Runs `work()` in another thread, from now on; it cannot be stopped, only abandoned.

    `start`: has a function called in such a thread, by default in one of its own.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[], _Result],
        start: Callable[[str, Callable[[], None]], object] = start_thread,
    ):
        self._work, self._over = work, threading.Event()
        self._result: _Result | None = None
        self._error: Exception | None = None
        self.started = time.monotonic()
        start(name, self._run)

    def _run(self) -> None:
        try:
            self._result = self._work()
        except Exception as error:  # raised by `result`
            self._error = error
        except BaseException as error:  # it ends this thread, but not the caller of `result`
            self._error = RuntimeError(f'{type(error).__name__} {error}')
        self._over.set()

    @property
    def over(self) -> bool:
        """Whether `work` has returned or raised."""
        return self._over.is_set()

    def wait(self, seconds: float, alive: Callable[[], bool]) -> bool:
        """Wait for `work`, at most `seconds` and as long as `alive()`; whether it is over."""
        end = time.monotonic() + seconds
        while alive() and not self.over and time.monotonic() < end:
            self._over.wait(min(_LOOK_S, max(0.0, end - time.monotonic())))
        return self.over

    def result(self) -> _Result:
        """What `work` returned, or raise what it raised; only valid when it is over."""
        if self._error is not None:
            raise self._error
        return self._result


class DiskReader:
    """Reads from disk, one file or folder at a time, each within `seconds()`.

    `alive()` tells whether to go on waiting. VprError if a read takes longer, or if an earlier
    read has not returned within that time.
    """

    def __init__(self, seconds: Callable[[], float], alive: Callable[[], bool]):
        self._seconds, self._alive = seconds, alive
        self._previous: tuple[Task, str] | None = None
        self._lock = threading.Lock()

    def read(self, what: str, work: Callable[[], _Result]) -> _Result:
        """Return `work()`, which reads `what`."""
        seconds = self._seconds()
        while not self._lock.acquire(timeout=_LOOK_S):
            self._check_alive(what)
        try:
            self._wait_for_previous(seconds)
            task = Task('reader', work)
            self._previous = task, what
        finally:
            self._lock.release()
        if task.wait(seconds, self._alive):
            return task.result()
        self._check_alive(what)
        raise VprError(
            f'{what}: could not be read within {seconds:g} s (load_timeout_s); check the disk'
        )

    def _check_alive(self, what: str) -> None:
        if not self._alive():
            raise VprError(f'{what}: the node was told to end while it read this')

    def _wait_for_previous(self, seconds: float) -> None:
        if self._previous is None:
            return
        task, what = self._previous
        waited = time.monotonic() - task.started
        if not task.wait(max(2 * _LOOK_S, seconds - waited), self._alive):
            self._check_alive(what)
            waited = time.monotonic() - task.started
            raise VprError(f'{what}: the disk has not answered for {waited:.0f} s; check the disk')


class LatestResult(Generic[_Result]):
    """The newest result of `work`, which is called again and again and hardly waited for."""

    def __init__(self, name: str, work: Callable[[], _Result], first: _Result):
        self._name, self._work, self._last = name, work, first
        self._task: Task | None = None

    @property
    def waiting_s(self) -> float:
        """Seconds since the call of `work` that has not returned; 0 if none is running."""
        running = self._task is not None and not self._task.over
        return time.monotonic() - self._task.started if running else 0.0

    def get(self) -> _Result:
        """The newest result; calls `work` again if no call is running."""
        if self._task is None:
            self._task = Task(self._name, self._work)
        if self._task.wait(_LOOK_S, lambda: True):
            self._last, self._task = self._task.result(), None
        return self._last

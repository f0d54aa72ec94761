# SPDX-License-Identifier: Apache-2.0
"""What may take for ever, a stalled disk say, is waited for in a thread and not too long."""

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
    """`work()` in a thread of its own, begun at once; it cannot be stopped, only left alone."""

    def __init__(self, name: str, work: Callable[[], _Result]):
        self._work, self._over = work, threading.Event()
        self._result: _Result | None = None
        self._error: Exception | None = None
        self.started = time.monotonic()
        start_thread(name, self._run)

    def _run(self) -> None:
        try:
            self._result = self._work()
        except Exception as error:  # raised where it is waited for
            self._error = error
        except BaseException as error:  # it is this thread's end, and not the waiter's
            self._error = RuntimeError(f'{type(error).__name__} {error}')
        self._over.set()

    @property
    def over(self) -> bool:
        """Whether it has returned or raised."""
        return self._over.is_set()

    def wait(self, seconds: float, alive: Callable[[], bool]) -> bool:
        """Wait until it is over, `seconds` have passed, or `alive` is not; whether it is over."""
        end = time.monotonic() + seconds
        while alive() and not self.over and time.monotonic() < end:
            self._over.wait(min(_LOOK_S, max(0.0, end - time.monotonic())))
        return self.over

    def result(self) -> _Result:
        """What it returned or raised, once it is over."""
        if self._error is not None:
            raise self._error
        return self._result


class Reader:
    """Reads from disks, one thing at a time, within `seconds()`; `alive`: whether to go on.

    VprError where it takes longer, or an earlier reading has not come back in that time.
    """

    def __init__(self, seconds: Callable[[], float], alive: Callable[[], bool]):
        self._seconds, self._alive = seconds, alive
        self._last: tuple[Task, str] | None = None
        self._lock = threading.Lock()

    def read(self, what: str, work: Callable[[], _Result]) -> _Result:
        """`work()`, which reads `what`."""
        seconds = self._seconds()
        while not self._lock.acquire(timeout=_LOOK_S):
            self._check_alive(what)
        try:
            self._wait_for_the_last(seconds)
            task = Task('reader', work)
            self._last = task, what
        finally:
            self._lock.release()
        if task.wait(seconds, self._alive):
            return task.result()
        self._check_alive(what)
        raise VprError(
            f'{what}: could not be read within {seconds:g} s (load_timeout_s); look at the disk'
        )

    def _check_alive(self, what: str) -> None:
        if not self._alive():
            raise VprError(f'{what}: was being read when the node was told to end')

    def _wait_for_the_last(self, seconds: float) -> None:
        if self._last is None:
            return
        task, what = self._last
        waited = time.monotonic() - task.started
        if not task.wait(max(2 * _LOOK_S, seconds - waited), self._alive):
            self._check_alive(what)
            waited = time.monotonic() - task.started
            raise VprError(
                f'{what}: the disk has not answered for {waited:.0f} s; look at the disk'
            )


class Latest(Generic[_Result]):
    """The result of `work`, asked again and again and hardly waited for."""

    def __init__(self, name: str, work: Callable[[], _Result], first: _Result):
        self._name, self._work, self._last = name, work, first
        self._task: Task | None = None

    @property
    def waiting_s(self) -> float:
        """Seconds since the call that has not come back; 0 where none is out."""
        out = self._task is not None and not self._task.over
        return time.monotonic() - self._task.started if out else 0.0

    def ask(self) -> _Result:
        """The newest result there is."""
        if self._task is None:
            self._task = Task(self._name, self._work)
        if self._task.wait(_LOOK_S, lambda: True):
            self._last, self._task = self._task.result(), None
        return self._last

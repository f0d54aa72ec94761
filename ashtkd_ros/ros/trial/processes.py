# SPDX-License-Identifier: Apache-2.0
"""The processes of a trial: each starts again when it dies, and is known by its environment."""

from __future__ import annotations

import contextlib
import os
import signal
import stat
import subprocess
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from ashtkd_ros.text import reason_of

# In the environment of each process of a trial: the trial's folder, its own name, and the number
# of the process that started it.
FOLDER, NAME, SUPERVISOR = 'ASHTKD_TRIAL', 'ASHTKD_TRIAL_PROCESS', 'ASHTKD_TRIAL_SUPERVISOR'
_DOMAIN = 'ROS_DOMAIN_ID'
MOST_STARTS = 20  # again, of one process that never runs for long
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 30.0
_SETTLED_S, _LONG_S = 2.0, 60.0  # of life: started again for good; the next pause is short again
_LOOK_S = 0.05


class Child:
    """A process that is kept running, in a session of its own: a Ctrl-C is for its parent alone.

    Nothing ends it with its parent: a trial goes on whatever dies.
    """

    def __init__(self, name: str, command: Sequence[str], folder: Path):
        self.name, self._command, self._folder = name, command, folder
        self._process: subprocess.Popen | None = None
        self._started = self._died = self._gone = 0.0
        self._pause, self.starts, self._is_back = _FIRST_PAUSE_S, 0, True

    @property
    def pid(self) -> int:
        """Number of the process; 0 while it does not run."""
        running = self._process is not None and self._process.returncode is None
        return self._process.pid if running else 0

    def start(self) -> str:
        """Start it; why it cannot be started, empty where it was."""
        variables = {FOLDER: str(self._folder), NAME: self.name, SUPERVISOR: str(os.getpid())}
        self._started = time.monotonic()
        try:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                env={**os.environ, **variables},
                start_new_session=True,
            )
        except OSError as error:  # no memory, no more processes
            self._process, self._died = None, self._started
            return reason_of(error)
        return ''

    def died(self) -> int | None:
        """Exit status (negative: the signal) where it has ended since the last call, else None."""
        if self._process is None or self._process.poll() is None:
            return None
        status, self._process = self._process.returncode, None
        self._died = time.monotonic()
        self._gone = self._died if self._is_back else self._gone
        if self._died - self._started > _LONG_S:
            self._pause, self.starts = _FIRST_PAUSE_S, 0
        return status

    def start_again(self) -> str:
        """Start it again when it is time to, with longer and longer pauses; as `start`."""
        due = self._process is None and time.monotonic() > self._died + self._pause
        if not due or self.given_up:
            return ''
        self.starts, self._is_back = self.starts + 1, False
        self._pause = min(2 * self._pause, _LONGEST_PAUSE_S)
        return self.start()

    @property
    def given_up(self) -> bool:
        """Whether it is not started any more."""
        return self.starts >= MOST_STARTS

    def back(self) -> float:
        """Once, when it runs again for good: seconds that it was away; else 0."""
        lives = self._process is not None and time.monotonic() > self._started + _SETTLED_S
        if self._is_back or not lives:
            return 0.0
        self._is_back = True
        return self._started - self._gone

    def ask_to_end(self) -> None:
        """Send SIGTERM: after a SIGINT, a program that has just begun would print a traceback."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)

    def wait(self, seconds: float) -> bool:
        """Wait for its end, and kill it after so many seconds; whether it ended by itself."""
        if self._process is None:
            return True
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
            return True
        self._process.kill()
        self._process.wait()
        return False


def never_wait_for_output() -> None:
    """Have this process and its children drop what a terminal or pipe does not take at once.

    Else Ctrl-S, or a connection that hangs, would stop them all. Whoever else has the terminal
    still waits for it, so it is opened anew.
    """
    for handle in (1, 2):
        with contextlib.suppress(OSError):  # closed, or a socket
            mode = os.fstat(handle).st_mode
            if not (stat.S_ISFIFO(mode) or stat.S_ISCHR(mode)):
                continue
            flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY
            opened = os.open(f'/proc/self/fd/{handle}', flags)
            os.dup2(opened, handle)
            os.close(opened)


def running(folder: Path) -> dict[str, int]:
    """Name → number of each process of a trial that runs on this machine, of this user."""
    found, wanted = {}, os.path.realpath(folder)
    for pid, variables in _environments():
        if os.path.realpath(variables.get(FOLDER, '/')) == wanted and NAME in variables:
            found[variables[NAME]] = pid
    return found


def other_trials(folder: Path) -> list[str]:
    """Folders of the other trials that run on this machine, of this user and ROS domain."""
    domain, own = os.environ.get(_DOMAIN), os.path.realpath(folder)
    others = {
        os.path.realpath(variables[FOLDER])
        for _, variables in _environments()
        if FOLDER in variables and NAME in variables and variables.get(_DOMAIN) == domain
    }
    return sorted(others - {own})


def supervisor_of(folder: Path) -> int:
    """Number of the vpr_trial that keeps a trial running; 0 where it is gone."""
    children = set(running(folder).values())
    for pid, variables in _environments():
        parent = variables.get(SUPERVISOR, '')
        if pid in children and parent.isdecimal() and int(parent) == _parent_of(pid):
            return int(parent)
    return 0


def end_all(pids: Iterable[int], seconds: float) -> list[int]:
    """Ask processes to end, and kill those that need longer; returns those that were killed."""
    pids, end = list(pids), time.monotonic() + seconds
    for pid in pids:
        _send(pid, signal.SIGTERM)
    while any(map(_lives, pids)) and time.monotonic() < end:
        time.sleep(_LOOK_S)
    left = [pid for pid in pids if _lives(pid)]
    for pid in left:
        _send(pid, signal.SIGKILL)
    return left


def end_child(pid: int) -> None:
    """Ask a process that this one has started to end, if it has not ended yet."""
    if _parent_of(pid) == os.getpid():
        _send(pid, signal.SIGTERM)


def _send(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def _lives(pid: int) -> bool:
    return _status(pid, 'State').partition(' ')[0] not in ('', 'Z', 'X')


def _parent_of(pid: int) -> int:
    return int(_status(pid, 'PPid') or 0)


def _status(pid: int, key: str) -> str:
    with contextlib.suppress(OSError):
        for line in Path(f'/proc/{pid}/status').read_text().splitlines():
            if line.startswith(f'{key}:'):
                return line.partition(':')[2].strip()
    return ''


def _environments() -> Iterable[tuple[int, dict[str, str]]]:
    for folder in Path('/proc').iterdir():
        if not folder.name.isdecimal():
            continue
        try:
            words = (folder / 'environ').read_bytes().decode(errors='surrogateescape').split('\0')
        except OSError:  # of another user, or gone
            continue
        yield int(folder.name), dict(w.partition('=')[::2] for w in words if '=' in w)

# SPDX-License-Identifier: Apache-2.0
"""A process that is started for a while, and ends with the code that started it."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from ashtkd_ros.errors import VprError

# A program that takes its parent's number and a command, and becomes the command. The kernel sends
# it SIGTERM when its parent is gone. subprocess's preexec_fn would do, but not beside threads.
_FOLLOWER = """
import ctypes, os, signal, sys
PR_SET_PDEATHSIG = 1
parent, command = int(sys.argv[1]), sys.argv[2:]
for number in (signal.SIGPIPE, signal.SIGXFSZ):  # which Python ignores, and the command would too
    signal.signal(number, signal.SIG_DFL)
if hasattr(libc := ctypes.CDLL(None), 'prctl'):
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
if os.getppid() != parent:  # it was gone before the kernel was asked
    sys.exit('the process that started this has ended')
try:
    os.execvp(command[0], command)
except OSError as error:
    sys.exit(f'error: {command[0]}: {error.strerror}')
"""
# How a line begins that rcl logs, or a command of ours ends with.
_PREFIX = re.compile(r'^error: |^\[\w+\] \[[\d.]+\] \[[^]]*\]: ')


@dataclass(frozen=True)
class ChildProcess:
    """A running process; `output` takes what it prints."""

    name: str
    process: subprocess.Popen
    output: BinaryIO

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self.process.pid

    @property
    def has_ended(self) -> bool:
        """Whether the process has ended, for whatever reason."""
        return self.process.poll() is not None

    def lines(self) -> list[str]:
        """What the process has printed so far, or only its standard error; see `child_process`."""
        handle = self.output.fileno()  # its position is also where the process writes
        text = os.pread(handle, os.fstat(handle).st_size, 0)
        return text.decode(errors='replace').strip().splitlines()

    def check(self) -> None:
        """VprError with the exit status and the last printed line where the process has ended."""
        if self.has_ended:
            raise self.failure()

    def failure(self) -> VprError:
        """The error that tells how the process, which has ended, failed."""
        lines = self.lines() or ['it printed nothing; the system may have killed it']
        reason = _PREFIX.sub('', lines[-1])
        return VprError(f'{self.name} ended with status {self.process.returncode}: {reason}')

    def end(self, seconds: float) -> None:
        """Send SIGINT, and kill the process where it has not ended after so many seconds."""
        if not self.has_ended:
            self.process.send_signal(signal.SIGINT)
        end = time.monotonic() + seconds
        while not self.has_ended and time.monotonic() < end:
            # A second Ctrl-C, or that of a launch, must not leave the process behind.
            with contextlib.suppress(KeyboardInterrupt, subprocess.TimeoutExpired):
                self.process.wait(max(0.0, end - time.monotonic()))
        if not self.has_ended:
            self.process.kill()
            self.process.wait()


@contextlib.contextmanager
def child_process(
    name: str, command: list[str], shows_output: bool = False, end_s: float = 5.0
) -> Iterator[ChildProcess]:
    """Run a command while the body runs; `name` is what errors call it.

    `shows_output`: its standard output goes where ours goes, only its standard error is kept.
    After the body the process is told to end, and killed where it needs longer than `end_s`. It
    gets SIGTERM when this process, or the thread that calls, is killed.
    """
    follower = [sys.executable, '-I', '-S', '-c', _FOLLOWER, str(os.getpid())]
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            [*follower, *command],
            stdin=subprocess.DEVNULL,
            stdout=None if shows_output else output,
            stderr=output,
        )
        child = ChildProcess(name, process, output)
        try:
            yield child
        finally:
            child.end(end_s)

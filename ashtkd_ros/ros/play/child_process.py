# SPDX-License-Identifier: Apache-2.0
"""A process that is started for a while, and ends with the code that started it."""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from ashtkd_ros.errors import VprError

_END_S = 5.0
# How a line begins that rcl logs, or a command of ours ends with.
_PREFIX = re.compile(r'^error: |^\[\w+\] \[[\d.]+\] \[[^]]*\]: ')


@dataclass(frozen=True)
class ChildProcess:
    """A running process; `output` takes what it prints, which is read only when it fails."""

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

    def check(self) -> None:
        """VprError with the exit status and the last printed line where the process has ended."""
        if self.has_ended:
            raise self.failure()

    def failure(self) -> VprError:
        """The error that tells how the process, which has ended, failed."""
        self.output.seek(0)
        lines = self.output.read().decode(errors='replace').strip().splitlines()
        last = lines[-1] if lines else 'it printed nothing; the system may have killed it'
        reason = _PREFIX.sub('', last)
        return VprError(f'{self.name} ended with status {self.process.returncode}: {reason}')


@contextlib.contextmanager
def child_process(name: str, command: list[str]) -> Iterator[ChildProcess]:
    """Run a command while the body runs; `name` is what errors call it.

    After the body the process gets SIGINT, and is killed where it has not ended 5 s later.
    """
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            yield ChildProcess(name, process, output)
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
            try:
                process.wait(_END_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

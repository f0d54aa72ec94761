# SPDX-License-Identifier: Apache-2.0
"""The simulated robot as a process of its own, told what to do by its standard input."""

from __future__ import annotations

import contextlib
import select
import subprocess
import sys
from collections.abc import Iterator, Sequence

from ashtkd_ros.errors import VprError

READY = 'ready'  # what the robot prints when all its topics are there
_START_S, _END_S = 60.0, 20.0


class RobotProcess:
    """A robot that runs."""

    def __init__(self, process: subprocess.Popen):
        self.process = process

    def tell(self, line: str) -> None:
        """Send a command; VprError where the robot has ended."""
        try:
            self.process.stdin.write(f'{line}\n')
            self.process.stdin.flush()
        except OSError as error:
            raise VprError('the simulated robot has ended, see above') from error

    def go(self) -> None:
        """Start the drive."""
        self.tell('go')

    def fault(self, kind: str, seconds: float) -> None:
        """Give its sensors a fault for so many seconds."""
        self.tell(f'fault {kind} {seconds}')


@contextlib.contextmanager
def robot_process(arguments: Sequence[str]) -> Iterator[RobotProcess]:
    """A robot while the body runs, started with these arguments, all its topics there.

    It ends when its input does, and so with this process, however that ends.
    """
    command = [sys.executable, '-m', 'tools.trial.robot', *arguments]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        try:
            heard, _, _ = select.select([process.stdout], [], [], _START_S)
            if not heard or process.stdout.readline().strip() != READY:
                raise VprError('the simulated robot did not start, see above')
            yield RobotProcess(process)
        finally:
            with contextlib.suppress(OSError):
                process.stdin.close()
            try:
                process.wait(_END_S)
            except subprocess.TimeoutExpired:
                process.kill()

# SPDX-License-Identifier: Apache-2.0
"""A program in a terminal of its own, and what its operator sees there."""

from __future__ import annotations

import fcntl
import os
import re
import select
import struct
import subprocess
import sys
import termios
from collections.abc import Mapping
from pathlib import Path

from ros_helpers import PATIENCE_S, environment

# Makes standard input the terminal that controls the process, and becomes the command.
_IN_TERMINAL = (
    'import fcntl, os, sys, termios; os.setsid(); '
    'fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execvp(sys.argv[1], sys.argv[1:])'
)
_CODE = re.compile(r'\x1b\[([0-9;?]*)([A-Za-z])|\x1b[=>]')
NORMAL, OWN = 'normal', 'own'  # screens of a terminal


class Terminal:
    """A terminal with a program in it.

    `raw`: all that was written; `screen`: NORMAL, or OWN where the program has a screen of its
    own; `cursor`: whether it can be seen.
    """

    def __init__(
        self,
        folder: Path,
        module: str,
        *arguments: object,
        size: tuple[int, int] = (80, 24),
        variables: Mapping[str, str] | None = None,
    ):
        folder.mkdir(parents=True, exist_ok=True)
        self.operator, self._program = os.openpty()
        self.raw, self.screen, self.cursor = '', NORMAL, True
        self._row = self._column = 0
        self.resize(*size)
        self.before = termios.tcgetattr(self._program)
        command = [sys.executable, '-c', _IN_TERMINAL, sys.executable, '-m', module]
        self.process = subprocess.Popen(
            [*command, *map(str, arguments)],
            stdin=self._program,
            stdout=self._program,
            stderr=self._program,
            cwd=folder,
            env={**environment(folder / 'log'), 'TERM': 'xterm-256color', **(variables or {})},
        )

    def resize(self, width: int, height: int) -> None:
        """As when a window is pulled larger."""
        self.size = width, height
        size = struct.pack('HHHH', height, width, 0, 0)
        fcntl.ioctl(self._program, termios.TIOCSWINSZ, size)
        self._clear()

    def type(self, keys: str) -> None:
        os.write(self.operator, keys.encode())

    def look(self, seconds: float = 0.1) -> None:
        """Take in what has been written."""
        while select.select([self.operator], [], [], seconds)[0]:
            try:
                text = os.read(self.operator, 65536).decode(errors='replace')
            except OSError:  # the program has gone, and with it its end of the terminal
                return
            self.raw += text
            self._show(text)
            seconds = 0.0

    @property
    def text(self) -> str:
        """What can be seen."""
        return '\n'.join(''.join(row).rstrip() for row in self._cells)

    @property
    def is_as_before(self) -> bool:
        """Whether the terminal is as it was when the program began."""
        modes = termios.tcgetattr(self._program) == self.before
        return modes and self.screen == NORMAL and self.cursor

    def wait(self) -> int:
        """Exit status."""
        while self.process.poll() is None:
            self.look(0.1)
        self.look()
        return self.process.wait(PATIENCE_S)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.operator)
        os.close(self._program)

    def _clear(self) -> None:
        width, height = self.size
        self._cells = [[' '] * width for _ in range(height)]

    def _show(self, text: str) -> None:
        at = 0
        while at < len(text):
            if code := _CODE.match(text, at):
                at = code.end()
                self._obey(code[1] or '', code[2] or '')
            else:
                self._put(text[at])
                at += 1

    def _obey(self, numbers: str, letter: str) -> None:
        if letter == 'H':
            row, _, column = numbers.partition(';')
            self._row, self._column = int(row or 1) - 1, int(column or 1) - 1
        elif letter == 'J':
            self._clear()
        elif numbers == '?1049':
            self.screen = OWN if letter == 'h' else NORMAL
        elif numbers == '?25':
            self.cursor = letter == 'h'

    def _put(self, character: str) -> None:
        width, height = self.size
        if character == '\n':
            self._row += 1
        elif character == '\r':
            self._column = 0
        elif character >= ' ' and self._row < height and self._column < width:
            self._cells[self._row][self._column] = character
            self._column += 1

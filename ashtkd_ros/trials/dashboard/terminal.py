# SPDX-License-Identifier: Apache-2.0
"""The terminal of the dashboard: keys without Enter, a screen of its own, and all put back."""

from __future__ import annotations

import codecs
import contextlib
import os
import re
import select
import sys
import tempfile
import termios
import time
import tty
from collections.abc import Iterator

from rich.console import Console, RenderableType
from rich.control import Control
from rich.segment import Segment, Segments

from ashtkd_ros.text import one_line

_CHUNK = 4096  # bytes
_LOCAL, _INPUT, _CHARACTERS = 3, 0, 6  # of what tcgetattr returns
_ANEW = 30  # frames after which every line is written again, whatever else has been there
_TOLD = 20  # lines of errors
_ASCII = str.maketrans('█·…°', '#.~ ')
_WIDE = re.compile(r'[^\x00-\x7f]')


class Keyboard:
    """A terminal's input, read without waiting; nothing comes without a terminal, or after its
    end."""

    def __init__(self, handle: int | None):
        self._handle = handle
        self._decoder = codecs.getincrementaldecoder('utf-8')('replace')

    def read(self, seconds: float) -> str:
        """What has been typed, within this time; empty if nothing."""
        if self._handle is None:
            time.sleep(seconds)
            return ''
        if not select.select([self._handle], [], [], seconds)[0]:
            return ''
        try:
            data = os.read(self._handle, _CHUNK)
        except OSError:  # the terminal is gone
            data = b''
        if not data:
            self._handle = None
        return self._decoder.decode(data)


@contextlib.contextmanager
def single_keys(handle: int) -> Iterator[None]:
    """Keys come one by one and are not shown; Ctrl-C ends, Ctrl-S and Ctrl-Z do nothing."""
    before = termios.tcgetattr(handle)
    try:
        tty.setcbreak(handle, termios.TCSANOW)
        mode = termios.tcgetattr(handle)
        mode[_INPUT] &= ~termios.IXON
        mode[_CHARACTERS][termios.VSUSP] = b'\0'
        termios.tcsetattr(handle, termios.TCSANOW, mode)
        yield
    finally:
        with contextlib.suppress(termios.error):  # the terminal is gone
            termios.tcsetattr(handle, termios.TCSANOW, before)


@contextlib.contextmanager
def errors_afterwards() -> Iterator[None]:
    """What libraries print as errors on this terminal is printed when the screen is left."""
    if not os.isatty(2):
        yield
        return
    sys.stderr.flush()
    with tempfile.TemporaryFile() as kept:
        screen = os.dup(2)
        os.dup2(kept.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(screen, 2)
            os.close(screen)
            kept.seek(0)
            for line in kept.read().decode(errors='replace').splitlines()[-_TOLD:]:
                print(one_line(line), file=sys.stderr)


class Screen:
    """Draws frames; only the lines that have changed are written, so that nothing flickers."""

    def __init__(self, console: Console):
        self._console = console
        self._lines: list[list[Segment]] = []
        self._size, self._frames = (0, 0), 0
        self.ascii_only = console.options.ascii_only

    @property
    def size(self) -> tuple[int, int]:
        """Columns and rows."""
        try:
            columns, rows = os.get_terminal_size(self._console.file.fileno())
        except OSError:  # the terminal is gone
            columns = rows = 0
        return columns or 80, rows or 24  # a serial line has no size

    def draw(self, frame: RenderableType, size: tuple[int, int], bell: bool = False) -> None:
        """Show a frame that was made for this size."""
        console, (width, height) = self._console, size
        if not select.select([], [console.file], [], 0)[1]:
            return  # the terminal does not take more; the next frame will do
        options = console.options.update(width=width, height=height)
        lines = console.render_lines(frame, options, pad=True)[:height]
        lines += [[Segment(' ' * width)]] * (height - len(lines))
        if self.ascii_only:
            lines = [[s._replace(text=_in_ascii(s.text)) for s in line] for line in lines]
        written: list[Segment] = [Control.bell().segment] if bell else []
        if size != self._size:
            written.append(Control.clear().segment)
        if size != self._size or self._frames % _ANEW == 0:
            self._lines = []
        self._frames, self._size = self._frames + 1, size
        for row, line in enumerate(lines):
            if row >= len(self._lines) or line != self._lines[row]:
                written += [Control.move_to(0, row).segment, *line]
        self._lines = lines
        if written:
            console.print(Segments(written), end='', crop=False)


def _in_ascii(text: str) -> str:
    return _WIDE.sub('?', text.translate(_ASCII))

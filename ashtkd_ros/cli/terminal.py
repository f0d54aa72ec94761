# SPDX-License-Identifier: Apache-2.0
"""What commands print: each text as one line, with control characters escaped."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2

from ashtkd_ros.text import one_line, reason_of

DEBUG = 'ASHTKD_DEBUG'
_LONGEST = 2000  # characters of a line
_SILENT = 0  # level of OpenCV's log


def _cut(text: str) -> str:
    text = one_line(text)
    return text if len(text) <= _LONGEST else f'{text[:_LONGEST]}…'


def print_lines(*lines: str) -> None:
    """Print each text as one line, and flush."""
    for line in lines:
        print(_cut(line))
    sys.stdout.flush()


def print_notes(*lines: str) -> None:
    """Print each text as one line on standard error, as a note to the user."""
    for line in lines:
        print(f'note: {_cut(line)}', file=sys.stderr)


def print_error(text: str) -> None:
    """Print in one line why the command fails, after the traceback if ASHTKD_DEBUG is set.

    If the terminal or pipe is closed, nothing happens.
    """
    with contextlib.suppress(OSError, ValueError):
        if is_debugging() and sys.exc_info()[0] is not None:
            traceback.print_exc()
        print(f'error: {_cut(text)}', file=sys.stderr)


def unforeseen_error_line(error: BaseException) -> str:
    """What an exception that nobody foresaw means to the user, in one line."""
    kind, files = type(error).__name__, []
    if isinstance(error, OSError):
        files = [os.fsdecode(f) for f in (error.filename, error.filename2) if _is_path(f)]
    if files:
        return f'{" and ".join(files)}: {reason_of(error)}'
    if isinstance(error, MemoryError):
        return 'there is not enough memory; use a smaller source, or free some memory'
    if isinstance(error, RecursionError):
        return f'an input is nested too deeply; {DEBUG}=1 shows where'
    text = reason_of(error)[:300]
    return f'{kind}{f": {text}" if text != kind else ""}; {DEBUG}=1 shows where'


def _is_path(name: object) -> bool:
    return isinstance(name, (str, bytes, os.PathLike))


def _silence_opencv() -> None:
    logging = getattr(cv2.utils, 'logging', cv2)  # OpenCV 4.5 has it at the top
    with contextlib.suppress(AttributeError):  # not in every version
        logging.setLogLevel(_SILENT)


@contextlib.contextmanager
def safe_output() -> Iterator[None]:
    """Make output safe while a command runs.

    A character that the encoding of the terminal lacks is escaped instead of ending the command.
    Warnings of libraries, which may contain names from files, are printed as one line. OpenCV
    prints nothing, since its errors are reported by the commands themselves.
    """
    for stream in (sys.stdout, sys.stderr):
        if getattr(stream, 'errors', '') == 'strict' and hasattr(stream, 'reconfigure'):
            stream.reconfigure(errors='backslashreplace')
    if not is_debugging():
        _silence_opencv()
        os.environ.setdefault('OPENCV_FFMPEG_LOGLEVEL', '-8')  # FFmpeg's AV_LOG_QUIET
    before, warnings.formatwarning = warnings.formatwarning, _warning
    try:
        yield
    finally:
        warnings.formatwarning = before


def _warning(message: Warning | str, *_: object, **__: object) -> str:
    return f'note: {one_line(str(message))}\n'


def is_debugging() -> bool:
    """Whether ASHTKD_DEBUG is set: then tracebacks and messages of libraries are printed."""
    return os.environ.get(DEBUG, '') not in ('', '0')


def discard_output() -> None:
    """Send standard output to nowhere, since nobody reads it any more, or its disk is full."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def print_source_notes(path: Path, notes: Sequence[str]) -> None:
    """Print on standard error what the user should know of a source."""
    print_notes(*(f'{path}: {line}' for line in notes))


class SafeParser(argparse.ArgumentParser):
    """A parser that escapes arguments in its errors, since a shell may insert any file name.

    `arguments`: what was added to it and to its groups, in order, with --help.
    """

    def __init__(self, *args: Any, **kwargs: Any):
        self.arguments: list[argparse.Action] = []
        super().__init__(*args, **kwargs)

    def add_argument(self, *args: Any, **kwargs: Any) -> argparse.Action:
        """As that of any parser; the argument is noted."""
        return self._noted(super().add_argument(*args, **kwargs))

    def add_argument_group(self, *args: Any, **kwargs: Any) -> argparse._ArgumentGroup:
        """As that of any parser; the arguments of the group are noted."""
        group = super().add_argument_group(*args, **kwargs)
        add = group.add_argument
        group.add_argument = lambda *args, **kwargs: self._noted(add(*args, **kwargs))
        return group

    def _noted(self, action: argparse.Action) -> argparse.Action:
        self.arguments.append(action)
        return action

    def error(self, message: str) -> None:
        """Usage and the error in one line; exit status 2."""
        super().error(one_line(message))

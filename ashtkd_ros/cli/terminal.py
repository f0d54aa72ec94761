# SPDX-License-Identifier: Apache-2.0
"""What commands print: a line is a line, and no name in it gives the terminal an order."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2

from ashtkd_ros.text import one_line, reason_of

DEBUG = 'ASHTKD_DEBUG'
_LONGEST = 2000  # characters of a line


def _cut(text: str) -> str:
    text = one_line(text)
    return text if len(text) <= _LONGEST else f'{text[:_LONGEST]}…'


def say(*lines: str) -> None:
    """Print each text as one line, at once."""
    for line in lines:
        print(_cut(line))
    sys.stdout.flush()


def note(*lines: str) -> None:
    """Print each text as one line on the standard error, as something to know of."""
    for line in lines:
        print(f'note: {_cut(line)}', file=sys.stderr)


def fail(text: str) -> None:
    """Print in one line why the command ends, after the traceback where ASHTKD_DEBUG is set.

    A terminal or pipe that has gone is no further error.
    """
    with contextlib.suppress(OSError, ValueError):
        if is_debugging() and sys.exc_info()[0] is not None:
            traceback.print_exc()
        print(f'error: {_cut(text)}', file=sys.stderr)


def line_of(error: BaseException) -> str:
    """What an exception that nobody foresaw means to the user, in one line."""
    kind, files = type(error).__name__, []
    if isinstance(error, OSError):
        files = [os.fsdecode(f) for f in (error.filename, error.filename2) if _is_path(f)]
    if files:
        return f'{" and ".join(files)}: {reason_of(error)}'
    if isinstance(error, MemoryError):
        return 'the memory does not suffice; take a smaller source, or free some'
    if isinstance(error, RecursionError):
        return f'something given is nested too deeply; {DEBUG}=1 shows where'
    said = reason_of(error)[:300]
    return f'{kind}{f": {said}" if said != kind else ""}; {DEBUG}=1 shows where'


def _is_path(name: object) -> bool:
    return isinstance(name, (str, bytes, os.PathLike))


@contextlib.contextmanager
def tame_output() -> Iterator[None]:
    """Meanwhile no letter that the terminal's encoding lacks ends a command, and libraries, whose
    warnings may name what is in files, warn in one line; OpenCV not at all: we say what it is."""
    for stream in (sys.stdout, sys.stderr):
        if getattr(stream, 'errors', '') == 'strict' and hasattr(stream, 'reconfigure'):
            stream.reconfigure(errors='backslashreplace')
    if not is_debugging():
        with contextlib.suppress(AttributeError):  # an OpenCV without it
            cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
        os.environ.setdefault('OPENCV_FFMPEG_LOGLEVEL', '-8')  # FFmpeg's AV_LOG_QUIET
    before, warnings.formatwarning = warnings.formatwarning, _warning
    try:
        yield
    finally:
        warnings.formatwarning = before


def _warning(message: Warning | str, *_: object, **__: object) -> str:
    return f'note: {one_line(str(message))}\n'


def is_debugging() -> bool:
    """Whether ASHTKD_DEBUG is set: tracebacks, and what libraries say."""
    return os.environ.get(DEBUG, '') not in ('', '0')


def let_go_of_output() -> None:
    """Flush to nowhere: nobody reads the standard output any more, or it is full."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def tell_notes(path: Path, notes: Sequence[str]) -> None:
    """What the user should know of a source, on the error output."""
    note(*(f'{path}: {line}' for line in notes))


class Parser(argparse.ArgumentParser):
    """A parser whose errors show no argument raw: a shell may have filled in hostile names."""

    def error(self, message: str) -> None:
        """Usage and the error in one line; exit status 2."""
        super().error(one_line(message))

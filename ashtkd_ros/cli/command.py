# SPDX-License-Identifier: Apache-2.0
"""How every command runs: exit status, errors in one line, help from a docstring."""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator

from ashtkd_ros.cli.standard_streams import open_standard_streams
from ashtkd_ros.cli.terminal import (
    SafeParser,
    discard_output,
    print_error,
    safe_output,
    unforeseen_error_line,
)
from ashtkd_ros.errors import VprError


def run_command(command: Callable[[], int]) -> None:
    """Run `command` and exit with its status, or with an error's and one line that says why.

    With ASHTKD_DEBUG=1 the traceback is printed before that line. Ctrl-C (SIGINT) and SIGTERM end
    it alike, by KeyboardInterrupt, so that nothing half done stays behind: exit status 130.
    """
    open_standard_streams()
    with safe_output(), _sigterm_as_interrupt():
        status = _status(command)
        try:
            sys.stdout.flush()
        except (OSError, ValueError):  # Python would try again at exit, with a traceback
            discard_output()
    sys.exit(status)


def _status(command: Callable[[], int]) -> int:
    try:
        status = command()
        sys.stdout.flush()
        return status
    except VprError as error:
        print_error(str(error))
        return error.status
    except BrokenPipeError:  # the reader (head, less) has closed the pipe
        discard_output()
        return 0
    except KeyboardInterrupt:
        print('interrupted', file=sys.stderr)
        return 130
    except Exception as error:  # whatever nobody foresaw: a user never sees a traceback
        print_error(unforeseen_error_line(error))
    return 1


@contextlib.contextmanager
def _sigterm_as_interrupt() -> Iterator[None]:
    """SIGTERM raises KeyboardInterrupt meanwhile, unless the process was told to ignore it."""
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def make_parser(doc: str) -> SafeParser:
    """A parser whose help is the docstring of the command, with its examples."""
    return SafeParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)

# SPDX-License-Identifier: Apache-2.0
"""The frame all commands share: exit status, one-line errors, help out of a docstring."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from ashtkd_ros.cli.terminal import Parser, fail, let_go_of_output, line_of, tame_output
from ashtkd_ros.errors import VprError


def run_command(command: Callable[[], int]) -> None:
    """Run a command's body and exit: 0 done, 1 failed with one line that says why.

    With ASHTKD_DEBUG=1 the traceback comes before that line.
    """
    with tame_output():
        status = _status(command)
        try:
            sys.stdout.flush()
        except (OSError, ValueError):  # it would be tried again at exit, with a traceback
            let_go_of_output()
    sys.exit(status)


def _status(command: Callable[[], int]) -> int:
    try:
        status = command()
        sys.stdout.flush()
        return status
    except VprError as error:
        fail(str(error))
    except BrokenPipeError:  # the reader (head, less) has seen enough
        let_go_of_output()
        return 0
    except KeyboardInterrupt:
        print('interrupted', file=sys.stderr)
        return 130
    except Exception as error:  # whatever no door foresaw: never a traceback for a user
        fail(line_of(error))
    return 1


def make_parser(doc: str) -> argparse.ArgumentParser:
    """Parser whose help is the command's own docstring, example included."""
    return Parser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)

# SPDX-License-Identifier: Apache-2.0
"""What `ros2 run ashtkd_ros ...` starts, and the frame all commands share."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

from ashtkd_ros.embedder import Embedder
from ashtkd_ros.errors import VprError
from ashtkd_ros.shipped import shipped_model


def run_command(command: Callable[[], int]) -> None:
    """Run a command's body and exit: 0 done, 1 failed with one line that says why."""
    try:
        status = command()
        sys.stdout.flush()
    except VprError as error:
        print(f'error: {error}', file=sys.stderr)
        status = 1
    except BrokenPipeError:  # the reader (head, less) has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 0
    except KeyboardInterrupt:
        print('interrupted', file=sys.stderr)
        status = 130
    sys.exit(status)


def make_parser(doc: str) -> argparse.ArgumentParser:
    """Parser whose help is the command's own docstring, example included."""
    return argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """The options that every command with a network has."""
    parser.add_argument('--model', type=Path, help='network (.onnx); default: the shipped student')
    parser.add_argument('--threads', type=int, default=0, help='0: every core')


def load_embedder(args: argparse.Namespace) -> Embedder:
    """The network that the command line asks for."""
    return Embedder(args.model or shipped_model(), num_threads=args.threads)

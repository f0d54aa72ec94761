# SPDX-License-Identifier: Apache-2.0
"""Types of arguments; texts that are not numbers, or out of range, are refused."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence


def given_options(parser: argparse.ArgumentParser, argv: Sequence[str] | None) -> list[str]:
    """The options, such as --rate, that a command line names, even with their default value.

    `argv`: as for `parse_args`, which has accepted it. A positional argument counts as an option.
    """
    absent = object()
    everything = dict.fromkeys(vars(parser.parse_args(argv)), absent)
    values = vars(parser.parse_args(argv, argparse.Namespace(**everything)))
    given = [name for name, value in values.items() if value not in (absent, None)]
    return [f'--{name.replace("_", "-")}' for name in given]


def finite(text: str) -> float:
    """Type of an argument: a number, neither infinite nor NaN."""
    return _number(text, 'a finite number', lambda _: True)


def seconds(text: str) -> float:
    """Type of an argument: a time in seconds that a stamp can hold, or as much before zero."""
    most = 2**31 - 1
    what = f'a number of seconds from {-most} to {most}'
    return _number(text, what, lambda n: abs(n) <= most)


def positive(text: str) -> float:
    """Type of an argument: a number above 0."""
    return _number(text, 'a positive number', lambda n: n > 0)


def rate(text: str) -> float:
    """Type of an argument: a rate in Hz, or a factor of speed, from 0.001 to 10000."""
    return _number(text, 'a number from 0.001 to 10000', lambda n: 1e-3 <= n <= 1e4)


def not_negative(text: str) -> float:
    """Type of an argument: a number of 0 or more."""
    return _number(text, 'a number of 0 or more', lambda n: n >= 0)


def share(text: str) -> float:
    """Type of an argument: a number from 0 to 1."""
    return _number(text, 'a number from 0 to 1', lambda n: 0 <= n <= 1)


def count(text: str) -> int:
    """Type of an argument: a whole number, 0 or more."""
    return int(_number(text, 'a whole number, 0 or more', lambda n: n >= 0, int))


def positive_count(text: str) -> int:
    """Type of an argument: a whole number, 1 or more."""
    return int(_number(text, 'a whole number, 1 or more', lambda n: n >= 1, int))


def _number(
    text: str, what: str, fits: Callable[[float], bool], kind: Callable[[str], float] = float
) -> float:
    try:
        value = kind(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and fits(value)):
        raise argparse.ArgumentTypeError(f'"{text}" is not {what}')
    return value

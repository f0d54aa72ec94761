# SPDX-License-Identifier: Apache-2.0
"""Whether a result can be written, asked before the work that it costs."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ashtkd_ros.errors import VprError
from ashtkd_ros.files.reading import read_regular
from ashtkd_ros.text import reason_of

_READ_LIMIT, _BEGIN = 2**31, 4096  # bytes


def check_output(path: Path) -> None:
    """Make the folder of a file that will be written; VprError where it could not be."""
    try:
        if path.is_dir():
            raise IsADirectoryError(0, 'it is a folder')
        path.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path.parent).close()
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links, a zero byte
        raise VprError(
            f'{path}: cannot be written ({reason_of(error)}); give another place'
        ) from error


def check_replaceable(path: Path, marks: Sequence[bytes]) -> None:
    """VprError where a file is there that is not empty and begins with none of `marks` in it.

    A result takes the place of an earlier one of its kind, and of nothing else.
    """
    try:
        begin = read_regular(path, _READ_LIMIT)[:_BEGIN] if os.path.lexists(path) else b''
    except (OSError, ValueError) as error:
        raise VprError(
            f'{path}: could not be written ({reason_of(error)}); give another place'
        ) from error
    if begin and not any(mark in begin for mark in marks):
        raise VprError(
            f'{path}: exists and is no such result of an earlier run; give another name, or '
            'move it elsewhere'
        )


def resolved(path: Path) -> Path:
    """The path of a result without links; VprError where there can be none."""
    try:
        return Path(path).resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise VprError(
            f'{path}: cannot be written ({reason_of(error)}); give another place'
        ) from error

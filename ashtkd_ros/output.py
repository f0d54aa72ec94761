# SPDX-License-Identifier: Apache-2.0
"""Whether a result can be written, asked before the work that it costs."""

from __future__ import annotations

import tempfile
from pathlib import Path

from ashtkd_ros.errors import VprError
from ashtkd_ros.files import reason_of


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


def resolved(path: Path) -> Path:
    """The path of a result without links; VprError where there can be none."""
    try:
        return Path(path).resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise VprError(
            f'{path}: cannot be written ({reason_of(error)}); give another place'
        ) from error

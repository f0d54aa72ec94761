# SPDX-License-Identifier: Apache-2.0
"""Whether a result can be written, asked before the work that it costs."""

from __future__ import annotations

import tempfile
from pathlib import Path

from ashtkd_ros.errors import VprError


def check_output(path: Path) -> None:
    """Make the folder of a file that will be written; VprError where it could not be."""
    try:
        if path.is_dir():
            raise IsADirectoryError(0, 'it is a folder')
        path.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path.parent).close()
    except OSError as error:
        raise VprError(
            f'{path}: cannot be written ({error.strerror}); give another place'
        ) from error

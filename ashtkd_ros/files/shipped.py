# SPDX-License-Identifier: Apache-2.0
"""Files that come with the package: in the source tree, or where colcon has installed them."""

from __future__ import annotations

import os
from pathlib import Path


def shipped_file(name: Path) -> Path | None:
    """The path of such a file, `name` is relative to the source tree; None if it is not there."""
    prefixes = os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep)
    shares = [Path(prefix, 'share', 'ashtkd_ros') for prefix in prefixes if prefix]
    for folder in (Path(__file__).resolve().parents[2], *shares):
        if (folder / name).is_file():
            return folder / name
    return None

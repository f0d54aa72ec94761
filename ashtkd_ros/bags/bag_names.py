# SPDX-License-Identifier: Apache-2.0
"""What a bag is called, and what its folder holds; no reader of bags is needed to see it."""

from __future__ import annotations

import os
from pathlib import Path

METADATA = 'metadata.yaml'
ROS2_ENDINGS = ('.db3', '.mcap', '.db3.zstd', '.mcap.zstd')
ROS1_ENDINGS = ('.bag', '.bag.active')


def storage_files(folder: Path) -> list[Path]:
    """The files of a folder whose names are those of a bag's files."""
    return sorted(p for p in folder.iterdir() if p.name.endswith(ROS2_ENDINGS))


def is_bag(path: Path) -> bool:
    """Whether a path is a rosbag, sound or damaged, rather than a folder of images."""
    if not os.path.isdir(path):  # Path.is_dir raises for names that cannot exist
        return Path(path).name.endswith((*ROS2_ENDINGS, *ROS1_ENDINGS))
    try:
        return (path / METADATA).exists() or bool(storage_files(path))
    except OSError:
        return False

# SPDX-License-Identifier: Apache-2.0
"""Notices that the map in use is not the one on the disk any more."""

from __future__ import annotations

import os
from pathlib import Path


class MapWatch:
    """Made just before a map is loaded; costs one stat a call."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._loaded = self._stat()

    def _stat(self) -> tuple[int, int, int] | None:
        try:
            found = os.stat(self._folder / 'map.yaml')
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size

    def trouble(self) -> str:
        """What has become of the map on the disk; empty where nothing has."""
        now = self._stat()
        if now is None:
            return f'map {self._folder} is gone from the disk; the loaded one stays in use'
        if now != self._loaded:
            return f'map {self._folder} has changed on the disk; call ~/reload_map to use it'
        return ''

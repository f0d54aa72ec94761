# SPDX-License-Identifier: Apache-2.0
"""Notices that the map in use is not the one on the disk any more."""

from __future__ import annotations

from pathlib import Path

from ashtkd_ros.maps.folder import state_on_disk
from ashtkd_ros.ros.timeouts import Latest

_STALLED_S = 3.0


class MapWatch:
    """Made just before a map is loaded; costs one stat a call, which is never waited for."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._loaded = self._stat()
        self._now = Latest('map watch', self._stat, self._loaded)

    def _stat(self) -> tuple[int, int, int] | None:
        return state_on_disk(self._folder)

    def trouble(self) -> str:
        """What has become of the map on the disk, as of the last call; empty: nothing."""
        now = self._now.ask()
        if self._now.waiting_s > _STALLED_S:
            return (
                f'the disk of the map does not answer, the loaded one stays in use: {self._folder}'
            )
        if now is None:
            return f'map {self._folder} is gone from the disk; the loaded one stays in use'
        if now != self._loaded:
            return f'call ~/reload_map to use the map that has changed on the disk: {self._folder}'
        return ''

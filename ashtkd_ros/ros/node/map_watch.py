# SPDX-License-Identifier: Apache-2.0
"""Notices that the map on disk is no longer the one in use."""

from __future__ import annotations

from pathlib import Path

from ashtkd_ros.maps.folder import state_on_disk
from ashtkd_ros.ros.timeouts import LatestResult

_STALLED_S = 3.0


class MapWatch:
    """Create it just before a map is loaded; a check costs one stat and hardly waits for it."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._loaded = self._stat()
        self._now = LatestResult('map watch', self._stat, self._loaded)
        self._refused, self._reason = self._loaded, ''

    def _stat(self) -> tuple[int, int, int] | None:
        return state_on_disk(self._folder)

    def refuse(self, folder: Path, reason: str) -> None:
        """The map that is in a folder now was not loaded, in a line why."""
        if folder == self._folder:
            self._refused, self._reason = self._now.get(), reason

    def warning(self) -> str:
        """What has happened to the map on disk since it was loaded; empty if nothing has."""
        now = self._now.get()
        if self._now.waiting_s > _STALLED_S:
            return (
                f'the disk of the map does not answer; the loaded map stays in use: {self._folder}'
            )
        if now is None:
            return f'map {self._folder} is gone from the disk; the loaded map stays in use'
        if now != self._loaded and now == self._refused:
            return f'the map that has changed on the disk was not loaded: {self._reason}'
        if now != self._loaded:
            return f'call ~/reload_map to use the map that has changed on the disk: {self._folder}'
        return ''

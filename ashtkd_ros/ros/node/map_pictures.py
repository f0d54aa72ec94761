# SPDX-License-Identifier: Apache-2.0
"""Pictures of places for people to look at, read from disk without blocking recognition."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from ashtkd_ros.maps.place_map import Place
from ashtkd_ros.ros.timeouts import Task

_TIMEOUT_S = 0.2


class MapPictures:
    """Calls `read(place)`; gives None if that is slow, or if an earlier call has not returned."""

    def __init__(self, read: Callable[[Place], np.ndarray | None]):
        self._read = read
        self._task: Task | None = None

    def __call__(self, place: Place) -> np.ndarray | None:
        """uint8 RGB (H, W, 3), or None."""
        if self._task is not None and not self._task.over:
            return None
        self._task = task = Task('pictures', partial(self._read, place))
        return task.result() if task.wait(_TIMEOUT_S, lambda: True) else None

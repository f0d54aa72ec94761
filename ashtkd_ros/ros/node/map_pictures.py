# SPDX-License-Identifier: Apache-2.0
"""The pictures of places for people: never waited for longer than an image may take."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ashtkd_ros.maps.place_map import Place
from ashtkd_ros.ros.timeouts import Task

_PATIENCE_S = 0.2


class Pictures:
    """`read(place)` where that is quick, else None, as long as a slow reading is out."""

    def __init__(self, read: Callable[[Place], np.ndarray | None]):
        self._read = read
        self._task: Task | None = None

    def __call__(self, place: Place) -> np.ndarray | None:
        """uint8 RGB (H, W, 3), or None."""
        if self._task is not None and not self._task.over:
            return None
        self._task = task = Task('pictures', lambda: self._read(place))
        return task.result() if task.wait(_PATIENCE_S, lambda: True) else None

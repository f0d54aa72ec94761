# SPDX-License-Identifier: Apache-2.0
"""The tiles of a city around the robot, loaded while the node answers."""

from __future__ import annotations

import math
import time
from functools import partial

from ashtkd_ros.errors import error_text
from ashtkd_ros.recognition.prior import Prior
from ashtkd_ros.ros.node.loaded_map import LoadedMap
from ashtkd_ros.ros.node.map_loading import load_around
from ashtkd_ros.ros.node.messages import check_messages
from ashtkd_ros.ros.node.node_state import NodeState
from ashtkd_ros.ros.timeouts import Task

_STEADY_S = 3.0
_PAUSE_S = 10.0  # after tiles that cannot be used


class TileLoading:
    """Loads in a thread of its own; the executor then puts the tiles in place."""

    def __init__(self, node: NodeState):
        self._node = node
        self._task: Task[None] | None = None
        self._away: float | None = None  # since when, by the monotonic clock
        self._failed_at = -math.inf  # by the same clock

    def move_to(self, prior: Prior, loaded: LoadedMap) -> None:
        """Begin to load where tiles near the robot are missing, unless that is going on."""
        tiles = loaded.tiles
        if tiles is None or self._task is not None and not self._task.over:
            return
        if time.monotonic() - self._failed_at < _PAUSE_S:
            return
        radius = max(loaded.parameters.tile_radius_m, prior.radius_m)
        near = {t for t in tiles.city.near(prior.x, prior.y, radius) if t not in tiles.faults}
        there = near & set(loaded.tiles_in_memory)
        if not near or there or loaded.waiting:
            self._away = None
        elif not self._stays_away():
            return
        if near and (near != there or loaded.waiting):
            self._task = Task('tiles', partial(self._load, prior, radius, loaded))

    def _stays_away(self) -> bool:
        """Whether the prior has been far from all tiles in memory for a while; a satellite fix
        that jumps for a moment costs no tiles."""
        if self._away is None:
            self._away = time.monotonic()
        return time.monotonic() - self._away >= _STEADY_S

    def _load(self, prior: Prior, radius_m: float, before: LoadedMap) -> None:
        node = self._node
        try:
            warn = node.get_logger().warning
            loaded = load_around(before, prior.x, prior.y, radius_m, warn)
            if loaded is not None:
                check_messages(loaded)
                node.executor.create_task(self._use, before, loaded)
        except Exception as error:  # nobody else would tell
            self._fail(f'tiles were not loaded: {error_text(error)}')

    def _fail(self, text: str) -> None:
        self._failed_at = time.monotonic()
        self._node.get_logger().error(text)

    def _use(self, before: LoadedMap, loaded: LoadedMap) -> None:
        node = self._node
        if node.loaded_map is not before or node.state != 'active':
            return  # reloaded or cleaned up meanwhile
        try:
            node.use_map(loaded)
        except Exception as error:  # an error that leaves this function would end the node
            self._fail(f'the tiles cannot be used: {error_text(error)}')
            return
        count, every = len(loaded.tiles_in_memory), len(loaded.tiles.city.tiles)
        node.get_logger().info(
            f'{count} of {every} tiles in memory, {len(loaded.places)} pictures'
        )

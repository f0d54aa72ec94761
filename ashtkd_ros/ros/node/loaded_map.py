# SPDX-License-Identifier: Apache-2.0
"""The map in use, with everything that the node derives from it once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from visualization_msgs.msg import MarkerArray

from ashtkd_ros.maps.city import Tile
from ashtkd_ros.maps.place_map import Place
from ashtkd_ros.maps.places import Places
from ashtkd_ros.maps.tiled_map import JoinedMap, TiledMap
from ashtkd_ros.recognition.recogniser import Recogniser
from ashtkd_ros.ros.node.map_watch import MapWatch
from ashtkd_ros.ros.node.parameters import Parameters

_NO_OUTPUT = 'the network gives no local features; take another, and build the map anew with it'


@dataclass(frozen=True)
class LoadedMap:
    """A map in use and the parameters it was loaded with; it is only replaced as a whole."""

    recogniser: Recogniser
    parameters: Parameters
    picture_of: Callable[[Place], np.ndarray | None]
    watch: MapWatch
    spacing: float  # metres between neighbouring places, at least parameters.LEAST_SPACING_M
    markers: MarkerArray = field(default_factory=MarkerArray)
    tiles: TiledMap | None = None  # of which it is a part
    waiting: str = ''  # why it cannot answer yet

    @property
    def frame(self) -> str:
        """Frame of the places' poses."""
        return self.parameters.map_frame or self.recogniser.matcher.map.info.frame

    def verification(self, verify_top: int) -> str:
        """Whether answers are verified, and if not, why."""
        recogniser, why = self.recogniser, ''
        if not verify_top:
            why = 'verify_top is 0'
        elif recogniser.embedder.local is None:
            why = _NO_OUTPUT
        why = why or recogniser.matcher.map.unverified or recogniser.matcher.fault
        return f'off ({why})' if why else f'on, of the {verify_top} most similar places'

    @property
    def tiles_in_memory(self) -> tuple[Tile, ...]:
        """Of a city: the tiles that it consists of."""
        place_map = self.recogniser.matcher.map
        return place_map.tiles if isinstance(place_map, JoinedMap) else ()

    @property
    def places(self) -> Places:
        """All places of the map."""
        return self.recogniser.matcher.map.places

# SPDX-License-Identifier: Apache-2.0
"""The map in use, with everything that the node derives from it once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from visualization_msgs.msg import MarkerArray

from ashtkd_ros.maps.place_map import Place, PlaceMap, place_spacing
from ashtkd_ros.network.embedder import Embedder
from ashtkd_ros.recognition.matcher import MatcherConfig
from ashtkd_ros.recognition.recogniser import Recogniser
from ashtkd_ros.ros.node.debug_picture import picture_reader
from ashtkd_ros.ros.node.map_pictures import MapPictures
from ashtkd_ros.ros.node.map_watch import MapWatch
from ashtkd_ros.ros.node.messages import map_markers
from ashtkd_ros.ros.node.parameters import LEAST_SPACING_M, Parameters


@dataclass(frozen=True)
class LoadedMap:
    """A map in use and the parameters it was loaded with; it is only replaced as a whole."""

    recogniser: Recogniser
    parameters: Parameters
    picture_of: Callable[[Place], np.ndarray | None]
    watch: MapWatch
    spacing: float  # metres between neighbouring places, at least LEAST_SPACING_M
    markers: MarkerArray = field(default_factory=MarkerArray)

    @property
    def frame(self) -> str:
        """Frame of the places' poses."""
        return self.parameters.map_frame or self.recogniser.matcher.map.info.frame

    @property
    def places(self) -> list[Place]:
        """All places of the map."""
        return self.recogniser.matcher.map.places


def load_map(
    path: str, embedder: Embedder, configured: Parameters, warn: Callable[[str], object]
) -> LoadedMap:
    """Load and check the map in a folder; VprError says what is wrong with it.

    `warn` is called with each warning about a map that can still be used.
    """
    watch = MapWatch(Path(path))
    place_map = PlaceMap.load(Path(path), embedder)
    for warning in place_map.warnings:
        warn(warning)
    p = replace(configured, map_path=path)
    recogniser = Recogniser(embedder, place_map, MatcherConfig(top_k=p.top_k), p.min_confidence)
    pictures = MapPictures(picture_reader(place_map))
    spacing = max(place_spacing(place_map.places), LEAST_SPACING_M)
    loaded = LoadedMap(recogniser, p, pictures, watch, spacing)
    return replace(loaded, markers=map_markers(loaded))

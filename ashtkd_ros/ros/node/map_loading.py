# SPDX-License-Identifier: Apache-2.0
"""From a map's folder to the map in use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ashtkd_ros.maps.descriptor_index import CompressedIndex
from ashtkd_ros.maps.place_map import PlaceMap, place_spacing
from ashtkd_ros.network.embedder import Embedder
from ashtkd_ros.recognition.matcher import MatcherConfig
from ashtkd_ros.recognition.recogniser import Recogniser, least_confidence, trust_note
from ashtkd_ros.ros.node.debug_picture import picture_reader
from ashtkd_ros.ros.node.loaded_map import LoadedMap
from ashtkd_ros.ros.node.map_features import MapFeatures, PatientRows
from ashtkd_ros.ros.node.map_pictures import MapPictures
from ashtkd_ros.ros.node.map_watch import MapWatch
from ashtkd_ros.ros.node.messages import map_markers
from ashtkd_ros.ros.node.parameters import LEAST_SPACING_M, Parameters


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
    if place_map.local is not None:
        place_map.local = MapFeatures(place_map.local)
    if isinstance(place_map.index, CompressedIndex):
        place_map.index.exact = PatientRows(place_map.index.exact)
    p = replace(configured, map_path=path)
    config = MatcherConfig(top_k=p.top_k, verify_top=p.verify_top)
    least = least_confidence(place_map.info, p.min_confidence, p.target_precision)
    if note := trust_note(place_map.info, p.min_confidence, p.target_precision):
        warn(note)
    recogniser = Recogniser(embedder, place_map, config, least)
    pictures = MapPictures(picture_reader(place_map))
    spacing = max(place_spacing(place_map.places), LEAST_SPACING_M)
    loaded = LoadedMap(recogniser, p, pictures, watch, spacing)
    return replace(loaded, markers=map_markers(loaded))

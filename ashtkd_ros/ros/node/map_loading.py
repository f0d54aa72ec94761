# SPDX-License-Identifier: Apache-2.0
"""From a map's folder to the map in use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ashtkd_ros.maps.city import is_city
from ashtkd_ros.maps.descriptor_index import CompressedIndex
from ashtkd_ros.maps.place_map import PlaceMap, place_spacing
from ashtkd_ros.maps.row_file import RowFile
from ashtkd_ros.maps.tiled_map import TiledMap
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

_WAITING = 'the tiles around the robot are loaded when a prior tells where it is; see prior_topic'


def load_map(
    path: str, embedder: Embedder, configured: Parameters, warn: Callable[[str], object]
) -> LoadedMap:
    """Load and check the map in a folder; VprError says what is wrong with it.

    Of a city that is too large to be loaded whole it is one tile, and waits for a prior. `warn` is
    called with each warning about a map that can still be used.
    """
    folder, p = Path(path), replace(configured, map_path=path)
    watch = MapWatch(folder)
    if not is_city(folder):
        return _loaded(PlaceMap.load(folder, embedder), embedder, p, watch, warn)
    tiles = TiledMap(folder, embedder)
    joined = tiles.begin()
    for fault in tiles.faults.values():
        warn(fault)
    made = _loaded(joined, embedder, p, watch, warn)
    return replace(made, tiles=tiles, waiting='' if tiles.is_small else _WAITING)


def load_around(
    before: LoadedMap, x: float, y: float, radius_m: float, warn: Callable[[str], object]
) -> LoadedMap | None:
    """The tiles of the city within a circle, in metres, in the place of those before.

    None where no tile is near. VprError where none of those that are near can be loaded.
    """
    p, tiles = before.parameters, before.tiles
    known = set(tiles.faults)
    try:
        joined = tiles.around(x, y, radius_m)
    finally:
        for tile in set(tiles.faults) - known:
            warn(tiles.faults[tile])
    if joined is None:
        return None
    return replace(_loaded(joined, before.recogniser.embedder, p, before.watch, warn), tiles=tiles)


def _loaded(
    place_map: PlaceMap,
    embedder: Embedder,
    p: Parameters,
    watch: MapWatch,
    warn: Callable[[str], object],
) -> LoadedMap:
    for warning in place_map.warnings:
        warn(warning)
    if place_map.local is not None:
        place_map.local = MapFeatures(place_map.local)
    if isinstance(place_map.index, CompressedIndex) and isinstance(place_map.index.exact, RowFile):
        place_map.index.exact = PatientRows(place_map.index.exact)
    config = MatcherConfig(top_k=p.top_k, verify_top=p.verify_top)
    least = least_confidence(place_map.info, p.min_confidence, p.target_precision)
    if note := trust_note(place_map.info, p.min_confidence, p.target_precision):
        warn(note)
    recogniser = Recogniser(embedder, place_map, config, least)
    pictures = MapPictures(picture_reader(place_map))
    spacing = max(place_spacing(place_map.places), LEAST_SPACING_M)
    loaded = LoadedMap(recogniser, p, pictures, watch, spacing)
    return replace(loaded, markers=map_markers(loaded))

# SPDX-License-Identifier: Apache-2.0
"""The map of places: descriptors in a FAISS index, a table of places and a description."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from ashtkd_ros.errors import VprError
from ashtkd_ros.files.checksums import sha256_of_file
from ashtkd_ros.maps.description import Description, MapInfo, write_description
from ashtkd_ros.maps.descriptor_index import DescriptorIndex
from ashtkd_ros.maps.folder import DESCRIPTION, ROUTE, TABLE, check_target
from ashtkd_ros.maps.index_choice import IndexOptions
from ashtkd_ros.maps.index_file import build_index, read_index, write_index
from ashtkd_ros.maps.local_file import LOCAL_FILE, LocalFeatures, open_local, write_local
from ashtkd_ros.maps.map_files import (
    check_route,
    check_table,
    read_checked,
    read_map_yaml,
    with_checksums,
    with_sound_pictures,
)
from ashtkd_ros.maps.places import Place, Places
from ashtkd_ros.maps.places_file import PLACES_FILE, read_columns, write_columns
from ashtkd_ros.maps.places_table import read_table, write_table
from ashtkd_ros.maps.replacement import read_steadily, replacing
from ashtkd_ros.maps.thumbnails import put_thumbnails, thumbnail_pixels
from ashtkd_ros.network.descriptors import first_not_unit
from ashtkd_ros.network.embedder import Embedder
from ashtkd_ros.network.local_features import first_not_unit_int8
from ashtkd_ros.text import counted, reason_of

UNKNOWN = 'unknown'  # source of a traverse that a map does not describe
NO_LOCAL = 'the map has no local features; answers are not verified; build the map anew'
_ALIKE = 1.0 - 1e-5  # similarity
_ROW_LIMIT, _TABLE_LIMIT = 2**17, 2**31  # bytes of a row of places.csv, and of all rows


class PlaceMap:
    """Places and their descriptors, float32 (N, D) of length 1, searched by inner product.

    `local`: their local features, by which answers are verified; None in a map without them.
    `folder`: where the map was read from or saved to, with its pictures; None for a map that is
    in memory alone. `warnings`: what the user should know of a map that was read, a line each.
    """

    def __init__(
        self,
        index: DescriptorIndex,
        places: Sequence[Place],
        info: MapInfo,
        folder: Path | None = None,
        local: LocalFeatures | None = None,
    ):
        self.index, self.places, self.info, self.folder = index, Places.of(places), info, folder
        self.local = local
        self.warnings: list[str] = []
        self._all_summed = False  # whether each sound picture has its checksum

    @classmethod
    def build(
        cls,
        descriptors: np.ndarray,
        places: Sequence[Place],
        embedder: Embedder,
        frame: str = 'map',
        local: LocalFeatures | np.ndarray | None = None,
        index_options: IndexOptions | None = None,
        **built: object,
    ) -> PlaceMap:
        """Map of float32 (N, D) descriptors of length 1 that `embedder` made of N places.

        `local`: the places' local features, int8 (N, P, L) in memory or in a file that is read
        only when it is needed. `index_options`: see `build_index`. `built`: how the map was made.
        VprError for what does not fit.
        """
        if len(descriptors) != len(places) or not len(places):
            raise VprError(
                f'there are {len(places)} places but {len(descriptors)} descriptors; give one '
                'descriptor for each place, and at least one place'
            )
        rows = np.ascontiguousarray(descriptors, np.float32)
        bad = first_not_unit(rows)
        if bad is not None:
            raise VprError(
                f'the descriptor of place {bad} is not of length 1, so no map can be made; '
                'export the network with tools.training.export'
            )
        index = build_index(rows, index_options)
        model = {'name': embedder.name, 'sha256': embedder.hash}
        model['preprocessing'] = {
            k: list(v) if isinstance(v, tuple) else v
            for k, v in asdict(embedder.preprocessing).items()
        }
        if local is not None:
            local = _checked_local(local, len(places), embedder)
        info = MapInfo(frame, model, embedder.confidence, built)
        return cls(index, places, info, local=local)

    def search(self, descriptor: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """float32 (D,) → ids int64 (k,) and similarities float32 (k,), best first."""
        k = min(k, len(self.places))
        similarities, ids = self.index.search(descriptor[None], k)
        return ids[0], similarities[0]

    def descriptors(self, rows: np.ndarray) -> np.ndarray:
        """int64 (K,) → the descriptors in these rows, float32 (K, D), a copy."""
        return self.index.rows(rows)

    @property
    def traverses(self) -> list[dict[str, Any]]:
        """What the map was built from, by number: each has at least its `source`."""
        return self.info.traverses

    @property
    def all_traverses(self) -> list[dict[str, Any]]:
        """As `traverses`; those of a map that describes none are of an unknown source."""
        return self.traverses or [{'source': UNKNOWN}] * (int(self.places.traverses.max()) + 1)

    @property
    def next_id(self) -> int:
        """The number of the next new place, above all that were ever given."""
        return max(self.info.next_id, int(self.places.ids.max()) + 1)

    @property
    def unverified(self) -> str:
        """Why no answer from this map can be verified, in a line; empty where answers can be."""
        return '' if self.local is not None else NO_LOCAL

    def picture(self, place: Place) -> np.ndarray | None:
        """The picture of a place that the map keeps, uint8 RGB (H, W, 3); None without a sound
        one."""
        if self.folder is None or (self._all_summed and not place.thumbnail):
            return None
        return thumbnail_pixels(self.folder, place)

    def save(
        self,
        folder: Path,
        thumbnails: Path | Callable[[Place], bytes] | None = None,
        route: Path | None = None,
        over: bytes | None = None,
    ) -> None:
        """Write the whole map or nothing: a full disk or a kill leaves the old map as it was.

        `thumbnails`: folder with the pictures of the places, or what gives the JPEG of a place;
        `route`: picture of all places from above (PNG). Either may not exist. The user's files in
        the folder stay there. `over`: bytes of the map.yaml that is to be replaced, empty where
        there is to be none; VprError where it is another one by now.
        """
        check_target(folder)
        target = Path(folder).resolve()  # "." has no name of its own; a link keeps pointing
        try:
            with replacing(target, over) as new:
                self._write(new, thumbnails, route)
        except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: of faiss
            raise VprError(
                f'{target}: the map could not be written ({reason_of(error)}); '
                'what was there before is untouched'
            ) from error
        self.folder = Path(folder)

    def _write(
        self,
        new: Path,
        thumbnails: Path | Callable[[Place], bytes] | None,
        route: Path | None,
    ) -> None:
        _check_traverses(self.info, self.places)
        index_files = write_index(new, self.index)
        (new / TABLE).write_bytes(write_table(self.places))
        (new / PLACES_FILE).write_bytes(write_columns(self.places))
        if self.local is not None:
            write_local(new / LOCAL_FILE, self.local)
        if thumbnails is not None:
            put_thumbnails(new, self.places, thumbnails)
        if route is not None and route.is_file():
            shutil.copyfile(route, new / ROUTE)
        sha256 = {
            name: sha256_of_file(new / name, sync=True)
            for name in (*index_files, TABLE, PLACES_FILE, LOCAL_FILE, ROUTE)
            if (new / name).is_file()
        }
        kind = self.index.kind, self.index.note
        shape = None if self.local is None else self.local.shape
        info = replace(self.info, next_id=self.next_id)
        text = write_description(info, len(self.places), self.index.d, kind, sha256, shape)
        (new / DESCRIPTION).write_bytes(text)
        sha256_of_file(new / DESCRIPTION, sync=True)

    @classmethod
    def load(
        cls,
        folder: Path,
        embedder: Embedder | None = None,
        pictures: bool = False,
        without_damaged: bool = False,
    ) -> PlaceMap:
        """Read and check a map; with `embedder` also that its model made this map.

        `pictures`: also check what a robot does not need: the pictures of the route and of the
        places, and whether places.csv says the same as places.npz. `without_damaged`: then leave
        out pictures of places that are missing or damaged, with a warning each. VprError names
        what failed: folder, version, checksum, contents or model.
        """
        folder = Path(folder)

        def read(handle: int) -> PlaceMap:
            description = read_map_yaml(folder, handle)
            place_map = cls._read(folder, handle, embedder, description, pictures)
            if pictures:
                check_route(folder, handle, description)
                place_map._check_pictures(handle, description, without_damaged)
            return place_map

        return read_steadily(folder, read)

    def _check_pictures(
        self, handle: int, description: Description, without_damaged: bool
    ) -> None:
        places, faults = with_sound_pictures(self.folder, handle, self.places)
        if faults and not without_damaged:
            raise VprError(
                f'{faults[0]}; the map works without it, rebuild the map to have it back'
            )
        if faults:
            more = f' (and {counted(len(faults) - 1, "other picture")})' if faults[1:] else ''
            self.warnings.append(f'{faults[0]}{more}; it is left out')
        if description.version == 1:
            places = with_checksums(self.folder, handle, places)
        self.places, self._all_summed = places, True

    @classmethod
    def _read(
        cls,
        folder: Path,
        handle: int,
        embedder: Embedder | None,
        description: Description,
        whole: bool,
    ) -> PlaceMap:
        info = description.info
        most = min(_TABLE_LIMIT, 2**16 + _ROW_LIMIT * description.places)
        columns = PLACES_FILE if description.version >= 4 else TABLE
        contents = {
            name: read_checked(folder, handle, name, description, most)
            for name in dict.fromkeys((TABLE, columns))
        }
        with ThreadPoolExecutor(1) as helper:
            coming = helper.submit(_places, folder / columns, contents[columns], description)
            index = read_index(folder, handle, description)
            check_model(folder, description, embedder)
            places = coming.result()
        if whole and columns != TABLE:
            check_table(folder, contents[TABLE], places)
        counts = (description.places, len(places), len(index))
        if len(set(counts)) > 1:
            raise VprError(
                f'{folder}: map.yaml, {columns} and index.faiss count {counts} places; '
                'rebuild the map'
            )
        local = None
        if description.local is not None:
            sha256 = description.sha256[LOCAL_FILE]
            local = open_local(folder, handle, len(places), description.local, sha256)
        place_map = cls(index, places, info, folder, local)
        place_map.warnings = _cautions(folder, index, description)
        return place_map


def _places(path: Path, data: bytes, description: Description) -> Places:
    """The places in a checked file; VprError that names `path` where it does not hold them."""
    try:
        places = read_table(data) if path.name == TABLE else read_columns(data)
        _check_traverses(description.info, places)
        if description.version < 4 and (places.ids != np.arange(len(places))).any():
            raise ValueError('places are not numbered 0, 1, 2, ...')
        if places.ids.max() >= description.info.next_id:
            raise ValueError(f'place {places.ids.max()} has a number that map.yaml has not given')
        if not description.covered and places.pictures.any():
            raise ValueError('its format is newer than map.yaml says')
    except ValueError as error:
        raise VprError(
            f'{path}: not a table of places ({reason_of(error)}); rebuild the map'
        ) from error
    return places


def check_model(folder: object, description: Description, embedder: Embedder | None) -> None:
    """VprError where another network made a map; `folder`: where the map is, for the text."""
    if embedder is None:
        return
    model, size = description.info.model, description.descriptor_size
    if model['sha256'] != embedder.hash:
        raise VprError(
            f'{folder}: built with model {model["name"]} ({model["sha256"][:8]}), '
            f'the running model is {embedder.name} ({embedder.hash[:8]}); '
            'take the model of the map, or rebuild the map for this one with map_tools reembed'
        )
    if size != embedder.dimensions:
        raise VprError(
            f'{folder}: has descriptors of {size} numbers, the running model gives '
            f'{embedder.dimensions}; rebuild the map'
        )
    if description.local not in (None, embedder.local):
        raise VprError(
            f'{folder}: has local features of {description.local} numbers, the running model '
            f'gives {embedder.local or "none"}; rebuild the map'
        )


def _checked_local(
    local: LocalFeatures | np.ndarray, count: int, embedder: Embedder
) -> LocalFeatures:
    """Local features for a map of `count` places; VprError where they are not those."""
    shape = embedder.local
    if isinstance(local, LocalFeatures):
        fits = local.shape == shape and len(local) == count
    else:
        fits = shape and local.shape == (count, shape.positions, shape.channels)
        fits = fits and local.dtype == np.int8
    if not fits:
        raise VprError(
            f'the local features are not those of {count} places, {shape or "none"} of each as '
            'the network gives them; give int8 (places, positions, channels)'
        )
    if isinstance(local, LocalFeatures):
        return local
    checked = LocalFeatures(local, shape)
    for block in checked.blocks():
        if first_not_unit_int8(block.reshape(-1, shape.channels)) is not None:
            raise VprError(
                'local features are not of length 1 times 127, so no map can be made; take them '
                'from Embedder.describe'
            )
    return checked


def _cautions(folder: Path, index: DescriptorIndex, description: Description) -> list[str]:
    """What the user should know of a map that works, a line each."""
    lines = alike_note(folder, index)
    if not description.covered:
        lines.append(
            f'{folder}: an older version made the map; its map.yaml has no checksum of its '
            'own, so damage to it may go unnoticed; build the map anew'
        )
    return lines


def alike_note(folder: Path | str, index: DescriptorIndex) -> list[str]:
    """A line if all places of a map look the same."""
    first = index.rows([0])[0]
    if len(index) < 3 or not all((block @ first).min() > _ALIKE for block in index.blocks()):
        return []
    return [
        f'{folder}: all places have the same descriptor and cannot be told apart; was the '
        'camera covered, or is the network damaged? build the map anew'
    ]


def _check_traverses(info: MapInfo, places: Places) -> None:
    most = int(places.traverses.max())
    if info.traverses and most >= len(info.traverses):
        raise ValueError(f'a place is of traverse {most}, which map.yaml does not describe')


def place_spacing(places: Sequence[Place]) -> float:
    """Median distance in metres between places that follow each other; 0 without poses."""
    at = Places.of(places).positions[:, :2]
    at = at[~np.isnan(at).any(axis=1)]
    return float(np.median(np.linalg.norm(np.diff(at, axis=0), axis=1))) if len(at) > 1 else 0.0

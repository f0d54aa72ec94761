# SPDX-License-Identifier: Apache-2.0
"""The map of places: a FAISS index, a table of places and a description, in one folder."""

from __future__ import annotations

import hashlib
import math
import os
import shutil
import struct
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from ashtkd_ros.errors import VprError
from ashtkd_ros.files.reading import read_regular
from ashtkd_ros.maps.description import (
    Description,
    MapInfo,
    read_description,
    write_description,
)
from ashtkd_ros.maps.folder import (
    DESCRIPTION,
    DESCRIPTION_LIMIT,
    INDEX,
    ROUTE,
    TABLE,
    check_target,
    read_steadily,
    staged,
    thumbnail_name,
)
from ashtkd_ros.maps.places_table import Place, read_table, write_table
from ashtkd_ros.network.descriptors import first_not_unit
from ashtkd_ros.network.embedder import Embedder
from ashtkd_ros.text import reason_of

# of an IndexFlatIP: kind, dimensions, places, two dummies, trained, metric, count of numbers
_FLAT = struct.Struct('<4siqqqBiQ')
_ROW_LIMIT, _TABLE_LIMIT = 2**17, 2**31  # bytes of a row of places.csv, and of all
_PICTURE_LIMIT = 2**26


class PlaceMap:
    """Places and their descriptors, float32 (N, D) of length 1, searched by inner product."""

    def __init__(self, index: faiss.Index, places: list[Place], info: MapInfo):
        self.index, self.places, self.info = index, places, info
        self.warnings: list[str] = []  # what the user should know of the map that was read

    @classmethod
    def build(
        cls,
        descriptors: np.ndarray,
        places: list[Place],
        embedder: Embedder,
        frame: str = 'map',
        **built: object,
    ) -> PlaceMap:
        """Map of float32 (N, D) descriptors of length 1 that `embedder` made of N places."""
        if len(descriptors) != len(places) or not len(places):
            raise VprError(f'{len(places)} places with {len(descriptors)} descriptors: no map')
        rows = np.ascontiguousarray(descriptors, np.float32)
        bad = first_not_unit(rows)
        if bad is not None:
            raise VprError(
                f'the descriptor of place {bad} is not of length 1: no map; '
                'export the network with tools.training.export'
            )
        index = faiss.IndexFlatIP(embedder.dimensions)
        index.add(rows)
        model = {'name': embedder.name, 'sha256': embedder.hash}
        model['preprocessing'] = {
            k: list(v) if isinstance(v, tuple) else v
            for k, v in asdict(embedder.preprocessing).items()
        }
        return cls(index, places, MapInfo(frame, model, embedder.confidence, built))

    def search(self, descriptor: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """float32 (D,) → ids int64 (k,) and similarities float32 (k,), best first."""
        k = min(k, len(self.places))
        similarities, ids = self.index.search(descriptor[None], k)
        return ids[0], similarities[0]

    @property
    def traverses(self) -> list[dict[str, Any]]:
        """What the map was built from, by number: each has at least its `source`."""
        return self.info.traverses

    def save(self, folder: Path, attachments: Mapping[str, Path] | None = None) -> None:
        """Write the whole map or nothing: a full disk or a kill leaves the old map as it was.

        `attachments`: name in the map → file or folder that comes with it. Files in the folder
        that are not a map's stay there.
        """
        check_target(folder)
        folder = Path(folder).resolve()  # "." has no name of its own; a link keeps pointing
        try:
            with staged(folder) as new:
                self._write(new, attachments or {})
        except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: of faiss
            raise VprError(
                f'{folder}: the map could not be written ({reason_of(error)}); '
                'what was there before is untouched'
            ) from error

    def _write(self, new: Path, attachments: Mapping[str, Path]) -> None:
        _check_traverses(self.info, self.places)
        # Not written by FAISS, which takes no names that are no UTF-8.
        (new / INDEX).write_bytes(faiss.serialize_index(self.index).tobytes())
        (new / TABLE).write_bytes(write_table(self.places))
        for name, path in attachments.items():
            if path.is_dir():
                (new / name).mkdir()
                for file in path.iterdir():
                    shutil.copyfile(file, new / name / file.name)
            elif path.is_file():
                shutil.copyfile(path, new / name)
        sha256 = {
            name: _synced_checksum(new / name)
            for name in (INDEX, TABLE, ROUTE)
            if (new / name).is_file()
        }
        kind = type(self.index).__name__
        text = write_description(self.info, len(self.places), self.index.d, kind, sha256)
        (new / DESCRIPTION).write_bytes(text)
        _synced_checksum(new / DESCRIPTION)

    @classmethod
    def load(
        cls, folder: Path, embedder: Embedder | None = None, pictures: bool = False
    ) -> PlaceMap:
        """Read and check a map; with `embedder` also that its model made this map.

        `pictures`: check those of the route and the places as well, which a robot does not need.
        Raises VprError that names what failed: folder, version, checksum, contents or model.
        """
        folder = Path(folder)

        def read(handle: int) -> PlaceMap:
            description = read_map_description(folder, handle)
            place_map = cls._read(folder, handle, embedder, description)
            if pictures:
                _check_pictures(folder, handle, description, place_map.places)
            return place_map

        return read_steadily(folder, read)

    @classmethod
    def _read(
        cls, folder: Path, handle: int, embedder: Embedder | None, description: Description
    ) -> PlaceMap:
        info = description.info
        # Their sizes follow from what map.yaml says: a file that has grown is not read at all.
        size = _FLAT.size + 4 * description.places * description.descriptor_size
        most = min(_TABLE_LIMIT, 2**16 + _ROW_LIMIT * description.places)
        contents = {
            name: _read_checked(folder, handle, name, description, limit)
            for name, limit in ((INDEX, size), (TABLE, most))
        }
        _check_model(folder, description, embedder)
        try:
            places = read_table(contents[TABLE])
            _check_traverses(info, places)
            if not description.covered and any(place.thumbnail for place in places):
                raise ValueError('it is of a newer format than map.yaml says')
        except ValueError as error:
            raise VprError(
                f'{folder / TABLE}: not a table of places ({reason_of(error)}); rebuild the map'
            ) from error
        index = _read_index(folder / INDEX, contents[INDEX], description.descriptor_size)
        counts = (description.places, len(places), index.ntotal)
        if len(set(counts)) > 1:
            raise VprError(
                f'{folder}: map.yaml, places.csv and index.faiss count {counts} places; '
                'rebuild the map'
            )
        place_map = cls(index, places, info)
        if _all_alike(index):
            place_map.warnings.append(
                f'{folder}: all places have one descriptor, so that nothing is told apart; was '
                'the camera covered, or the network not sound? build it anew'
            )
        if not description.covered:
            place_map.warnings.append(
                f'{folder}: an older version made the map, its map.yaml has no checksum of its '
                'own, so that damage may not show; build it anew'
            )
        return place_map


def _check_model(folder: Path, description: Description, embedder: Embedder | None) -> None:
    if embedder is None:
        return
    model, size = description.info.model, description.descriptor_size
    if model['sha256'] != embedder.hash:
        raise VprError(
            f'{folder}: built with model {model["name"]} ({model["sha256"][:8]}), '
            f'the running model is {embedder.name} ({embedder.hash[:8]}); '
            'rebuild the map with build_map'
        )
    if size != embedder.dimensions:
        raise VprError(
            f'{folder}: has descriptors of {size} numbers, the running model gives '
            f'{embedder.dimensions}; rebuild the map'
        )


def _all_alike(index: faiss.Index) -> bool:
    rows = index.reconstruct_n(0, index.ntotal)
    return len(rows) > 2 and float((rows @ rows[0]).min()) > 1.0 - 1e-5


def read_map_description(folder: Path, handle: int) -> Description:
    """map.yaml of the open folder; VprError where it is not that of a sound map."""
    try:
        data = read_regular(DESCRIPTION, DESCRIPTION_LIMIT, dir_fd=handle)
    except FileNotFoundError as error:
        raise VprError(f'{folder}: holds no map.yaml; build the map with build_map') from error
    except OSError as error:
        raise VprError(
            f'{folder}: map.yaml cannot be read ({reason_of(error)}); rebuild the map'
        ) from error
    try:
        return read_description(data)
    except ValueError as error:
        raise VprError(f'{folder}: {reason_of(error)}') from error


def load_description(folder: Path) -> Description:
    """What the map in a folder says of itself; VprError where that is not sound."""
    folder = Path(folder)
    return read_steadily(folder, lambda handle: read_map_description(folder, handle))


def _check_traverses(info: MapInfo, places: Sequence[Place]) -> None:
    most = max(place.traverse for place in places)
    if info.traverses and most >= len(info.traverses):
        raise ValueError(f'there is a place of traverse {most}, of which map.yaml tells nothing')


def _read_checked(
    folder: Path, handle: int, name: str, description: Description, limit: int
) -> bytes:
    try:
        data = read_regular(name, limit, dir_fd=handle)
    except OSError as error:
        raise VprError(
            f'{folder / name}: cannot be read ({reason_of(error)}); rebuild the map'
        ) from error
    if hashlib.sha256(data).hexdigest() != description.sha256.get(name):
        raise VprError(
            f'{folder / name}: is damaged, its checksum differs from map.yaml; rebuild the map'
        )
    return data


def _read_index(path: Path, data: bytes, dimensions: int) -> faiss.Index:
    """A flat index of inner products; FAISS sees no bytes that have not been looked at."""
    try:
        kind, d, count, _, _, trained, metric, numbers = _FLAT.unpack_from(data)
    except struct.error as error:
        raise VprError(f'{path}: is no index; rebuild the map') from error
    if kind != b'IxFI' or metric != faiss.METRIC_INNER_PRODUCT or trained != 1:
        raise VprError(f'{path}: is no index of inner products; rebuild the map')
    if not (d == dimensions and count > 0 and numbers == d * count):
        raise VprError(
            f'{path}: has {count} rows of {d} numbers where map.yaml says {dimensions}; '
            'rebuild the map'
        )
    if len(data) != _FLAT.size + 4 * numbers:
        raise VprError(f'{path}: is no index, its length is wrong; rebuild the map')
    rows = np.frombuffer(data, '<f4', offset=_FLAT.size).reshape(count, d)
    bad = first_not_unit(rows)
    if bad is not None:
        raise VprError(f'{path}: the descriptor in row {bad} is not of length 1; rebuild the map')
    return faiss.deserialize_index(np.frombuffer(data, np.uint8))


def read_thumbnail(folder: Path, place: Place, handle: int | None = None) -> bytes:
    """JPEG of a place from the map's folder, or from its open descriptor `handle`.

    OSError where it is not there or is damaged.
    """
    name = thumbnail_name(place.id)
    data = read_regular(
        Path(folder) / name if handle is None else name, _PICTURE_LIMIT, dir_fd=handle
    )
    if place.thumbnail and hashlib.sha256(data).hexdigest() != place.thumbnail:
        raise OSError(0, 'it is damaged, its checksum differs from places.csv')
    return data


def _check_pictures(
    folder: Path, handle: int, description: Description, places: Sequence[Place]
) -> None:
    if ROUTE in description.sha256:
        _read_checked(folder, handle, ROUTE, description, _PICTURE_LIMIT)
    for place in places:
        if not place.thumbnail:
            continue
        try:
            read_thumbnail(folder, place, handle)
        except OSError as error:
            raise VprError(
                f'{folder / thumbnail_name(place.id)}: {reason_of(error)}; the map works '
                'without it, rebuild the map to have it back'
            ) from error


def _synced_checksum(path: Path) -> str:
    """sha256 of a file that is on the disk by now."""
    digest = hashlib.sha256()
    with path.open('rb') as file:
        os.fsync(file.fileno())
        while part := file.read(2**20):
            digest.update(part)
    return digest.hexdigest()


def place_spacing(places: list[Place]) -> float:
    """Median distance in metres between places that follow each other; 0 without poses."""
    poses = [p.pose for p in places if p.pose is not None]
    steps = [math.dist((a.x, a.y), (b.x, b.y)) for a, b in pairwise(poses)]
    return float(np.median(steps)) if steps else 0.0

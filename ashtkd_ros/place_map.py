# SPDX-License-Identifier: Apache-2.0
"""The map of places: a FAISS index, a table of places and a description, in one folder."""

from __future__ import annotations

import csv
import ctypes
import hashlib
import io
import math
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import faiss
import numpy as np
import yaml

from ashtkd_ros.embedder import Embedder
from ashtkd_ros.errors import VprError
from ashtkd_ros.sources import POSE_COLUMNS, Pose

FORMAT_VERSION = 1
COLUMNS = ('id', 'stamp', *POSE_COLUMNS, 'source', 'order', 'label', 'traverse', 'lat', 'lon')
_FILES = ('index.faiss', 'places.csv')


@dataclass(frozen=True)
class Place:
    """One row of places.csv; `id` is its row in the index.

    `source`: its image, a file of the traverse's folder or when a bag received it, in ns;
    `traverse`: number of the mapping traverse; `geo`: latitude and longitude in degrees.
    """

    id: int
    stamp: float
    order: int
    pose: Pose | None
    source: str
    label: str = ''
    traverse: int = 0
    geo: tuple[float, float] | None = None


@dataclass(frozen=True)
class MapInfo:
    """map.yaml without counts and checksums, which are made at each save.

    `model`: name, sha256 and preprocessing of the network the descriptors come from;
    `calibration`: numbers of the confidence (see `matcher`); `built`: how the map was made.
    """

    frame: str
    model: dict
    calibration: dict = field(default_factory=dict)
    built: dict = field(default_factory=dict)


class PlaceMap:
    """Places and their descriptors, float32 (N, D) of length 1, searched by inner product."""

    def __init__(self, index: faiss.Index, places: list[Place], info: MapInfo):
        self.index, self.places, self.info = index, places, info

    @classmethod
    def build(
        cls,
        descriptors: np.ndarray,
        places: list[Place],
        embedder: Embedder,
        frame: str = 'map',
        **built: object,
    ) -> PlaceMap:
        """Map of float32 (N, D) descriptors that `embedder` made of N places."""
        if len(descriptors) != len(places) or not len(places):
            raise VprError(f'{len(places)} places with {len(descriptors)} descriptors: no map')
        index = faiss.IndexFlatIP(embedder.dimensions)
        index.add(np.ascontiguousarray(descriptors, np.float32))
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
    def traverses(self) -> list[dict[str, str]]:
        """What the map was built from, by number: each has at least its `source`."""
        return self.info.built.get('traverses', [])

    def save(self, folder: Path, attachments: Mapping[str, Path] | None = None) -> None:
        """Write the whole map or nothing: a full disk or a kill leaves the old map as it was.

        `attachments`: name in the map → file or folder that comes with it.
        """
        check_target(folder)
        folder = Path(folder).resolve()  # "." has no name of its own; a link keeps pointing
        new = folder.parent / f'.{folder.name}.{os.getpid()}.new'
        try:
            shutil.rmtree(new, ignore_errors=True)  # of a killed process that had this number
            new.mkdir(parents=True)
            faiss.write_index(self.index, str(new / 'index.faiss'))
            _write(new / 'places.csv', self._table().encode())
            _write(new / 'map.yaml', self._description(new).encode())
            for name, path in (attachments or {}).items():
                if path.is_dir():
                    shutil.copytree(path, new / name)
                elif path.is_file():
                    shutil.copyfile(path, new / name)
            _exchange(new, folder)
        except (OSError, RuntimeError) as error:  # RuntimeError: of faiss
            reason = getattr(error, 'strerror', None) or ' '.join(str(error).split())
            raise VprError(
                f'{folder}: the map could not be written ({reason}); '
                'what was there before is untouched'
            ) from error
        finally:
            shutil.rmtree(new, ignore_errors=True)

    def _table(self) -> str:
        text = io.StringIO()
        rows = csv.writer(text, lineterminator='\n')
        rows.writerow(COLUMNS)
        for p in self.places:
            pose = [getattr(p.pose, c) for c in POSE_COLUMNS] if p.pose else [''] * 7
            place = [p.source, p.order, p.label, p.traverse, *(p.geo or ('', ''))]
            rows.writerow([p.id, repr(p.stamp), *pose, *place])
        return text.getvalue()

    def _description(self, folder: Path) -> str:
        values = {'format_version': FORMAT_VERSION, **asdict(self.info)}
        values['descriptor_size'], values['index'] = self.index.d, type(self.index).__name__
        values['places'] = len(self.places)
        values['sha256'] = {name: _synced_checksum(folder / name) for name in _FILES}
        return yaml.safe_dump(values, sort_keys=False)

    @classmethod
    def load(cls, folder: Path, embedder: Embedder | None = None) -> PlaceMap:
        """Read and check a map; with `embedder` also that its model made this map.

        Raises VprError that names what failed: folder, version, checksum, count or model.
        """
        folder = Path(folder)
        values = _read_description(folder)
        contents = {name: _read_checked(folder / name, values['sha256']) for name in _FILES}
        model = values['model']
        if embedder is not None and model['sha256'] != embedder.hash:
            raise VprError(
                f'{folder}: built with model {model["name"]} ({model["sha256"][:8]}), the running '
                f'model is {embedder.name} ({embedder.hash[:8]}); rebuild the map with build_map'
            )
        places = _parse_places(folder / 'places.csv', contents['places.csv'].decode())
        try:
            index = faiss.deserialize_index(np.frombuffer(contents['index.faiss'], np.uint8))
        except RuntimeError as error:
            raise VprError(f'{folder}: index.faiss is no index; rebuild the map') from error
        counts = (values['places'], len(places), index.ntotal)
        if len(set(counts)) > 1 or index.d != values['descriptor_size']:
            raise VprError(
                f'{folder}: map.yaml, places.csv and index.faiss count {counts} places; '
                'rebuild the map'
            )
        info = MapInfo(values['frame'], model, values['calibration'], values['built'])
        return cls(index, places, info)


def check_target(folder: Path) -> None:
    """VprError where a map must not be written: something else is there."""
    if not folder.exists() or (folder / 'map.yaml').exists():
        return
    if not folder.is_dir() or any(folder.iterdir()):
        raise VprError(f'{folder}: exists and is no map; give another folder for the map')


def _read_description(folder: Path) -> dict:
    if not folder.is_dir():
        raise VprError(f'{folder}: no such map; build one with build_map')
    try:
        values = yaml.safe_load((folder / 'map.yaml').read_text(encoding='utf-8'))
    except OSError as error:
        raise VprError(f'{folder}: holds no map.yaml; build the map with build_map') from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: no UTF-8, no such date
        raise VprError(f'{folder}: map.yaml is damaged; rebuild the map') from error
    if not isinstance(values, dict) or 'format_version' not in values:
        raise VprError(f'{folder}: map.yaml is incomplete; rebuild the map')
    if values['format_version'] != FORMAT_VERSION:
        raise VprError(
            f'{folder}: has map format {values["format_version"]}, this program reads '
            f'{FORMAT_VERSION}; rebuild the map'
        )
    needed = {'frame', 'descriptor_size', 'places'} <= values.keys()
    tables = ('model', 'calibration', 'built', 'sha256')
    whole = needed and all(isinstance(values.get(key), dict) for key in tables)
    if not whole or not all(isinstance(values['model'].get(k), str) for k in ('name', 'sha256')):
        raise VprError(f'{folder}: map.yaml is incomplete; rebuild the map')
    return values


def _read_checked(path: Path, checksums: dict) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        reason = error.strerror or error
        raise VprError(f'{path}: cannot be read ({reason}); rebuild the map') from error
    if hashlib.sha256(data).hexdigest() != checksums.get(path.name):
        raise VprError(f'{path}: is damaged, its checksum differs from map.yaml; rebuild the map')
    return data


def _parse_places(path: Path, text: str) -> list[Place]:
    places = []
    try:
        for row in csv.DictReader(io.StringIO(text)):
            pose = Pose(*(float(row[c]) for c in POSE_COLUMNS)) if row['x'] else None
            stamp, order = float(row['stamp']), int(row['order'])
            # The last three came later: maps without them are read as well.
            geo = (float(row['lat']), float(row['lon'])) if row.get('lat') else None
            place = Place(int(row['id']), stamp, order, pose, row['source'], row['label'])
            places.append(replace(place, traverse=int(row.get('traverse') or 0), geo=geo))
    except (KeyError, ValueError, TypeError, csv.Error) as error:
        raise VprError(f'{path}: not a table of places ({error}); rebuild the map') from error
    return places


def _synced_checksum(path: Path) -> str:
    """sha256 of a file that is on the disk by now."""
    digest = hashlib.sha256()
    with path.open('rb') as file:
        os.fsync(file.fileno())
        while part := file.read(2**20):
            digest.update(part)
    return digest.hexdigest()


def _write(path: Path, data: bytes) -> None:
    with path.open('wb') as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _exchange(new: Path, folder: Path) -> None:
    """Put `new` where `folder` is, in one step; what was there ends up at `new`."""
    if not folder.exists():
        os.rename(new, folder)
        return
    libc = ctypes.CDLL(None, use_errno=True)
    at_cwd, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE of renameat2(2)
    if libc.renameat2(at_cwd, os.fsencode(new), at_cwd, os.fsencode(folder), exchange):
        # A file system without it (NFS, say): two steps, the old map kept aside between them.
        aside = new.with_suffix('.old')
        os.rename(folder, aside)
        try:
            os.rename(new, folder)
        except OSError:
            os.rename(aside, folder)
            raise
        shutil.rmtree(aside, ignore_errors=True)


def place_spacing(places: list[Place]) -> float:
    """Median distance in metres between places that follow each other; 0 without poses."""
    poses = [p.pose for p in places if p.pose is not None]
    steps = [math.dist((a.x, a.y), (b.x, b.y)) for a, b in pairwise(poses)]
    return float(np.median(steps)) if steps else 0.0

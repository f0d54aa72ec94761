# SPDX-License-Identifier: Apache-2.0
"""A map gets another network: its pictures are embedded anew, from the originals if possible."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from ashtkd_ros.errors import VprError
from ashtkd_ros.files.checksums import sha256_of
from ashtkd_ros.mapping.journal import Journal
from ashtkd_ros.mapping.revision import Revision, target_of
from ashtkd_ros.maps.description import TRUST
from ashtkd_ros.maps.map_rows import LocalRows, whole
from ashtkd_ros.maps.place_map import Place, PlaceMap
from ashtkd_ros.maps.place_pictures import PlacePictures
from ashtkd_ros.network.embedder import Embedder
from ashtkd_ros.network.local_features import Look
from ashtkd_ros.network.parallel_embedding import in_parallel
from ashtkd_ros.traverses.opening import images_described

_AREA = cv2.INTER_AREA
_SIDE, _ALIKE = 16, 24.0  # pixels; mean difference of grey up to which pictures are the same


@dataclass(frozen=True)
class Reembedded:
    """The new map; how many of its pictures were embedded from the small pictures of the map."""

    map: PlaceMap
    small: int


def reembed(
    folder: Path,
    embedder: Embedder,
    out: Path | None = None,
    local: bool = True,
    workers: int = 0,
    arguments: str = '',
) -> Reembedded:
    """Give the map in `folder` another network; the result goes to `out`, or in its place.

    Numbers, poses, labels and pictures stay. `local`: make local features where the network has
    such. What a killed call has embedded is noted down: the same call goes on there. VprError for
    a place that has neither its original nor a small picture.
    """
    target = target_of(folder, out)
    base = PlaceMap.load(folder, pictures=True, without_damaged=True)
    shape = embedder.local if local else None
    key = {'model': embedder.hash, 'options': {'reembed': shape and shape.table()}}
    with Journal(target.folder, key, embedder.dimensions, shape) as journal:
        with target.unless_replaced():
            rows = _Reembedding(base, embedder, journal).run(workers)
        new = _map_of(base, embedder, journal, rows)
        small = sum(entry['small'] for entry in _entries(journal, rows))
        result = f'{small} of {len(rows)} pictures from the small ones of the map'
        revision = Revision([whole(new)], new.places, new.info, base.index)
        revision.calibrate(embedder, workers)
        saved = revision.save(target, 'reembed', arguments, base.places, result)
        journal.remove()
    saved.warnings = base.warnings
    return Reembedded(saved, small)


class _Reembedding:
    """Embeds the pictures of a map that a journal does not have yet."""

    def __init__(self, base: PlaceMap, embedder: Embedder, journal: Journal):
        self._map, self._embedder, self._journal = base, embedder, journal
        self._local = journal.has_local
        self._names = _names(base)

    def run(self, workers: int) -> np.ndarray:
        """int64 (N,): where the journal has each row of the map."""
        there = {entry['picture']: n for n, entry in enumerate(self._journal.entries())}
        left = [row for row, name in enumerate(self._names) if name not in there]
        with tqdm(total=len(left), desc='map', unit='picture', delay=2, disable=None) as bar:
            for (row, small), look in in_parallel(self._look, self._jobs(left), workers):
                entry = {'picture': self._names[row], 'small': small}
                there[self._names[row]] = self._journal.count
                self._journal.add(entry, look.descriptor, look.local)
                bar.update()
        self._journal.flush()
        return np.array([there[name] for name in self._names], np.int64)

    def _jobs(self, rows: list[int]) -> Iterator[tuple[tuple[int, bool], tuple]]:
        """Row, whether its picture is the small one, and the picture; originals first."""
        lacking = set(rows)
        for place, image in PlacePictures(self._map).found(rows):
            if _is_same(self._map, place, image):
                lacking.discard(place.row)
                yield (place.row, False), (self._embedder.resize(image), 'RGB')
        for row in sorted(lacking):
            place = self._map.places[row]
            image = self._map.picture(place)
            if image is None:
                raise VprError(
                    f'{self._map.folder}: of place {place.id} there is neither the original '
                    f'("{place.source}") nor a small picture; put its recording back, or drop it'
                )
            yield (row, True), (self._embedder.resize(image), 'RGB')

    def _look(self, image: np.ndarray, order: str) -> Look:
        if self._local:
            return self._embedder.describe(image, order)
        return Look(self._embedder.embed(image, order), None)


def originals_there(place_map: PlaceMap) -> int:
    """How many of a map's pictures still have their original."""
    found = PlacePictures(place_map).found(range(len(place_map.places)))
    return sum(_is_same(place_map, place, image) for place, image in found)


def _is_same(place_map: PlaceMap, place: Place, image: np.ndarray) -> bool:
    """Whether an original is what the map was made of, and not another by the same name."""
    small = place_map.picture(place)
    if small is None:
        return True
    grey = [
        cv2.resize(cv2.cvtColor(x, cv2.COLOR_RGB2GRAY), (_SIDE, _SIDE), interpolation=_AREA)
        for x in (small, image)
    ]
    return float(np.abs(np.subtract(*grey, dtype=np.float32)).mean()) <= _ALIKE


def _map_of(base: PlaceMap, embedder: Embedder, journal: Journal, rows: np.ndarray) -> PlaceMap:
    """The map with what the journal has, in its old order, with the pictures of the old one."""
    local = journal.local()
    local = None if local is None else LocalRows([(local, rows)])
    built = {key: value for key, value in base.info.built.items() if key != TRUST}
    new = PlaceMap.build(
        journal.descriptors()[rows], base.places, embedder, base.info.frame, local, **built
    )
    new.info = replace(new.info, next_id=base.info.next_id)
    new.folder = base.folder
    return new


def _names(base: PlaceMap) -> list[str]:
    """What tells the picture of each row from all others."""
    places, described = base.places, [images_described(t) for t in base.traverses]
    images = [*described, *[()] * (int(places.traverses.max()) + 1 - len(described))]
    columns = (places.traverses.tolist(), places.sources, places.orders.tolist(), places.pictures)
    return [
        sha256_of(repr((images[t], t if not images[t] else 0, *rest, p.tobytes())).encode())
        for t, *rest, p in zip(*columns, strict=True)
    ]


def _entries(journal: Journal, rows: np.ndarray) -> list[dict]:
    entries = list(journal.entries())
    return [entries[row] for row in rows.tolist()]

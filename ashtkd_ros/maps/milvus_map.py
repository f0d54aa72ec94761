# SPDX-License-Identifier: Apache-2.0
"""A map in a collection of Milvus: searched there, or brought from there into a folder.

What comes from Milvus is checked like a file: by type, range, length of the vectors and checksum.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ashtkd_ros.errors import VprError
from ashtkd_ros.files.checksums import sha256_of
from ashtkd_ros.maps.description import Description
from ashtkd_ros.maps.descriptor_index import DescriptorIndex
from ashtkd_ros.maps.index_choice import IndexOptions
from ashtkd_ros.maps.index_file import build_index
from ashtkd_ros.maps.local_file import LocalFeatures
from ashtkd_ros.maps.milvus_push import is_map
from ashtkd_ros.maps.milvus_rows import (
    PLACE,
    check_shape,
    description_of,
    descriptor_of,
    local_of,
    place_of,
    thumbnail_of,
)
from ashtkd_ros.maps.milvus_store import MOST_HITS, Address, Store, connected
from ashtkd_ros.maps.place_map import Place, PlaceMap, check_model
from ashtkd_ros.maps.places import Places
from ashtkd_ros.maps.places_file import PLACES_FILE, write_columns
from ashtkd_ros.maps.thumbnails import write_thumbnail
from ashtkd_ros.network.embedder import Embedder
from ashtkd_ros.network.local_features import LocalShape
from ashtkd_ros.text import reason_of

_PAGE = 2**22  # bytes that are asked for at a time, about
_LIGHT = 2**10  # bytes of a row without vectors and pictures, about
_PICTURE = 2**14
_Value = TypeVar('_Value')


@contextlib.contextmanager
def opened(address: Address, embedder: Embedder | None = None) -> Iterator[MilvusRows]:
    """The map at an address, while the body runs; with `embedder` also that its model made it.

    VprError where nothing answers, there is no map, or it is damaged or another model's.
    """
    with connected(address) as store:
        collection = store.current()
        if collection is None:
            raise VprError(
                f'{address}: there is no collection {address.name}; map_tools push makes it'
            )
        if not is_map(store, collection):
            raise VprError(f'{address}: is no map of map_tools push; name another collection')
        try:
            store.load(collection)
            notes = store.query(collection, 'row < 0', ['row', 'note'])
            if not notes:
                raise ValueError('its description is lost; push the map again')
            description = description_of(notes)
        except ValueError as error:
            raise VprError(f'{address}: {reason_of(error)}') from error
        check_model(address, description, embedder)
        check_shape(description.local)
        if (stored := store.count(collection)) != description.places:
            raise VprError(
                f'{address}: is damaged, it has {stored} of {description.places} pictures; push '
                'the map again'
            )
        yield MilvusRows(store, collection, description)


class MilvusRows:
    """The rows of a map in Milvus; `description`: what its map.yaml says, which is checked.

    VprError from every method where Milvus fails or a row is not sound.
    """

    def __init__(self, store: Store, collection: str, description: Description):
        self.store, self.collection, self.description = store, collection, description
        self.address, self._checksum = store.address, description.sha256[PLACES_FILE]

    def __len__(self) -> int:
        return self.description.places

    def near(self, low: Sequence[float], high: Sequence[float]) -> np.ndarray:
        """int64 (K,): the rows whose pose lies between two corners (x, y), in metres."""
        parts = [f'{c} >= {a!r} and {c} <= {b!r}' for c, a, b in zip('xy', low, high, strict=True)]
        inside = ' and '.join(['posed == true', *parts])
        found = []
        for first in range(0, len(self), MOST_HITS):
            last = min(first + MOST_HITS, len(self)) - 1
            chosen = f'row >= {first} and row <= {last} and {inside}'
            rows = [e.get('row') for e in self._query(chosen, ['row'])]
            if not all(type(row) is int and first <= row <= last for row in rows):
                raise self._damage('a row has no number')
            found += rows
        return np.unique(np.array(found, np.int64))

    def read(
        self,
        rows: np.ndarray,
        fields: Sequence[str],
        each: int,
        take: Callable[[dict[str, Any]], _Value],
    ) -> Iterator[_Value]:
        """What `take` makes of each of the rows, int64 (K,), in their order.

        `fields`: what it needs; `each`: bytes of a row of them, about.
        """
        step = min(MOST_HITS, max(1, _PAGE // each))
        for start in range(0, len(rows), step):
            page = np.asarray(rows[start : start + step], np.int64)
            wanted = np.unique(page).tolist()
            chosen = f'row in {wanted}'
            if wanted[-1] - wanted[0] + 1 == len(wanted):
                chosen = f'row >= {wanted[0]} and row <= {wanted[-1]}'
            entities = self._query(chosen, ['row', *fields])
            by_row = {e['row']: e for e in entities if type(e.get('row')) is int}
            for row in page.tolist():
                if row not in by_row:
                    raise self._damage(f'row {row} is missing')
                try:
                    taken = take(by_row[row])
                except ValueError as error:
                    raise self._damage(f'row {row}: {reason_of(error)}') from error
                yield taken

    def _query(self, chosen: str, fields: Sequence[str]) -> list[dict[str, Any]]:
        try:
            return self.store.query(self.collection, chosen, fields)
        except VprError:
            self._check_replaced()
            raise

    def _check_replaced(self) -> None:
        """VprError where another map has taken the place of this one."""
        current = self.collection
        with contextlib.suppress(VprError):  # Milvus is gone; the caller says so
            current = self.store.current()
        if current != self.collection:
            raise VprError(f'{self.address}: was replaced meanwhile; do this again')

    def places(self, rows: np.ndarray) -> Places:
        """The places in these rows; a whole map's are compared with its checksum."""
        read: Iterator[Place] = self.read(rows, list(PLACE), _LIGHT, place_of)
        try:
            places = Places.of(read)
            places.check()
            if places.ids.max() >= self.description.info.next_id:
                raise ValueError(f'place {places.ids.max()} has a number that was not given')
            known = len(self.description.info.traverses)
            if known and places.traverses.max() >= known:
                raise ValueError(f'a place is of traverse {places.traverses.max()} of {known}')
            whole = len(rows) == len(self)
            if whole and sha256_of(write_columns(places)) != self._checksum:
                raise ValueError('the places differ from their checksum')
        except ValueError as error:
            raise self._damage(reason_of(error)) from error
        return places

    def descriptors(self, rows: np.ndarray) -> np.ndarray:
        """float32 (K, D), of length 1."""
        size = self.description.descriptor_size
        found = np.empty((len(rows), size), np.float32)
        read = self.read(rows, ['descriptor'], 16 * size, lambda e: descriptor_of(e, size))
        for at, descriptor in enumerate(read):
            found[at] = descriptor
        return found

    def local(self, rows: np.ndarray) -> Iterator[np.ndarray]:
        """int8 (P, L) of each row, of a map that has local features."""
        shape = self.description.local
        return self.read(rows, ['local'], 2 * shape.size, lambda e: local_of(e, shape))

    def map(self) -> PlaceMap:
        """The map, whose places are in memory, and whose descriptors and local features stay in
        Milvus: to be used while it is open. It has no folder and no pictures."""
        shape = self.description.local
        local = None if shape is None else MilvusLocal(self, shape)
        every = np.arange(len(self))
        return PlaceMap(MilvusIndex(self), self.places(every), self.description.info, local=local)

    def pulled(
        self, rows: np.ndarray, folder: Path, options: IndexOptions | None = None
    ) -> PlaceMap:
        """The map of some rows, int64 (K,), at least one, in memory, indexed as `options` say.

        What is large goes to an empty folder, which must stay: the pictures, as a map has them,
        and local features. Numbers of places are those of the whole map.
        """
        places, shape = self.places(rows), self.description.local
        index = build_index(self.descriptors(rows), options)
        local = None
        if shape is not None:
            size = (len(rows), shape.positions, shape.channels)
            array = np.lib.format.open_memmap(folder / 'local.npy', 'w+', np.int8, size)
            for at, features in enumerate(self.local(rows)):
                array[at] = features
            local = LocalFeatures(array, shape)
        pictured = np.flatnonzero(places.pictures.any(axis=1))
        read = self.read(rows[pictured], ['thumbnail'], _PICTURE, thumbnail_of)
        for at, data in zip(pictured.tolist(), read, strict=True):
            if sha256_of(data) != places[at].thumbnail:
                raise self._damage(f'row {rows[at]}: its picture differs from its checksum')
            write_thumbnail(folder, at, data)
        return PlaceMap(index, places, self.description.info, local=local)

    def _damage(self, what: str) -> VprError:
        self._check_replaced()
        return VprError(f'{self.address}: is damaged, {what}; push the map again')


class MilvusIndex(DescriptorIndex):
    """Descriptors that stay in Milvus and are searched there, all of them compared: exact."""

    kind, note, memory_bytes = 'milvus', None, 0

    def __init__(self, source: MilvusRows):
        self._source, self.d = source, source.description.descriptor_size

    def __len__(self) -> int:
        return len(self._source)

    def search(self, descriptors: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """See `DescriptorIndex.search`; `k`: at most `MOST_HITS`."""
        source = self._source
        if k > MOST_HITS:
            raise VprError(f'{source.address}: Milvus gives {MOST_HITS} places at most, not {k}')
        found = source.store.search(source.collection, descriptors, k)
        try:
            rows = np.array([[row for row, _ in hits] for hits in found], np.int64)
            values = [[value for _, value in hits] for hits in found]
            similarities = np.array(values, np.float32)
        except (TypeError, ValueError, OverflowError):
            rows = similarities = np.empty(0)
        sound = rows.shape == similarities.shape == (len(descriptors), k)
        if not sound or rows.min() < 0 or rows.max() >= len(self):
            raise VprError(f'{source.address}: Milvus does not give {k} places of the map')
        return similarities, rows

    def rows(self, ids: Sequence[int] | np.ndarray) -> np.ndarray:
        """See `DescriptorIndex.rows`."""
        return self._source.descriptors(self._checked(ids))


class MilvusLocal(LocalFeatures):
    """Local features that stay in Milvus."""

    def __init__(self, source: MilvusRows, shape: LocalShape):
        self._source, self.shape = source, shape

    def __len__(self) -> int:
        return len(self._source)

    def rows(self, ids: Sequence[int] | np.ndarray) -> np.ndarray:
        """See `LocalFeatures.rows`."""
        found = list(self._source.local(self._checked(ids)))
        size = (len(found), self.shape.positions, self.shape.channels)
        return np.array(found, np.int8).reshape(size)

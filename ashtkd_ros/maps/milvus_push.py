# SPDX-License-Identifier: Apache-2.0
"""A map becomes a collection of Milvus, whole or not at all.

It is written to a collection of its own, NAME_ashtkd_ and 8 digits; then the alias NAME is given
to that, in one step.
"""

from __future__ import annotations

import contextlib
import re
import secrets
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np

from ashtkd_ros.errors import VprError
from ashtkd_ros.files.checksums import sha256_of
from ashtkd_ros.maps.description import write_description
from ashtkd_ros.maps.index_kinds import FLAT
from ashtkd_ros.maps.local_file import LOCAL_FILE
from ashtkd_ros.maps.milvus_rows import FIELDS, LARGEST, check_shape, note_rows, row_of
from ashtkd_ros.maps.milvus_store import Address, Store, connected
from ashtkd_ros.maps.place_map import PlaceMap
from ashtkd_ros.maps.places import Places
from ashtkd_ros.maps.places_file import PLACES_FILE, write_columns
from ashtkd_ros.maps.places_rows import with_columns
from ashtkd_ros.maps.thumbnails import read_thumbnail
from ashtkd_ros.text import counted

_MARK = '_ashtkd_'
_BATCH = 2**22  # bytes that are sent at a time, about


@dataclass(frozen=True)
class Pushed:
    """What came of it: numbers of `pictures` that are too large for Milvus, and collections of
    pushes that were killed, or still run."""

    pictures: int
    strays: list[str]


def check_place(address: Address, over: bool) -> None:
    """VprError where no map can be pushed to; `over`: a map may be there already."""
    with connected(address, create=True) as store:
        _replaced(store, over)


def push(place_map: PlaceMap, address: Address, over: bool = False) -> Pushed:
    """Write a map to a collection; `over`: in the place of the map that is there.

    VprError where something else is there, or Milvus fails; what was there before is then as it
    was.
    """
    check_shape(None if place_map.local is None else place_map.local.shape)
    place_map, too_large = _fitting(place_map)
    with connected(address, create=True) as store:
        old = _replaced(store, over)
        new = f'{address.name}{_MARK}{secrets.token_hex(4)}'
        try:
            _write(store, new, place_map)
            if store.current() != old:
                raise VprError(f'{address}: was replaced meanwhile; do this again')
            store.switch(new)
        except BaseException:
            with contextlib.suppress(Exception):
                if store.current() != new:
                    store.drop(new)
            raise
        if old is not None:
            with contextlib.suppress(VprError):
                store.drop(old)
        named = re.compile(re.escape(address.name + _MARK) + '[0-9a-f]{8}')
        strays = [name for name in store.names() if named.fullmatch(name) and name != new]
    return Pushed(too_large, strays)


def is_map(store: Store, collection: str) -> bool:
    """Whether a collection has the fields of a map."""
    return store.fields(collection) == {'row', 'descriptor', *FIELDS}


def _replaced(store: Store, over: bool) -> str | None:
    """The collection that a new one replaces; VprError where that must not be."""
    old = store.current()
    if old is None:
        return None
    if not old.startswith(store.address.name + _MARK) or not is_map(store, old):
        raise VprError(
            f'{store.address}: is a collection that map_tools did not make; give another name'
        )
    if not over:
        raise VprError(f'{store.address}: holds a map already; give another name, or --replace')
    return old


def _fitting(place_map: PlaceMap) -> tuple[PlaceMap, int]:
    """The map without the pictures that do not fit a row, and their number."""
    places, large = place_map.places, []
    for row in np.flatnonzero(places.pictures.any(axis=1)).tolist():
        if len(_thumbnail(place_map, places, row)) > LARGEST:
            large.append(row)
    if not large:
        return place_map, 0
    pictures = places.pictures.copy()
    pictures[large] = 0
    kept = with_columns(places, pictures=pictures)
    fitting = PlaceMap(place_map.index, kept, place_map.info, place_map.folder, place_map.local)
    return fitting, len(large)


def _thumbnail(place_map: PlaceMap, places: Places, row: int) -> bytes:
    place = places[row]
    if not place.thumbnail or place_map.folder is None:
        return b''
    try:
        return read_thumbnail(place_map.folder, place)
    except OSError as error:
        raise VprError(
            f'{place_map.folder}: the picture in row {row} cannot be read; rebuild the map'
        ) from error


def _write(store: Store, new: str, place_map: PlaceMap) -> None:
    places, size = place_map.places, place_map.index.d
    store.create(new, size, FIELDS)
    rows = iter(range(len(places)))
    local = place_map.local
    each = 4 * size + 2**14 + (0 if local is None else 2 * local.shape.size)
    while batch := list(islice(rows, max(1, _BATCH // each))):
        descriptors = place_map.descriptors(np.array(batch))
        features = [None] * len(batch) if local is None else local.rows(batch)
        pictures = [_thumbnail(place_map, places, row) for row in batch]
        parts = zip(batch, descriptors, pictures, features, strict=True)
        store.insert(new, [row_of(places[row], d, p, f) for row, d, p, f in parts])
    # The description comes last: without it this is no map.
    store.insert(new, list(note_rows(_description(place_map), size)))
    store.flush(new)
    stored = store.count(new)
    if stored != len(places):
        raise VprError(
            f'{store.address}: of {counted(len(places), "picture")} Milvus has stored {stored}; '
            'do this again'
        )


def _description(place_map: PlaceMap) -> bytes:
    places, local = place_map.places, place_map.local
    sha256 = {PLACES_FILE: sha256_of(write_columns(places))}
    shape = None
    if local is not None:
        shape, sha256[LOCAL_FILE] = local.shape, _NOT_A_FILE
    info = replace(place_map.info, next_id=place_map.next_id)
    return write_description(info, len(places), place_map.index.d, (FLAT, None), sha256, shape)


_NOT_A_FILE = '0' * 64  # local features lie in the rows

# SPDX-License-Identifier: Apache-2.0
"""A map is changed: loaded whole, made anew of rows, and put in place in one step."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from ashtkd_ros.errors import VprError
from ashtkd_ros.files.reading import read_regular
from ashtkd_ros.mapping.calibration import calibrated
from ashtkd_ros.mapping.route_picture import write_route_picture
from ashtkd_ros.maps.city import is_city
from ashtkd_ros.maps.description import MapInfo
from ashtkd_ros.maps.descriptor_index import DescriptorIndex
from ashtkd_ros.maps.folder import DESCRIPTION, DESCRIPTION_LIMIT, ROUTE, check_target
from ashtkd_ros.maps.history import noted
from ashtkd_ros.maps.map_rows import Part, PictureRows, map_of_parts, whole
from ashtkd_ros.maps.place_map import PlaceMap
from ashtkd_ros.maps.places import Places
from ashtkd_ros.network.embedder import Embedder


@dataclass(frozen=True)
class Target:
    """Where a changed map goes; `over`: bytes of the map.yaml that it replaces, empty: none.

    `base`: the map that is changed, None where there are several; `told`: its map.yaml when the
    work began.
    """

    folder: Path
    over: bytes
    base: Path | None = None
    told: bytes = b''

    @contextlib.contextmanager
    def unless_replaced(self) -> Iterator[None]:
        """Where the body fails because somebody has replaced the map meanwhile, say that."""
        try:
            yield
        except VprError as error:
            if self.base is None or _description(self.base) == self.told:
                raise
            raise VprError(f'{self.base}: was replaced meanwhile; do this again') from error


def target_of(folder: Path | None, out: Path | None = None) -> Target:
    """Where the map that is made of that in `folder` goes: to `out`, or in its place without one.

    To be asked before the map is loaded, so that what is loaded is what is replaced. VprError
    where `out` holds something, or where no map can be put.
    """
    target = Path(folder if out is None else out)
    if out is not None or not is_city(target):  # PlaceMap.load says what that is
        check_target(target)
    if folder is not None and _is_same(target, folder):
        return Target(target, _description(target), folder, _description(folder))
    if target.is_dir() and any(target.iterdir()):
        raise VprError(f'{target}: holds a map already; give another folder with -o')
    return Target(target, b'', folder, b'' if folder is None else _description(folder))


def _is_same(target: Path, folder: Path) -> bool:
    try:
        return os.path.realpath(target) == os.path.realpath(folder)
    except (OSError, ValueError):  # a zero byte
        return False


def _description(folder: Path) -> bytes:
    try:
        return read_regular(folder / DESCRIPTION, DESCRIPTION_LIMIT)
    except (OSError, ValueError):  # PlaceMap.load says what is wrong
        return b''


@dataclass
class Revision:
    """A map that is made of rows of others, and not saved yet.

    `parts`: the rows, in the order of `places`; `info`: what map.yaml will say of it; `pattern`:
    the index whose kind it keeps, None: that of the first part.
    """

    parts: Sequence[Part]
    places: Places
    info: MapInfo
    pattern: DescriptorIndex | None = None

    @cached_property
    def map(self) -> PlaceMap:
        """The new map."""
        pattern = self.parts[0].map.index if self.pattern is None else self.pattern
        return map_of_parts(self.parts, self.places, self.info, pattern)

    @cached_property
    def pictures(self) -> PictureRows:
        """The pictures of its places."""
        return PictureRows(self.parts)

    def calibrate(self, embedder: Embedder, workers: int = 0) -> None:
        """Fit the confidence to what the map answers to its own pictures, changed."""
        place_map = self.map
        place_map.info = replace(place_map.info, calibration=dict(embedder.confidence))
        if self.places.pictures.any():
            found = calibrated(place_map, embedder, self.pictures.pixels, workers)
            place_map.info = place_map.info.calibrated(found.coefficients, found.trust)
        else:
            place_map.info = place_map.info.calibrated(place_map.info.calibration, [])
        self.info = place_map.info

    def save(
        self, target: Target, what: str, arguments: str, before: Places, result: str = ''
    ) -> PlaceMap:
        """Put the map in place, with an entry in its history; `before`: the places of the old map.

        Returns the map as it was saved. VprError where it cannot be written, or where another map
        is in that place by now.
        """
        place_map = self.map
        pairs = [
            (place_count(before), place_count(self.places)),
            (len(before), len(self.places)),
        ]
        built = noted(place_map.info.built, what, arguments, *pairs, result)
        place_map.info = replace(place_map.info, built=built)
        with drawn(self.places, place_map.info.frame) as route, target.unless_replaced():
            place_map.save(target.folder, self.pictures, route, over=target.over)
        return place_map


@contextlib.contextmanager
def drawn(places: Places, frame: str) -> Iterator[Path | None]:
    """A file with the picture of all places from above; None where there is nothing to draw, or
    no room for it: a map is saved without it as well."""
    with contextlib.ExitStack() as stack:
        route = None
        if places.posed.any():
            with contextlib.suppress(OSError):
                route = Path(stack.enter_context(tempfile.TemporaryDirectory())) / ROUTE
                write_route_picture(route, places, frame)
        yield route


def copy_map(place_map: PlaceMap, target: Target) -> None:
    """Put a map that nothing is changed in where it is wanted: the same to the byte."""
    if not target.over:  # else it is there
        put_rows(place_map, target)


def put_rows(place_map: PlaceMap, target: Target) -> None:
    """Put a map that still has all its rows where it is wanted, with its pictures and route."""
    pictures, route = PictureRows([whole(place_map)]), place_map.folder / ROUTE
    with target.unless_replaced():
        place_map.save(target.folder, pictures, route, over=target.over)


def place_count(places: Places) -> int:
    """How many places there are; several pictures may be of one."""
    return len(np.unique(places.ids))


def ranges(ids: np.ndarray) -> str:
    """Whole numbers, int64 (N,), as text: 3, 7-12."""
    ids = np.unique(ids)
    starts = np.flatnonzero(np.diff(ids, prepend=ids[:1] - 2) != 1)
    ends = np.append(starts[1:], len(ids)) - 1
    pairs = zip(ids[starts].tolist(), ids[ends].tolist(), strict=True)
    return ', '.join(str(low) if low == high else f'{low}-{high}' for low, high in pairs)

# SPDX-License-Identifier: Apache-2.0
"""Queries that are images of the map itself, which any method finds."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from ashtkd_ros.files.checksums import sha256_of
from ashtkd_ros.images.picture_limits import read_bytes
from ashtkd_ros.maps.place_map import PlaceMap
from ashtkd_ros.traverses.frame import Frame
from ashtkd_ros.traverses.opening import images_described, originals_of
from ashtkd_ros.traverses.traverse import Originals, Traverse

# Two descriptors of one image differ by rounding only; no two images are so similar.
_SAME = 1.0 - 1e-5


def shared_images(
    place_map: PlaceMap,
    traverse: Traverse,
    frames: Sequence[Frame],
    descriptors: np.ndarray | None = None,
) -> int:
    """How many of the queries are images of the map.

    Images are compared by their source, and files by their bytes, too. Where `descriptors`
    float32 (Q, D) has a row for each query, they find copies in other recordings.
    """
    same = np.zeros(len(frames), bool)
    mapped, described = _sources(place_map), traverse.describe()
    originals = originals_of(described)
    for row, frame in enumerate(frames):
        same[row] = _source(described, originals, frame.source) in mapped
    if descriptors is not None and len(descriptors) == len(frames):
        count = min(2, len(place_map.places))
        index = place_map.index
        scores, rows = index.search(np.ascontiguousarray(descriptors, np.float32), count)
        # Those of float16 are rounded, their lengths too, by more than `_SAME` leaves.
        scores = scores / np.linalg.norm(index.rows(rows.ravel()), axis=1).reshape(rows.shape)
        # Where two places look just the same, their descriptors do not tell images apart.
        same |= (scores[:, 0] >= _SAME) & ((count == 1) | (scores[:, -1] < _SAME))
    if not same.all():
        files = [path for path in mapped if isinstance(path, str)]
        same[list(_same_bytes(files, frames, np.flatnonzero(~same).tolist()))] = True
    return int(same.sum())


def shared_images_note(shared: int, count: int, preselected: bool) -> list[str]:
    """A note for the user, or none where no image is shared."""
    if not shared:
        return []
    advice = 'other images (--role)' if preselected else 'another recording'
    return [
        f'{shared} of {count} images replayed are images of the map itself, which any method '
        f'finds, so that the figures say little; evaluate with {advice}'
    ]


def _sources(place_map: PlaceMap) -> set[object]:
    traverses = [(t, originals_of(t)) for t in place_map.traverses]
    return {
        _source(*traverses[place.traverse], place.source)
        for place in place_map.places
        if place.traverse < len(traverses)
    }


def _source(traverse: Mapping, originals: Originals, name: str) -> object:
    """What names an image wherever it is named: a file, or its name within a recording."""
    recording, topic, _ = images_described(traverse)
    try:
        file = originals.file(name)
        if file is not None:
            return os.path.realpath(file)
        return os.path.realpath(recording), topic, name
    except (OSError, ValueError):  # a map may hold any name
        return recording, topic, name


def _same_bytes(files: Sequence[str], frames: Sequence[Frame], rows: list[int]) -> Iterator[int]:
    """Those of the rows whose file has the bytes of one of the files."""
    sizes: dict[int, list[str]] = {}
    for file in files:
        sizes.setdefault(_size(file), []).append(file)
    known: dict[int, set[str]] = {}
    for row in rows:
        path = frames[row].file
        size = _size(path) if path is not None else -1
        if size < 0 or size not in sizes:
            continue
        if size not in known:
            known[size] = {_digest(file) for file in sizes[size]} - {''}
        if _digest(path) in known[size]:
            yield row


def _size(path: str | Path) -> int:
    try:
        return os.stat(path).st_size
    except (OSError, ValueError):
        return -1


def _digest(path: str | Path) -> str:
    try:
        return sha256_of(read_bytes(path))
    except (OSError, ValueError):
        return ''

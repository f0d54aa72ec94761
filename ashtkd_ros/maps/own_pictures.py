# SPDX-License-Identifier: Apache-2.0
"""The images that a map may show beside its own pictures: those of the walk that it names.

What a map names as the source of a place is not to be believed: it could be any picture on the
disk, and reports are handed on.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import numpy as np

from ashtkd_ros.errors import VprError
from ashtkd_ros.files.reading import inside, is_file
from ashtkd_ros.files.tables import read_rows
from ashtkd_ros.images.bit_depth import BitDepth
from ashtkd_ros.images.image_file import read_image
from ashtkd_ros.maps.place_map import Place

_TABLES = ('poses.csv', 'index.csv')  # what makes a folder a walk


def _listed(folder: Path) -> frozenset[str]:
    """The images that a walk's table names; VprError where it cannot be read."""
    table = next(folder / name for name in _TABLES if is_file(folder / name))
    found = os.stat(table)
    return _files_of(table, (found.st_ino, found.st_mtime_ns, found.st_size))


@lru_cache(maxsize=8)
def _files_of(table: Path, state: tuple[int, ...]) -> frozenset[str]:
    names = (row['file'] for _, row in read_rows(table, ('file',)))
    return frozenset(os.path.relpath(os.path.join('/', name), '/') for name in names)


def recorded(
    traverse: Mapping[str, str], place: Place, depth: BitDepth | None = None
) -> np.ndarray:
    """A place's image in the folder that its traverse was, uint8 RGB (H, W, 3).

    `depth`: see `sources.read_image`. VprError where that is no walk (any more), or the image
    lies elsewhere or is gone.
    """
    folder = Path(traverse['source'])
    if not folder.is_absolute() or not any(is_file(folder / table) for table in _TABLES):
        raise VprError(f'{folder}: holds no {" or ".join(_TABLES)} any more, so no images of it')
    path = inside(folder, place.source)
    if path is not None and place.source not in _listed(folder):
        raise VprError(f'{folder / place.source}: is not listed by the walk; it is not shown')
    if path is None:
        raise VprError(
            f'{folder / place.source}: lies outside of the folder that the map was made of; '
            'such an image is not shown'
        )
    return read_image(path, depth)

# SPDX-License-Identifier: Apache-2.0
"""The small pictures of a map's places: made, named, written, read and removed here alone.

They lie in the folder `thumbnails` of a map, or of the journal of a map that is being built.
"""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import cv2
import numpy as np

from ashtkd_ros.errors import VprError
from ashtkd_ros.files.checksums import sha256_of
from ashtkd_ros.files.reading import inside, read_regular
from ashtkd_ros.images.picture_decoding import decode_picture
from ashtkd_ros.maps.places import Place

THUMBNAILS = 'thumbnails'
PICTURE_LIMIT = 2**26  # bytes of one picture in a map
_NAME = re.compile(r'[0-9]{6,}\.jpg')
_HEIGHT, _WIDTH = 120, 640  # pixels at most; the shape of the image is kept
_QUALITY = [cv2.IMWRITE_JPEG_QUALITY, 80]
_TO_BGR = {'RGB': cv2.COLOR_RGB2BGR, 'GREY': cv2.COLOR_GRAY2BGR}


def make_thumbnail(pixels: np.ndarray, order: str) -> bytes:
    """uint8 (H, W, 3) in `order` (RGB or BGR), or (H, W) with order GREY → a JPEG to keep."""
    height, width = pixels.shape[:2]
    scale = min(_HEIGHT / height, _WIDTH / width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    if order in _TO_BGR:
        small = cv2.cvtColor(small, _TO_BGR[order])
    return cv2.imencode('.jpg', small, _QUALITY)[1].tobytes()


def thumbnail_name(row: int) -> str:
    """Path of the picture in a row of the map, within the folder of the map."""
    return f'{THUMBNAILS}/{row:06d}.jpg'


def is_thumbnail(name: str) -> bool:
    """Whether a file in the folder of thumbnails has the name of one."""
    return bool(_NAME.fullmatch(name))


def write_thumbnail(folder: Path, row: int, data: bytes) -> None:
    """Write the JPEG of a row below the folder of a map or journal. Raises OSError."""
    (folder / THUMBNAILS).mkdir(exist_ok=True)
    (folder / thumbnail_name(row)).write_bytes(data)


def put_thumbnails(
    new: Path, places: Iterable[Place], source: Path | Callable[[Place], bytes]
) -> None:
    """Put the pictures of places below the folder of a new map. Raises OSError.

    `source`: a folder that has them by their rows, or what gives the JPEG of a place.
    """
    if callable(source):
        for place in places:
            if place.thumbnail:
                write_thumbnail(new, place.row, source(place))
    elif source.is_dir():
        (new / THUMBNAILS).mkdir()
        for file in source.iterdir():
            # What else lies there is the user's, and stays.
            if is_thumbnail(file.name) and file.is_file():
                shutil.copyfile(file, new / THUMBNAILS / file.name)


def read_thumbnail(folder: Path, place: Place, handle: int | None = None) -> bytes:
    """JPEG of a place from the map's folder, or from the open descriptor `handle` of that folder.

    OSError where there is none or it is damaged.
    """
    name = thumbnail_name(place.row)
    path = Path(folder) / name if handle is None else name
    data = read_regular(path, PICTURE_LIMIT, dir_fd=handle)
    if place.thumbnail and sha256_of(data) != place.thumbnail:
        raise OSError(0, 'it is damaged, its checksum differs from places.csv')
    return data


def thumbnail_pixels(folder: Path, place: Place) -> np.ndarray | None:
    """A place's picture in the map's folder, uint8 RGB (H, W, 3); None without a sound one.

    A picture outside of the folder, to which a link leads, is not the map's own and not shown.
    """
    if inside(folder, thumbnail_name(place.row)) is None:
        return None
    try:
        data = np.frombuffer(read_thumbnail(folder, place), np.uint8)
        return cv2.cvtColor(decode_picture(data), cv2.COLOR_BGR2RGB)
    except (OSError, ValueError, VprError):
        return None


def remove_thumbnails(folder: Path) -> None:
    """Remove all pictures of places below a folder; files of the user in between stay. OSError."""
    inner = folder / THUMBNAILS
    if inner.is_symlink() or not inner.is_dir():
        return
    for path in list(inner.iterdir()):
        if is_thumbnail(path.name) and not path.is_dir():
            path.unlink()
    with contextlib.suppress(OSError):  # a file of the user is in it
        inner.rmdir()

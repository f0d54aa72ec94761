# SPDX-License-Identifier: Apache-2.0
"""What a map's folder holds: the names of its files, and which files are the user's.

What the map format does not name belongs to the user: it is never removed, and it stays in the
folder when the map in it is replaced.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from ashtkd_ros.errors import VprError
from ashtkd_ros.files.reading import open_regular, read_regular
from ashtkd_ros.maps.city import CITY_FILE
from ashtkd_ros.maps.description import looks_like_ours
from ashtkd_ros.maps.descriptor_file import DESCRIPTORS
from ashtkd_ros.maps.local_file import LOCAL_FILE
from ashtkd_ros.maps.places_file import PLACES_FILE
from ashtkd_ros.maps.thumbnails import THUMBNAILS, is_thumbnail, remove_thumbnails
from ashtkd_ros.text import reason_of

DESCRIPTION, INDEX, TABLE, ROUTE = 'map.yaml', 'index.faiss', 'places.csv', 'route.png'
DESCRIPTION_LIMIT = 2**22  # bytes
_FILES = (DESCRIPTION, INDEX, DESCRIPTORS, LOCAL_FILE, TABLE, PLACES_FILE, ROUTE)
_LONGEST_NAME = 230  # bytes of a folder's name; names beside it are up to 25 bytes longer
_TABLE_BEGINS = (b'id,stamp,x,y,z,qx,qy,qz,qw,source',)
_INDEX_BEGINS = b'IxFI', b'IxRF', b'IPfs', b'IHNs', b'IBxF'  # of each kind


def check_target(folder: Path) -> None:
    """VprError where a map must not be put, or could not be put after the work of building it."""
    try:
        folder = Path(folder).resolve()
        why = _obstacle(folder)
        if why:
            raise VprError(f'{folder}: {why}')
        if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
            return
        ours = folder.is_dir() and holds_map(folder)
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: a loop of links
        raise VprError(
            f'{folder}: cannot hold a map ({reason_of(error)}); give another folder for the map'
        ) from error
    if not ours:
        raise VprError(
            f'{folder}: exists and is not a map of build_map; give another folder for the map'
        )


def _obstacle(folder: Path) -> str:
    """What would keep a map from taking a folder's place; empty where nothing does."""
    if len(os.fsencode(folder.name)) > _LONGEST_NAME:
        return f'its name is longer than {_LONGEST_NAME} bytes; give the map a shorter name'
    if folder.is_dir() and not os.access(folder, os.R_OK | os.X_OK):
        return 'cannot be read (Permission denied); give another folder for the map'
    if os.path.ismount(folder):
        return f'is a mount point, which cannot be replaced; give a folder in it: {folder}/map'
    if not folder.is_dir() or not holds_map(folder):
        return ''
    if not os.access(folder, os.W_OK | os.X_OK):
        return 'cannot be written, so its map cannot be replaced; give another folder for the map'
    for path in users_files(folder):
        if _is_in_the_way(path):
            return f'{path} in it was not made by build_map; move it elsewhere'
        inner = folder / path
        movable = inner.is_symlink() or not inner.is_dir() or os.access(inner, os.W_OK)
        if not movable or os.path.ismount(inner):
            return f'{path} in it cannot be moved; move it elsewhere, or give another folder'
    return ''


def _is_in_the_way(path: Path) -> bool:
    """Whether a path of the user, within the folder, has a name that a map gives to a file."""
    return path.name in (*_FILES, THUMBNAILS) or (
        path.parts[0] == THUMBNAILS and is_thumbnail(path.name)
    )


def holds_map(folder: Path) -> bool:
    """Whether a folder holds a map of this project, sound or damaged; a map of nav2 is not one."""
    try:
        known = looks_like_ours(read_regular(folder / DESCRIPTION, DESCRIPTION_LIMIT))
        if known is not None:
            return known
        return _begins(folder / TABLE, _TABLE_BEGINS) and _begins(folder / INDEX, _INDEX_BEGINS)
    except OSError:
        return False


def _begins(path: Path, begins: tuple[bytes, ...]) -> bool:
    with open(open_regular(path), 'rb') as file:
        return file.read(max(map(len, begins))).startswith(begins)


def users_files(folder: Path) -> list[Path]:
    """Files and folders that the map format does not name: paths within the folder."""
    found = []
    for entry in sorted(os.scandir(folder), key=lambda e: e.name):
        is_folder = entry.is_dir(follow_symlinks=False)
        if entry.name == THUMBNAILS and is_folder:
            found += [
                Path(THUMBNAILS, inner.name)
                for inner in os.scandir(entry.path)
                if inner.is_dir(follow_symlinks=False) or not is_thumbnail(inner.name)
            ]
        elif is_folder or entry.name not in _FILES:
            found.append(Path(entry.name))
    return found


def remove_map(folder: Path) -> None:
    """Remove a map's files as far as that is possible, and the folder if nothing else is in it."""
    with contextlib.suppress(OSError):
        for name in _FILES:
            if (folder / name).is_symlink() or (folder / name).is_file():
                (folder / name).unlink()
        remove_thumbnails(folder)
        folder.rmdir()


def state_on_disk(folder: Path) -> tuple[int, int, int] | None:
    """What tells one map in a folder, or one city, from the next: inode, time and size of its
    description; None without one."""
    for name in (DESCRIPTION, CITY_FILE):
        with contextlib.suppress(OSError):
            state = os.stat(Path(folder) / name)
            return state.st_ino, state.st_mtime_ns, state.st_size
    return None

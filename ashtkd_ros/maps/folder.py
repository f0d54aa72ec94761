# SPDX-License-Identifier: Apache-2.0
"""A map's folder: put in place whole or not at all, read while others replace it.

What the map format does not name is the user's: it is never removed, and stays in the folder when
the map in it is replaced.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import re
import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from ashtkd_ros.errors import VprError
from ashtkd_ros.files.reading import open_regular, read_regular
from ashtkd_ros.maps.description import looks_like_ours
from ashtkd_ros.text import reason_of

DESCRIPTION, INDEX, TABLE, ROUTE = 'map.yaml', 'index.faiss', 'places.csv', 'route.png'
THUMBNAILS = 'thumbnails'
DESCRIPTION_LIMIT = 2**22  # bytes
_LONGEST_NAME = 230  # bytes of a folder's name: those beside it are up to 25 longer
_FILES = (DESCRIPTION, INDEX, TABLE, ROUTE)
_NAMES = (*_FILES, THUMBNAILS)
_THUMBNAIL = re.compile(r'[0-9]{6,}\.jpg')
_TABLE_BEGINS, _INDEX_BEGINS = b'id,stamp,x,y,z,qx,qy,qz,qw,source', b'IxF'
_PATIENCE_S, _PAUSE_S = 5.0, 0.005
_Result = TypeVar('_Result')


def thumbnail_name(place_id: int) -> str:
    """Where a place's picture lies in the folder."""
    return f'{THUMBNAILS}/{place_id:06d}.jpg'


def check_target(folder: Path) -> None:
    """VprError where a map must not, or could not in the end, be put."""
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
            f'{folder}: cannot hold a map ({reason_of(error)}); name another'
        ) from error
    if not ours:
        raise VprError(
            f'{folder}: exists and is no map of build_map; give another folder for the map'
        )


def _obstacle(folder: Path) -> str:
    """What would keep a map from taking a folder's place; empty: nothing that shows."""
    if len(os.fsencode(folder.name)) > _LONGEST_NAME:
        return f'its name is longer than {_LONGEST_NAME} bytes; give a shorter one for the map'
    if folder.is_dir() and not os.access(folder, os.R_OK | os.X_OK):
        return 'cannot be read (Permission denied); give another folder for the map'
    if os.path.ismount(folder):
        return f'is a mount point, which no map can replace; give a folder in it: {folder}/map'
    if not folder.is_dir() or not holds_map(folder):
        return ''
    if not os.access(folder, os.W_OK | os.X_OK):
        return 'cannot be written, so that the map in it stays; give another folder for the map'
    for path in foreign(folder):
        if path.name in _NAMES or path.parts[0] in _NAMES and _THUMBNAIL.fullmatch(path.name):
            return f'{path} in it is not of build_map; move it elsewhere'
        inner = folder / path
        movable = inner.is_symlink() or not inner.is_dir() or os.access(inner, os.W_OK)
        if not movable or os.path.ismount(inner):
            return f'{path} in it cannot be moved; move it elsewhere, or give another folder'
    return ''


def holds_map(folder: Path) -> bool:
    """Whether a folder holds a map of this project, sound or damaged, and not one of nav2's."""
    try:
        known = looks_like_ours(read_regular(folder / DESCRIPTION, DESCRIPTION_LIMIT))
        if known is not None:
            return known
        return _begins(folder / TABLE, _TABLE_BEGINS) and _begins(folder / INDEX, _INDEX_BEGINS)
    except OSError:
        return False


def _begins(path: Path, begin: bytes) -> bool:
    with open(open_regular(path), 'rb') as file:
        return file.read(len(begin)) == begin


def foreign(folder: Path) -> list[Path]:
    """What the map format does not name: paths within the folder."""
    found = []
    for entry in sorted(os.scandir(folder), key=lambda e: e.name):
        is_folder = entry.is_dir(follow_symlinks=False)
        if entry.name == THUMBNAILS and is_folder:
            found += [
                Path(THUMBNAILS, inner.name)
                for inner in os.scandir(entry.path)
                if inner.is_dir(follow_symlinks=False) or not _THUMBNAIL.fullmatch(inner.name)
            ]
        elif is_folder or entry.name not in _FILES:
            found.append(Path(entry.name))
    return found


def read_steadily(folder: Path, read: Callable[[int], _Result]) -> _Result:
    """`read(descriptor of the folder)`; again where it fails while the folder is being replaced.

    Through one descriptor the files are those of one map, whatever takes the folder's place.
    """
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        late = time.monotonic() > deadline
        try:
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError as error:
            if (_recover(Path(folder).resolve()) or os.path.exists(folder)) and not late:
                time.sleep(_PAUSE_S)
                continue
            raise VprError(f'{folder}: no such map; build one with build_map') from error
        except (OSError, ValueError) as error:
            raise VprError(f'{folder}: cannot be read ({reason_of(error)}); name a map') from error
        try:
            return read(handle)
        except VprError:
            if late or _still_there(folder, handle):
                raise
        finally:
            os.close(handle)


def _still_there(folder: Path, handle: int) -> bool:
    try:
        return os.path.samestat(os.stat(folder), os.fstat(handle))
    except OSError:
        return False


@contextlib.contextmanager
def staged(folder: Path) -> Iterator[Path]:
    """An empty folder; when the body ends well it takes, in one step, the place of `folder`.

    What was there is removed, as far as it is a map; the user's files are moved over. Raises
    OSError where that is not possible; `folder` is then as it was.
    """
    name = f'.{folder.name}.{secrets.token_hex(8)}'
    new, old = (folder.parent / f'{name}.{kind}' for kind in ('new', 'old'))
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _locked(folder.parent / f'{name}.lock'):
        _recover(folder)
        new.mkdir()
        try:
            yield new
            kept = foreign(folder) if folder.is_dir() else []
            clash = next((path for path in kept if os.path.lexists(new / path)), None)
            if clash is not None:
                raise OSError(0, f'{clash} in it is not of build_map, move it elsewhere')
            with contextlib.suppress(OSError):
                new.chmod(folder.stat().st_mode & 0o7777)
            _sync(new)
            before = _put(new, folder, old)
            _settle(before, folder)
        finally:
            _remove(new)


def clear_leftovers(folder: Path) -> None:
    """Remove what killed saves of a map left beside it; what is not a map's stays."""
    _recover(Path(folder))


def _put(new: Path, folder: Path, old: Path) -> Path | None:
    """Put `new` where `folder` is; where the map that was there has gone, None without one."""
    if not folder.exists():
        os.rename(new, folder)
        return None
    if folder.is_dir() and not any(folder.iterdir()):
        os.rename(new, folder)  # over an empty folder, in one step
        return None
    libc = ctypes.CDLL(None, use_errno=True)
    at_cwd, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE of renameat2(2)
    with contextlib.suppress(AttributeError):  # musl has no such function
        if not libc.renameat2(at_cwd, os.fsencode(new), at_cwd, os.fsencode(folder), exchange):
            return new
    # A file system without it (NFS, say): two steps. A kill between them leaves the old map beside
    # its place, from where `_recover` puts it back.
    os.rename(folder, old)
    try:
        os.rename(new, folder)
    except OSError:
        os.rename(old, folder)
        raise
    return old


def _settle(before: Path | None, folder: Path) -> None:
    try:
        _sync(folder.parent)
        if before is not None:
            _hand_over(before, folder)
    except OSError as error:
        raise VprError(
            f'{folder}: the new map is in place, but what else was in the folder stays in '
            f'{before} ({reason_of(error)}); move it back'
        ) from error


def _hand_over(before: Path, folder: Path) -> None:
    """Move the user's files from the map before to that in its place, and remove the rest."""
    for path in foreign(before):
        if not os.path.lexists(folder / path):
            (folder / path).parent.mkdir(exist_ok=True)
            os.rename(before / path, folder / path)
    _remove(before)


def _remove(folder: Path) -> None:
    """Remove a map's files, and the folder if nothing else is in it."""
    with contextlib.suppress(OSError):
        for name in _FILES:
            if (folder / name).is_symlink() or (folder / name).is_file():
                (folder / name).unlink()
        inner = folder / THUMBNAILS
        if inner.is_dir() and not inner.is_symlink():
            for path in list(inner.iterdir()):
                if _THUMBNAIL.fullmatch(path.name) and not path.is_dir():
                    path.unlink()
            with contextlib.suppress(OSError):
                inner.rmdir()
        folder.rmdir()


def _recover(folder: Path) -> bool:
    """Mend what killed saves left beside a map; whether a save that lives is amid its renames."""
    pattern = rf'(\.{re.escape(folder.name)}\.[0-9a-f]{{16}})\.(old|new|lock)'
    lives = False
    try:
        names = sorted(os.listdir(folder.parent), key=lambda name: not name.endswith('.old'))
    except OSError:
        return False
    for match in filter(None, (re.fullmatch(pattern, name) for name in names)):
        left, kind = folder.parent / match[0], match[2]
        try:
            with _locked(folder.parent / f'{match[1]}.lock'):
                if kind == 'old' and not os.path.lexists(folder):
                    if holds_map(left):
                        os.rename(left, folder)
                elif kind != 'lock' and left.is_dir() and not left.is_symlink():
                    if foreign(left) and not holds_map(left):
                        continue  # of somebody who names folders as we do
                    if folder.is_dir():
                        _hand_over(left, folder)
                    else:
                        _remove(left)
        except BlockingIOError:
            lives = True
        except OSError:  # not ours to mend
            continue
    return lives


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock file, which is gone afterwards; BlockingIOError where another process does."""
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(handle), os.stat(path)):
                break
        except FileNotFoundError:  # its holder has just removed it
            pass
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            os.unlink(path)
        os.close(handle)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

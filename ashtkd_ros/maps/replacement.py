# SPDX-License-Identifier: Apache-2.0
"""A map is put in place whole or not at all, and read while another process replaces it."""

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
from ashtkd_ros.files.reading import read_regular
from ashtkd_ros.maps.folder import (
    DESCRIPTION,
    DESCRIPTION_LIMIT,
    holds_map,
    remove_map,
    users_files,
)
from ashtkd_ros.text import reason_of

_PATIENCE_S, _PAUSE_S = 5.0, 0.005
_ONE_FOR_ALL = '0' * 16  # in the place of a save's own number: the lock that all saves share
_AT_CWD, _RENAME_EXCHANGE = -100, 2  # of renameat2(2)
_Result = TypeVar('_Result')


def read_steadily(folder: Path, read: Callable[[int], _Result]) -> _Result:
    """Returns what `read` returns for an open descriptor of a map's folder. Raises VprError.

    Through one descriptor all files are those of one map, whatever takes the folder's place. A
    reading that fails is repeated where the folder has been replaced meanwhile.
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
def replacing(folder: Path, over: bytes | None = None) -> Iterator[Path]:
    """An empty folder; when the body ends well, it takes the place of `folder` in one step.

    The map that was there is removed, and the user's files beside it are moved over. `over`: what
    its map.yaml must still hold then, empty: there must be none; None: whatever is there. OSError
    where that is not possible, VprError where it is another map; `folder` is then as it was.
    """
    name = f'.{folder.name}.{secrets.token_hex(8)}'
    new, old = (folder.parent / f'{name}.{kind}' for kind in ('new', 'old'))
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _locked(folder.parent / f'{name}.lock'):
        _recover(folder)
        new.mkdir()
        try:
            yield new
            kept = users_files(folder) if folder.is_dir() else []
            clash = next((path for path in kept if os.path.lexists(new / path)), None)
            if clash is not None:
                raise OSError(0, f'{clash} in it was not made by build_map, move it elsewhere')
            with contextlib.suppress(OSError):
                new.chmod(folder.stat().st_mode & 0o7777)
            _sync(new)
            shared = folder.parent / f'.{folder.name}.{_ONE_FOR_ALL}.lock'
            with _locked(shared, _PATIENCE_S):
                if over is not None and _described(folder) != over:
                    raise VprError(f'{folder}: was replaced meanwhile; do this again')
                before = _put_in_place(new, folder, old)
            _finish_replacement(before, folder)
        finally:
            remove_map(new)


def clear_leftovers(folder: Path) -> None:
    """Remove what killed saves left beside a map; the files of the user stay."""
    _recover(Path(folder))


def _described(folder: Path) -> bytes:
    """The bytes of map.yaml; empty where there is none."""
    try:
        return read_regular(folder / DESCRIPTION, DESCRIPTION_LIMIT)
    except FileNotFoundError:
        return b''


def _put_in_place(new: Path, folder: Path, old: Path) -> Path | None:
    """Put `new` in the place of `folder`; returns where the old map is now, None without one."""
    if not folder.exists():
        os.rename(new, folder)
        return None
    if folder.is_dir() and not any(folder.iterdir()):
        os.rename(new, folder)  # over an empty folder, in one step
        return None
    if _exchange(new, folder):
        return new
    # Some file systems, such as NFS, cannot exchange folders and need two steps. A kill between
    # them leaves the old map beside its place, from where `_recover` puts it back.
    os.rename(folder, old)
    try:
        os.rename(new, folder)
    except OSError:
        os.rename(old, folder)
        raise
    return old


def _exchange(first: Path, second: Path) -> bool:
    """Let two folders change places in one step; whether the system can do that."""
    libc = ctypes.CDLL(None, use_errno=True)
    paths = _AT_CWD, os.fsencode(first), _AT_CWD, os.fsencode(second)
    try:
        return not libc.renameat2(*paths, _RENAME_EXCHANGE)
    except AttributeError:  # musl has no such function
        return False


def _finish_replacement(before: Path | None, folder: Path) -> None:
    """Make the renames lasting, and clear away the map `before`."""
    try:
        _sync(folder.parent)
        if before is not None:
            _move_users_files(before, folder)
    except OSError as error:
        raise VprError(
            f'{folder}: the new map is in place, but the other files of the folder are now in '
            f'{before} ({reason_of(error)}); move them back'
        ) from error


def _move_users_files(before: Path, folder: Path) -> None:
    """Move the user's files from the map before to that in its place, and remove the rest."""
    for path in users_files(before):
        if not os.path.lexists(folder / path):
            (folder / path).parent.mkdir(exist_ok=True)
            os.rename(before / path, folder / path)
    remove_map(before)


def _recover(folder: Path) -> bool:
    """Mend what killed saves left beside a map.

    Returns whether another process is saving the map now.
    """
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
                _repair_after_kill(left, kind, folder)
        except BlockingIOError:
            lives = True
        except OSError:  # somebody else must mend it
            continue
    return lives


def _repair_after_kill(left: Path, kind: str, folder: Path) -> None:
    """Put back or clear away what a killed save left: an `old` map, a `new` one, or a `lock`."""
    if kind == 'old' and not os.path.lexists(folder):
        if holds_map(left):
            os.rename(left, folder)
    elif kind != 'lock' and left.is_dir() and not left.is_symlink():
        if users_files(left) and not holds_map(left):
            return  # a folder of the user that only has such a name
        if folder.is_dir():
            _move_users_files(left, folder)
        else:
            remove_map(left)


@contextlib.contextmanager
def _locked(path: Path, patience_s: float = 0.0) -> Iterator[None]:
    """Hold a lock file, then remove it; BlockingIOError where another process holds it so long."""
    deadline = time.monotonic() + patience_s
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(handle), os.stat(path)):
                break
        except FileNotFoundError:  # its holder has just removed it
            pass
        except BlockingIOError:
            if time.monotonic() >= deadline:
                os.close(handle)
                raise
            time.sleep(_PAUSE_S)
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

# SPDX-License-Identifier: Apache-2.0
"""Results on the disk: may one be written here, and how it gets there whole or not at all."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from ashtkd_ros.errors import VprError
from ashtkd_ros.files.reading import read_regular
from ashtkd_ros.text import reason_of

_READ_LIMIT, _BEGIN = 2**31, 4096  # bytes
_LONGEST_STEM, _LONGEST_SUFFIX = 40, 12  # characters that a draft takes from the name of its file


def check_output(path: Path) -> None:
    """Make the folder of a file that will be written; VprError where the file cannot be written.

    Where `path` is a link, that is the folder of its target.
    """
    try:
        target = resolved(path)
        _state_of(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=target.parent).close()
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links, a zero byte
        raise VprError(
            f'{path}: cannot be written ({reason_of(error)}); give another place'
        ) from error


def check_replaceable(path: Path, marks: Sequence[bytes]) -> None:
    """VprError where a file is at `path` that is not an earlier result of the same kind.

    An earlier result is empty, or has one of `marks` within its first 4096 bytes.
    """
    try:
        begin = read_regular(path, _READ_LIMIT)[:_BEGIN] if os.path.lexists(path) else b''
    except (OSError, ValueError) as error:
        raise VprError(
            f'{path}: cannot be written ({reason_of(error)}); give another place'
        ) from error
    if begin and not any(mark in begin for mark in marks):
        raise VprError(
            f'{path}: exists and is not the result of an earlier run; give another name, or '
            'move the file elsewhere'
        )


def resolved(path: Path) -> Path:
    """The absolute path of a result, without links; VprError for a path that cannot exist."""
    try:
        return Path(path).resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise VprError(
            f'{path}: cannot be written ({reason_of(error)}); give another place'
        ) from error


@contextlib.contextmanager
def whole_file(path: Path, follow_links: bool = True) -> Iterator[Path]:
    """A draft to write to, in the folder of `path`; it becomes `path` when the body ends well.

    The draft has the suffix of `path`, which some libraries look at. It is on the disk before it
    takes the place of `path`, in one step. After a failure, a full disk or Ctrl-C the draft is
    removed, and what was at `path` is as it was.

    A new file has the mode that the umask gives. A file that is replaced hands on its mode and
    owner. A link stays and its target is replaced; without `follow_links` the link is replaced.
    OSError where `path` is a folder, a device or write-protected, or writing fails.
    """
    target = Path(os.path.realpath(path)) if follow_links else Path(path)
    before = _state_of(target, follow_links)
    suffix = target.suffix if len(target.suffix) <= _LONGEST_SUFFIX else ''
    name = f'.{target.stem[:_LONGEST_STEM]}.{secrets.token_hex(8)}.new{suffix}'
    draft = target.parent / name
    try:
        yield draft
        _finish(draft, before)
        os.replace(draft, target)
    finally:
        with contextlib.suppress(OSError):
            draft.unlink()


def write_bytes(path: Path, data: bytes, follow_links: bool = True) -> None:
    """Write a file whole or not at all; see `whole_file`."""
    with whole_file(path, follow_links) as draft:
        draft.write_bytes(data)


def write_text(path: Path, text: str, follow_links: bool = True) -> None:
    """Write text as UTF-8, whole or not at all; a letter that UTF-8 does not have becomes `?`."""
    write_bytes(path, text.encode('utf-8', 'replace'), follow_links)


@contextlib.contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A path of the same name to make a folder at; it becomes `folder` when the body ends well.

    `folder` does not exist yet, or is an empty folder, whose mode is kept. OSError where it
    cannot be written; nothing of the new folder is left behind then. What a kill has left behind
    is removed by the next call for the same folder.
    """
    folder = Path(folder)
    if os.path.ismount(folder):
        raise OSError(0, 'it is a mount point, which cannot be replaced; give a folder in it')
    _clear_abandoned(folder)
    around, handle = _locked_draft_of(folder)
    try:
        yield around / folder.name
        with contextlib.suppress(OSError):
            (around / folder.name).chmod(stat.S_IMODE(folder.stat().st_mode))
        os.rename(around / folder.name, folder)
    finally:
        shutil.rmtree(around, ignore_errors=True)
        os.close(handle)


def _locked_draft_of(folder: Path) -> tuple[Path, int]:
    """A new folder beside `folder`, and the descriptor that locks it while this process lives."""
    while True:
        around = folder.parent / f'{_draft_prefix(folder)}{secrets.token_hex(8)}.new'
        around.mkdir(parents=True)
        with contextlib.suppress(FileNotFoundError):  # taken for abandoned by another process
            handle = os.open(around, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            if _lock(handle) is not False and around.exists():
                return around, handle
            os.close(handle)


def _draft_prefix(folder: Path) -> str:
    return f'.{folder.name[:_LONGEST_STEM]}.'


def _lock(handle: int) -> bool | None:
    """Whether this process holds the lock of a folder now; None where there are no locks."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _clear_abandoned(folder: Path) -> None:
    """Remove the drafts of `folder` whose writers were killed: those that nobody has locked."""
    pattern = re.escape(_draft_prefix(folder)) + r'[0-9a-f]{16}\.new'
    with contextlib.suppress(OSError):
        for name in filter(re.compile(pattern).fullmatch, os.listdir(folder.parent)):
            path = folder.parent / name
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            try:
                handle = os.open(path, flags)
            except OSError:  # of another user, or a file
                continue
            if set(os.listdir(handle)) <= {folder.name} and _lock(handle):
                shutil.rmtree(path, ignore_errors=True)
            os.close(handle)


def _state_of(target: Path, follow_links: bool = True) -> os.stat_result | None:
    """What the system knows of a file that will be replaced, None for none; OSError if it may not
    be replaced."""
    try:
        state = os.stat(target, follow_symlinks=follow_links)  # OSError for a loop of links
    except FileNotFoundError:
        return None
    if stat.S_ISLNK(state.st_mode):
        return None
    if stat.S_ISDIR(state.st_mode):
        raise IsADirectoryError(0, 'it is a folder')
    if not stat.S_ISREG(state.st_mode):
        raise OSError(0, 'it is not a regular file')
    if not os.access(target, os.W_OK):
        raise PermissionError(0, 'the file there is write-protected')
    return state


def _finish(draft: Path, before: os.stat_result | None) -> None:
    """Put a draft on the disk, with the owner and mode of the file `before` it."""
    with draft.open('rb') as file:
        os.fsync(file.fileno())
    if before is None:
        return
    with contextlib.suppress(OSError):  # the owner is not ours to choose
        os.chown(draft, before.st_uid, before.st_gid)
    with contextlib.suppress(OSError):  # a file system without modes
        os.chmod(draft, stat.S_IMODE(before.st_mode))

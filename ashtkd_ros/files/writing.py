# SPDX-License-Identifier: Apache-2.0
"""Results on the disk: may one be written here, and how it gets there whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import secrets
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from ashtkd_ros.errors import VprError
from ashtkd_ros.files.reading import read_regular
from ashtkd_ros.text import reason_of

_READ_LIMIT = 2**31  # bytes
_LONGEST_STEM, _LONGEST_SUFFIX = 40, 12  # characters that a draft takes from the name of its file
_FULL_OF_SQLITE = 'database or disk is full'
# The whole bytes of a file → whether an earlier run wrote it as the same kind of result.
IsOurs = Callable[[bytes], bool]


def check_output(path: Path, is_ours: IsOurs | None = None, what: str = '') -> None:
    """Make the folder of a file that will be written; VprError where the file cannot be written.

    Where `path` is a link, that is the folder of its target. With `is_ours`, a file that is there
    already is replaced only if it is empty or this is True of it. `what` names the file in errors.
    """
    target = resolved(path, what)
    try:
        before = _bytes_at(target) if _state_of(target) and is_ours else b''
    except (OSError, ValueError) as error:
        raise cannot_write(path, error, what) from error
    if before and not is_ours(before):
        raise VprError(
            f'{path}: exists and is not the result of an earlier run; give another name, or '
            'move the file elsewhere'
        )
    make_output_folder(target.parent, path, what)


def make_output_folder(folder: Path, path: Path | None = None, what: str = '') -> None:
    """Make a folder for results; VprError, about `path` if given, where nothing can be written."""
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except (OSError, ValueError) as error:  # a zero byte
        raise cannot_write(path or folder, error, what) from error


def cannot_write(path: Path, error: BaseException, what: str = '') -> VprError:
    """The error that a file, or `what` it is, cannot be written, and why."""
    advice, reason = 'give another place', reason_of(error)
    full = getattr(error, 'errno', None) in (errno.ENOSPC, errno.EDQUOT)
    if full or reason == _FULL_OF_SQLITE:
        advice = 'make room on the disk, or give another place'
    subject = f'{what} ' if what else ''
    return VprError(f'{path}: {subject}cannot be written ({reason}); {advice}')


@contextlib.contextmanager
def write_errors(path: Path, what: str = '') -> Iterator[None]:
    """An OSError of the body becomes the VprError of `cannot_write`."""
    try:
        yield
    except OSError as error:
        raise cannot_write(path, error, what) from error


def resolved(path: Path, what: str = '') -> Path:
    """The absolute path of a result, without links; VprError for a path that cannot exist."""
    try:
        return Path(path).resolve()
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links, a zero byte
        raise cannot_write(path, error, what) from error


@contextlib.contextmanager
def whole_file(path: Path, follow_links: bool = True) -> Iterator[Path]:
    """A draft to write to, in the folder of `path`; it becomes `path` when the body ends well.

    The draft has the suffix of `path`, which some libraries look at. It is on the disk before it
    takes the place of `path`, in one step. After a failure, a full disk or Ctrl-C the draft is
    removed, and what was at `path` is as it was.

    A new file has the mode that the umask gives. A file that is replaced hands on its mode and
    owner; until then nobody else can read its draft. A link stays and its target is replaced;
    without `follow_links` the link is replaced. OSError where `path` is a folder, a device or
    write-protected, or writing fails.
    """
    target = Path(os.path.realpath(path)) if follow_links else Path(path)
    before = _state_of(target, follow_links)
    with _draft_of(target, before) as draft:
        yield draft
        _finish(draft, before)
        os.replace(draft, target)


def write_together(files: Mapping[Path, bytes | None]) -> None:
    """Write files that belong together, all or none of them; None: that file is removed.

    All drafts are on the disk before any file is replaced. The last one of `files` goes away
    first and comes last: where a kill or a power cut comes between, it is missing, and so files
    of two runs never look like one result. OSError where one cannot be written; all files are
    then as they were. Modes, owners and links are as in `whole_file`.
    """
    drafts: dict[Path, Path | None] = {}
    with contextlib.ExitStack() as stack:
        for path, data in files.items():
            target = Path(os.path.realpath(path))
            before = _state_of(target)
            if target in drafts:
                raise OSError(0, f'by a link it is the same file as another one, {target}')
            drafts[target] = None
            if data is not None:
                drafts[target] = stack.enter_context(_draft_of(target, before))
                drafts[target].write_bytes(data)
                _finish(drafts[target], before)
        _exchange(drafts)


def _exchange(drafts: Mapping[Path, Path | None]) -> None:
    """Put drafts in the places of their targets; after a failure all is as it was."""
    aside = {target: _hidden(target, '.old') for target in drafts}
    try:
        for target in reversed(aside):
            with contextlib.suppress(FileNotFoundError):
                os.rename(target, aside[target])
        for target, draft in drafts.items():
            if draft is not None:
                os.rename(draft, target)
    except BaseException:
        for target, draft in drafts.items():
            if draft is not None and not os.path.lexists(draft):
                target.unlink()
            if os.path.lexists(aside[target]):
                os.rename(aside[target], target)
        raise
    for old in aside.values():
        with contextlib.suppress(OSError):
            old.unlink()


@contextlib.contextmanager
def _draft_of(target: Path, before: os.stat_result | None) -> Iterator[Path]:
    """A path for a draft, which is removed in the end if it is still there.

    Where it will replace a file, which may be a private one, it is there already, and only its
    owner can read it. Its time of change then tells whether something was written.
    """
    suffix = target.suffix if len(target.suffix) <= _LONGEST_SUFFIX else ''
    draft = _hidden(target, f'.new{suffix}')
    try:
        if before is not None:
            os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
            os.utime(draft, ns=(0, 0))
        yield draft
    finally:
        with contextlib.suppress(OSError):
            draft.unlink()


def _hidden(path: Path, end: str) -> Path:
    """A path beside another one that no other file has."""
    return path.parent / f'.{path.stem[:_LONGEST_STEM]}.{secrets.token_hex(8)}{end}'


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

    `folder` does not exist yet, or is an empty folder, whose mode is kept, but not its owner.
    OSError where it cannot be written; nothing of the new folder is left behind then, but the
    folders above it are. What a kill has left behind is removed by the next call for the same
    folder. What the body wrote is not forced onto the disk: after a power cut soon afterwards,
    files in the folder may be empty.
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


def _bytes_at(target: Path) -> bytes:
    """The bytes of a regular file, which may be gone by now; OSError."""
    try:
        return read_regular(target, _READ_LIMIT)
    except FileNotFoundError:
        return b''


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
    """Put a draft on the disk, with the owner and mode of the file `before` it.

    FileNotFoundError where nothing was written to it.
    """
    with draft.open('rb') as file:
        written = os.fstat(file.fileno())
        os.fsync(file.fileno())
    if before is not None and not written.st_size and not written.st_mtime_ns:
        raise FileNotFoundError(errno.ENOENT, 'nothing was written')
    if before is None:
        return
    with contextlib.suppress(OSError):  # the owner is not ours to choose
        os.chown(draft, before.st_uid, before.st_gid)
    with contextlib.suppress(OSError):  # a file system without modes
        os.chmod(draft, stat.S_IMODE(before.st_mode))

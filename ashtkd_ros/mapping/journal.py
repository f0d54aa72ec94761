# SPDX-License-Identifier: Apache-2.0
"""What a map that is being built has so far, on the disk, so that a killed build can go on."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ashtkd_ros.errors import VprError
from ashtkd_ros.files.checksums import sha256_of
from ashtkd_ros.files.reading import open_regular, read_regular
from ashtkd_ros.maps.folder import ROUTE
from ashtkd_ros.maps.local_file import LocalFile
from ashtkd_ros.maps.replacement import clear_leftovers
from ashtkd_ros.maps.thumbnails import (
    PICTURE_LIMIT,
    THUMBNAILS,
    remove_thumbnails,
    thumbnail_name,
    write_thumbnail,
)
from ashtkd_ros.network.local_features import LocalShape
from ashtkd_ros.text import reason_of

_FLUSH_S = 0.5
_KEY, _TABLE, _LOCK = 'build.json', 'places.jsonl', 'lock'
_ROWS, _LOCAL = 'descriptors.f32', 'local.i8'
_DIGEST = 32  # hexadecimal digits of the checksum that begins each line
_PARTS = 'parts'
_KEY_LIMIT = 2**26
_KEY_NAMES = {'model', 'options'}


class JournalInUse(VprError):
    """Another process builds the same map."""


class Journal:
    """The folder .NAME.building beside the map; one process at a time builds in it.

    `key` describes sources, options and network; the journal of a build with another key is
    discarded. `local`: shape of the local features that each place has, None for a map without.
    Entries reach the disk every half second, what belongs to them first, so that a kill loses no
    more than that. The line of a place has a checksum of itself, its descriptor, local features
    and thumbnail, and the line before: the first damaged place, and all after it, are built again.
    VprError where the disk is full; JournalInUse where another process builds the same map.
    """

    def __init__(self, out: Path, key: dict, dimensions: int, local: LocalShape | None = None):
        out = Path(out).resolve()
        self.folder = out.parent / f'.{out.name}.building'
        self.thumbnails = self.folder / THUMBNAILS
        self._dimensions, self._local = dimensions, local
        self._last_flush = time.monotonic()
        # How many bytes of a file belong to a place, and those that are not on the disk yet.
        self._sizes = {_ROWS: 4 * dimensions} | ({_LOCAL: local.size} if local else {})
        self._waiting: dict[str, list[bytes]] = {name: [] for name in (*self._sizes, _TABLE)}
        text = json.dumps(key, sort_keys=True, default=str)
        self._begin = sha256_of(text.encode())[:_DIGEST]
        with self._writable():
            self._check_ours(text)
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock()
            self._discard_unless(text)
            self.last = self._take_up()
            self._files = {name: (self.folder / name).open('ab') for name in self._waiting}
            clear_leftovers(out)

    def _check_ours(self, text: str) -> None:
        """VprError where the folder was not made by build_map, or is a link."""
        if self.folder.is_symlink():
            raise VprError(f'{self.folder}: is a link; move it elsewhere')
        if not self.folder.is_dir():
            return
        names = {entry.name for entry in os.scandir(self.folder)}
        ours = names >= {_TABLE, _ROWS}  # even if the key is damaged
        try:
            data = read_regular(self.folder / _KEY, _KEY_LIMIT)
            key = json.loads(data)
            known = isinstance(key, dict) and key.keys() >= _KEY_NAMES
            ours = ours or known or data == text.encode()
        except FileNotFoundError:
            ours = ours or names <= {_TABLE, _ROWS, _LOCAL, _LOCK, ROUTE, THUMBNAILS, _PARTS}
        except (ValueError, RecursionError):
            pass
        if not ours:
            raise VprError(f'{self.folder}: was not made by build_map; move it elsewhere')

    def _lock(self) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        self._lock_file = os.fdopen(os.open(self.folder / _LOCK, flags, 0o666), 'wb')
        try:
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise JournalInUse(
                f'{self.folder}: another build_map or map_tools is at work on this map'
            ) from error

    def _discard_unless(self, key: str) -> None:
        try:
            same = read_regular(self.folder / _KEY, _KEY_LIMIT) == key.encode()
        except FileNotFoundError:
            same = False
        if not same:
            self._clear()
            (self.folder / _KEY).write_bytes(key.encode())

    def _clear(self) -> None:
        """Remove what a journal holds.

        The key goes first, so that what a kill leaves here is not taken up again.
        """
        _clear(self.folder)
        for part in self._parts():
            _clear(part)
            (part / _LOCK).unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # a file of the user is in it
                part.rmdir()
        with contextlib.suppress(OSError):
            (self.folder / _PARTS).rmdir()

    def part(self, number: int) -> Path:
        """What to give as `out` to the journal of a part of this map: it is removed with this."""
        return self.folder / _PARTS / str(number)

    def _parts(self) -> list[Path]:
        """The folders of the journals of parts."""
        folder = self.folder / _PARTS
        found = [] if folder.is_symlink() else folder.glob('.*.building')
        return [path for path in found if path.is_dir() and not path.is_symlink()]

    @property
    def is_empty(self) -> bool:
        """Whether neither this journal nor that of a part has places."""
        tables = (part / _TABLE for part in self._parts())
        return not self.count and not any(_is_plain_file(t) and t.stat().st_size for t in tables)

    def _take_up(self) -> dict | None:
        """Cut all files to the entries that are whole and sound; returns the last of those."""
        paths = {name: self.folder / name for name in self._waiting}
        if not all(map(_is_plain_file, paths.values())):
            for path in paths.values():
                path.unlink(missing_ok=True)  # a FIFO or a link leads elsewhere
                path.touch()
        end, last, self.count = 0, None, 0
        self._digest = self._begin  # so that no line of another build can follow
        with contextlib.ExitStack() as opened:
            files = {
                name: opened.enter_context(open(open_regular(path), 'rb'))
                for name, path in paths.items()
            }
            for line in files[_TABLE]:
                entry = self._parse(line, [files[n].read(k) for n, k in self._sizes.items()])
                if entry is None:
                    break
                self._digest = line[:_DIGEST].decode()
                self.count, end, last = self.count + 1, end + len(line), entry
        os.truncate(paths[_TABLE], end)
        for name, size in self._sizes.items():
            os.truncate(paths[name], self.count * size)
        return last

    def _parse(self, line: bytes, parts: list[bytes]) -> dict | None:
        """The entry of a line; None where the line, or what belongs to its place, is damaged."""
        digest, _, text = line.partition(b' ')
        if [len(p) for p in parts] != [*self._sizes.values()] or not text.endswith(b'\n'):
            return None
        if digest.decode('ascii', 'replace') != self._checksum(text, parts, self.count):
            return None
        return json.loads(text)

    def _checksum(self, text: bytes, parts: list[bytes], number: int) -> str:
        digest = hashlib.sha256(b''.join([self._digest.encode(), text, *parts]))
        with (
            contextlib.suppress(FileNotFoundError),
            open(open_regular(self.folder / thumbnail_name(number)), 'rb') as picture,
        ):
            digest.update(picture.read())
        return digest.hexdigest()[:_DIGEST]

    def add(self, entry: dict, descriptor: np.ndarray, local: np.ndarray | None = None) -> None:
        """Add a place: its entry, as JSON has it, and its descriptor, float32 (D,).

        `local`: its local features, int8 (P, L), where the journal has such. Its thumbnail must
        have been added before.
        """
        text, parts = (
            (json.dumps(entry) + '\n').encode(),
            [descriptor.astype(np.float32).tobytes()],
        )
        if self._local is not None:
            parts.append(local.tobytes())
        with self._writable():
            self._digest = self._checksum(text, parts, self.count)
        line = f'{self._digest} '.encode() + text
        for waiting, data in zip(self._waiting.values(), (*parts, line), strict=True):
            waiting.append(data)
        self.count, self.last = self.count + 1, entry
        if time.monotonic() > self._last_flush + _FLUSH_S:
            self.flush()

    def thumbnail(self, number: int) -> bytes:
        """The JPEG of the place `number`. OSError."""
        return read_regular(self.folder / thumbnail_name(number), PICTURE_LIMIT)

    def add_thumbnail(self, number: int, data: bytes) -> None:
        """Write the JPEG of the place `number`."""
        with self._writable():
            write_thumbnail(self.folder, number, data)

    def flush(self) -> None:
        """Write all that was added so far to the disk."""
        with self._writable():
            for name, file in self._files.items():
                file.write(b''.join(self._waiting[name]))
                file.flush()
                os.fsync(file.fileno())
        for waiting in self._waiting.values():
            waiting.clear()
        self._last_flush = time.monotonic()

    def entries(self) -> Iterator[dict]:
        """The entries of all places in order."""
        self.flush()
        with (self.folder / _TABLE).open(encoding='utf-8') as file:
            for line in file:
                yield json.loads(line[_DIGEST + 1 :])

    def descriptors(self) -> np.ndarray:
        """All descriptors, float32 (N, D), read from the disk when they are used."""
        self.flush()
        shape = (self.count, self._dimensions)
        return np.memmap(self.folder / _ROWS, np.float32, 'r', shape=shape)

    @property
    def has_local(self) -> bool:
        """Whether each place has local features."""
        return self._local is not None

    def local(self) -> LocalFile | None:
        """The local features of all places, read from the disk when they are used."""
        if self._local is None:
            return None
        self.flush()
        with self._writable():
            handle = open_regular(self.folder / _LOCAL)
            return LocalFile(self.folder / _LOCAL, handle, self.count, self._local)

    def remove(self) -> None:
        """Remove the journal: the map is saved, or there is nothing to save."""
        with contextlib.suppress(OSError):
            self._clear()
            (self.folder / _LOCK).unlink(missing_ok=True)
            self.folder.rmdir()  # fails where a file of the user is in it

    def close(self) -> None:
        """Close the files and let another process build; what is not flushed is lost."""
        for file in (*self._files.values(), self._lock_file):
            with contextlib.suppress(OSError):  # a full disk, which has been reported
                file.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        if self.is_empty:  # there is nothing to continue from
            self.remove()

    @contextlib.contextmanager
    def _writable(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            remedy = 'make room' if full else 'mend that, or give another folder for the map,'
            raise VprError(
                f'{self.folder}: cannot be written ({reason_of(error)}); {remedy} and do '
                'the same again, which goes on where it stopped'
            ) from error


def _clear(folder: Path) -> None:
    for name in (_KEY, _TABLE, _ROWS, _LOCAL, ROUTE):
        (folder / name).unlink(missing_ok=True)
    remove_thumbnails(folder)


def _is_plain_file(path: Path) -> bool:
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except FileNotFoundError:
        return False

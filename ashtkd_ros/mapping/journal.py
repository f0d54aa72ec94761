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
from ashtkd_ros.maps.replacement import clear_leftovers
from ashtkd_ros.maps.thumbnails import (
    THUMBNAILS,
    remove_thumbnails,
    thumbnail_name,
    write_thumbnail,
)
from ashtkd_ros.text import reason_of

_FLUSH_S = 0.5
_KEY, _TABLE, _ROWS, _LOCK = 'build.json', 'places.jsonl', 'descriptors.f32', 'lock'
_DIGEST = 32  # hexadecimal digits of the checksum that begins each line
_KEY_LIMIT = 2**26
_KEY_NAMES = {'model', 'options'}


class Journal:
    """The folder .NAME.building beside the map; one process at a time builds in it.

    `key` describes sources, options and network; the journal of a build with another key is
    discarded. Entries reach the disk every half second, descriptors first, so that a kill loses no
    more than that. The line of a place has a checksum of itself, its descriptor, its thumbnail and
    the line before: the first damaged place, and all after it, are built again.
    VprError where another process builds the same map, or the disk is full.
    """

    def __init__(self, out: Path, key: dict, dimensions: int):
        out = Path(out).resolve()
        self.folder = out.parent / f'.{out.name}.building'
        self.thumbnails = self.folder / THUMBNAILS
        self._dimensions, self._last_flush = dimensions, time.monotonic()
        self._lines: list[str] = []
        self._rows: list[np.ndarray] = []
        text = json.dumps(key, sort_keys=True, default=str)
        self._begin = sha256_of(text.encode())[:_DIGEST]
        with self._writable():
            self._check_ours(text)
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock()
            self._discard_unless(text)
            self.last = self._take_up()
            self._table = (self.folder / _TABLE).open('a', encoding='utf-8')
            self._descriptors = (self.folder / _ROWS).open('ab')
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
            ours = ours or names <= {_TABLE, _ROWS, _LOCK, ROUTE, THUMBNAILS}
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
            raise VprError(f'{self.folder}: another build_map is at work on this map') from error

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
        for name in (_KEY, _TABLE, _ROWS, ROUTE):
            (self.folder / name).unlink(missing_ok=True)
        remove_thumbnails(self.folder)

    def _take_up(self) -> dict | None:
        """Cut both files to the entries that are whole and sound; returns the last of those."""
        table, descriptors = self.folder / _TABLE, self.folder / _ROWS
        if not all(map(_is_plain_file, (table, descriptors))):
            for path in (table, descriptors):
                path.unlink(missing_ok=True)  # a FIFO or a link leads elsewhere
                path.touch()
        size, end, last, self.count = 4 * self._dimensions, 0, None, 0
        self._digest = self._begin  # so that no line of another build can follow
        with (
            open(open_regular(table), 'rb') as lines,
            open(open_regular(descriptors), 'rb') as rows,
        ):
            for line in lines:
                entry = self._parse(line, rows.read(size))
                if entry is None:
                    break
                self._digest = line[:_DIGEST].decode()
                self.count, end, last = self.count + 1, end + len(line), entry
        os.truncate(table, end)
        os.truncate(descriptors, self.count * size)
        return last

    def _parse(self, line: bytes, row: bytes) -> dict | None:
        """The entry of a line; None where the line, its descriptor or its thumbnail is damaged."""
        digest, _, text = line.partition(b' ')
        if len(row) != 4 * self._dimensions or not text.endswith(b'\n'):
            return None
        if digest.decode('ascii', 'replace') != self._checksum(text, row, self.count):
            return None
        return json.loads(text)

    def _checksum(self, text: bytes, row: bytes, number: int) -> str:
        digest = hashlib.sha256(self._digest.encode() + text + row)
        with (
            contextlib.suppress(FileNotFoundError),
            open(open_regular(self.folder / thumbnail_name(number)), 'rb') as picture,
        ):
            digest.update(picture.read())
        return digest.hexdigest()[:_DIGEST]

    def add(self, entry: dict, descriptor: np.ndarray) -> None:
        """Add a place: its entry, as JSON has it, and its descriptor, float32 (D,).

        Its thumbnail must have been added before.
        """
        text, row = json.dumps(entry) + '\n', descriptor.astype(np.float32)
        with self._writable():
            self._digest = self._checksum(text.encode(), row.tobytes(), self.count)
        self._lines.append(f'{self._digest} {text}')
        self._rows.append(row)
        self.count, self.last = self.count + 1, entry
        if time.monotonic() > self._last_flush + _FLUSH_S:
            self.flush()

    def add_thumbnail(self, number: int, data: bytes) -> None:
        """Write the JPEG of the place `number`."""
        with self._writable():
            write_thumbnail(self.folder, number, data)

    def flush(self) -> None:
        """Write all that was added so far to the disk."""
        with self._writable():
            for file, data in (
                (self._descriptors, np.array(self._rows, np.float32).tobytes()),
                (self._table, ''.join(self._lines)),
            ):
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        self._lines.clear()
        self._rows.clear()
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

    def remove(self) -> None:
        """Remove the journal: the map is saved, or there is nothing to save."""
        with contextlib.suppress(OSError):
            self._clear()
            (self.folder / _LOCK).unlink(missing_ok=True)
            self.folder.rmdir()  # fails where a file of the user is in it

    def close(self) -> None:
        """Close the files and let another process build; what is not flushed is lost."""
        for file in (self._table, self._descriptors, self._lock_file):
            with contextlib.suppress(OSError):  # a full disk, which has been reported
                file.close()

    @contextlib.contextmanager
    def _writable(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            remedy = 'make room' if full else 'mend that, or give another folder for the map,'
            raise VprError(
                f'{self.folder}: cannot be written ({reason_of(error)}); {remedy} and call '
                'build_map again, which goes on where it stopped'
            ) from error


def _is_plain_file(path: Path) -> bool:
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except FileNotFoundError:
        return False

# SPDX-License-Identifier: Apache-2.0
"""Places and descriptors of a map that is being built, on disk, so that a killed build goes on."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ashtkd_ros.errors import VprError

_FLUSH_S = 0.5


class Journal:
    """The folder .NAME.building beside the map; one build at a time has it.

    `key` describes sources, options and network: a journal of another build is begun anew. Entries
    reach the disk every half second, descriptors first, so that a kill loses no more than that.
    Raises VprError where another process builds the same map, or the disk is full.
    """

    def __init__(self, out: Path, key: dict, dimensions: int):
        out = Path(out).resolve()
        self.folder = out.parent / f'.{out.name}.building'
        self.thumbnails = self.folder / 'thumbnails'
        self._dimensions, self._last_flush = dimensions, time.monotonic()
        self._lines: list[str] = []
        self._rows: list[np.ndarray] = []
        with self._writable():
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock()
            self._discard_unless(json.dumps(key, sort_keys=True, default=str))
            self.last = self._take_up()
            self._table = (self.folder / 'places.jsonl').open('a', encoding='utf-8')
            self._descriptors = (self.folder / 'descriptors.f32').open('ab')
            left = re.compile(rf'\.{re.escape(out.name)}\.\d+\.new')  # by a kill while saving
            for new in out.parent.iterdir():
                if left.fullmatch(new.name):
                    shutil.rmtree(new, ignore_errors=True)

    def _lock(self) -> None:
        self._lock_file = (self.folder / 'lock').open('w')
        try:
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise VprError(f'{self.folder}: another build_map is at work on this map') from error

    def _discard_unless(self, key: str) -> None:
        path = self.folder / 'build.json'
        if not path.is_file() or path.read_text(encoding='utf-8') != key:
            self._invalidate()
            for old in self.folder.iterdir():
                if old.name != 'lock':
                    shutil.rmtree(old) if old.is_dir() else old.unlink()
            path.write_text(key, encoding='utf-8')

    def _invalidate(self) -> None:
        """First of all, lest a kill amid the removal leaves a part that is taken up again."""
        (self.folder / 'build.json').unlink(missing_ok=True)

    def _take_up(self) -> dict | None:
        """Cut both files to the entries that are whole; the last of those."""
        table, descriptors = self.folder / 'places.jsonl', self.folder / 'descriptors.f32'
        if not table.is_file() or not descriptors.is_file():
            table.write_bytes(b'')
            descriptors.write_bytes(b'')
        row = 4 * self._dimensions
        most, end, last, self.count = descriptors.stat().st_size // row, 0, None, 0
        with table.open('rb') as file:
            for line in file:
                entry = _parse(line)
                if entry is None or self.count == most:
                    break
                self.count, end, last = self.count + 1, end + len(line), entry
        os.truncate(table, end)
        os.truncate(descriptors, self.count * row)
        return last

    def add(self, entry: dict, descriptor: np.ndarray) -> None:
        """One place: a JSON object and float32 (D,)."""
        self._lines.append(json.dumps(entry) + '\n')
        self._rows.append(descriptor)
        self.count, self.last = self.count + 1, entry
        if time.monotonic() > self._last_flush + _FLUSH_S:
            self.flush()

    def add_thumbnail(self, number: int, data: bytes) -> None:
        """JPEG of the place `number`."""
        with self._writable():
            self.thumbnails.mkdir(exist_ok=True)
            (self.thumbnails / f'{number:06d}.jpg').write_bytes(data)

    def flush(self) -> None:
        """Everything so far to the disk."""
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
        """All places in order."""
        self.flush()
        with (self.folder / 'places.jsonl').open(encoding='utf-8') as file:
            yield from map(json.loads, file)

    def descriptors(self) -> np.ndarray:
        """All descriptors, float32 (N, D), on disk."""
        self.flush()
        shape = (self.count, self._dimensions)
        return np.memmap(self.folder / 'descriptors.f32', np.float32, 'r', shape=shape)

    def remove(self) -> None:
        """The map is saved, or there is nothing to save."""
        with contextlib.suppress(OSError):
            self._invalidate()
        shutil.rmtree(self.folder, ignore_errors=True)

    def close(self) -> None:
        """Let another process have it; what is not flushed is lost."""
        for file in (self._table, self._descriptors, self._lock_file):
            with contextlib.suppress(OSError):  # a full disk: said already
                file.close()

    @contextlib.contextmanager
    def _writable(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            mend = 'make room' if full else 'mend that, or give another folder for the map,'
            raise VprError(
                f'{self.folder}: cannot be written ({error.strerror or error}); {mend} and call '
                'build_map again: it goes on where it stopped'
            ) from error


def _parse(line: bytes) -> dict | None:
    """A whole line of the table; None for one that a kill or a power cut tore."""
    try:
        return json.loads(line) if line.endswith(b'\n') else None
    except ValueError:
        return None

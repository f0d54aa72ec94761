# SPDX-License-Identifier: Apache-2.0
"""MCAP files, read by their index; without a sound index they are read once from the start.

The format: https://mcap.dev/spec. A file whose recorder was killed is read up to its end.
"""

from __future__ import annotations

import heapq
import os
import struct
from array import array
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

import numpy as np

from ashtkd_ros.bags.channels import (
    DAMAGE,
    Channel,
    ChunkMessages,
    Item,
    TooManyMessages,
    Unreadable,
    in_time,
    most_messages,
    type_name,
)
from ashtkd_ros.bags.mcap_records import HEAD, MESSAGE, records, text, uint, ushort
from ashtkd_ros.bags.unpacking import UNPACKED_LIMIT, unpack
from ashtkd_ros.files.reading import open_regular
from ashtkd_ros.stamps import ns_to_s

MAGIC = b'\x89MCAP0\r\n'
_FOOTER, _SCHEMA, _CHANNEL, _CHUNK = 2, 3, 4, 6
_CHUNK_INDEX, _STATISTICS, _DATA_END = 8, 11, 15
_LENGTHS_AT_END = {_FOOTER: 20, _DATA_END: 4}  # of any other it is damage, no end
_FOOTER_HEAD = struct.pack('<BQ', _FOOTER, 20)
_TAIL = 2**20  # bytes in which the end is looked for
_CHUNK_HEAD = 40  # bytes of an uncompressed chunk before its records
_LONGEST_NAME = 64  # bytes of the name of a compression
_RECOVER = '"mcap recover" saves what there is'


class _Chunk(NamedTuple):
    """Times in ns, `end` included; place of the content; its channels, None: unknown."""

    start: int
    end: int
    at: int
    length: int
    numbers: frozenset[int] | None


class McapFile:
    """An open MCAP file.

    `channels` by number; `start` and `end`: of the log times in ns, `end` after the last one;
    `notes`: what was skipped. Raises Unreadable for a file that is damaged or not MCAP.
    """

    def __init__(self, path: Path, name: Path | None = None):
        self.name, self.notes = name or path, []
        self.channels: dict[int, Channel] = {}
        self._counts: Counter[int] = Counter()
        self._chunks: list[_Chunk] = []
        self._bad: dict[int, _Chunk] = {}  # by the places of their content
        # Messages outside of chunks: times, channels, places and lengths of the data.
        self._loose = array('q'), array('H'), array('q'), array('q')
        self._last = -1, b''
        self._file = os.fdopen(open_regular(path), 'rb', buffering=0)
        try:
            self._open(os.fstat(self._file.fileno()).st_size)
        except BaseException:
            self.close()
            raise

    def _open(self, size: int) -> None:
        self._most = most_messages(size)
        magic = self._read(0, len(MAGIC))
        if magic != MAGIC:
            why = 'is empty' if not magic else 'is not an MCAP file'
            raise Unreadable(f'{self.name}: {why}; copy it again, or record it again')
        size = self._end(size)
        self._whole = self._read(size - 8, 8) == MAGIC and size > 2 * len(MAGIC)
        summary = self._whole and self._read_summary(size)
        if not summary:
            self._forget()
            self._scan(size)
        self.channels = {
            number: channel._replace(count=self._counts.pop(number, 0))
            for number, channel in self.channels.items()
        }
        if lost := sum(self._counts.values()):
            self.notes.append(f'{lost} messages without a channel are skipped')

    def _end(self, size: int) -> int:
        """Where the last end mark of the file lies, whatever was written after it."""
        begin = max(size - _TAIL, 0)
        tail = self._read(begin, _TAIL)
        at = tail.rfind(MAGIC)
        end, footer = begin + at + len(MAGIC), at - 20 - HEAD
        if end == size or footer < 0 or tail[footer : footer + HEAD] != _FOOTER_HEAD:
            return size
        self.notes.append(f'has {size - end} bytes after its end, which are skipped')
        return end

    def _forget(self) -> None:
        self.channels, self._counts, self._chunks = {}, Counter(), []
        self._schemas: dict[int, str] = {}
        self._typeless: set[int] = set()  # channels whose schema does not come before them

    def _read(self, at: int, length: int) -> bytes:
        return os.pread(self._file.fileno(), max(0, length), at) if at >= 0 else b''

    # --- with an index

    def _read_summary(self, size: int) -> bool:
        """Take channels, counts and chunks from the summary; False if it is missing or damaged."""
        self._forget()
        footer = size - 8 - 20 - HEAD
        try:
            kind, length, start, _, crc = struct.unpack('<BQQQI', self._read(footer, 29))
            if kind != _FOOTER or length != 20 or not 0 < start < footer:
                return False
            data = self._read(start, min(footer + 25 - start, UNPACKED_LIMIT))
            if crc and crc32(data) != crc:
                self.notes.append('its summary is damaged; the file is read without it')
                return False
            return self._take_summary(data[: footer - start], start)
        except (*DAMAGE, TooManyMessages):
            return False

    def _take_summary(self, data: bytes, data_end: int) -> bool:
        said = None
        for kind, at, length in records(data, self._most):
            content = data[at : at + length]
            self._take(kind, content)
            if kind == _CHUNK_INDEX:
                self._chunks.append(_indexed(content))
            elif kind == _STATISTICS:
                said, chunks = struct.unpack_from('<Q', content)[0], uint(content, 22)
                self.start, end = struct.unpack_from('<QQ', content, 26)
                self.start, self.end = (self.start, end + 1) if said else (0, 0)
                counts = content[46 : 46 + uint(content, 42)]
                self._counts.update(dict(struct.iter_unpack('<HQ', counts)))
        if said is None or said != sum(self._counts.values()):
            return False
        inside = _lie_apart(self._chunks, data_end)
        counted = {number for number, count in self._counts.items() if count}
        # A summary may repeat the channels and not their schemas.
        known = (
            counted <= self.channels.keys()
            and not self._typeless & counted
            and all(c.numbers is None or c.numbers <= self.channels.keys() for c in self._chunks)
        )
        return bool(inside and known and len(self._chunks) == chunks and (chunks or not said))

    def _take(self, kind: int, content: bytes) -> None:
        """Take note of a record that is a schema or a channel."""
        if kind == _SCHEMA:
            self._schemas[ushort(content, 0)] = text(content, 2)[0]
        elif kind == _CHANNEL:
            number, schema = struct.unpack_from('<HH', content)
            topic, at = text(content, 4)
            encoding, _ = text(content, at)
            if schema and schema not in self._schemas:
                self._typeless.add(number)
            made = Channel(topic, type_name(self._schemas.get(schema, '')), encoding)
            self.channels.setdefault(number, made)

    # --- without one

    def _scan(self, size: int) -> None:
        """Read the file from its start and count its messages."""
        at, reached, bad = len(MAGIC), True, []
        times = self._loose[0]
        while True:
            head = self._read(at, HEAD)
            if len(head) < HEAD:
                reached = False
                break
            kind, length = struct.unpack('<BQ', head)
            at += HEAD
            if _LENGTHS_AT_END.get(kind) == length:
                break
            if not kind or at + length > size:
                # The messages of an uncompressed chunk that was cut can be used up to the cut.
                if kind == _CHUNK and not self._read(at, 32)[28:].strip(b'\0') and not self._whole:
                    at += _CHUNK_HEAD
                    continue
                reached = False
                if not kind:  # zeros after a power failure; they may begin in the last message
                    self._drop_last(at - HEAD)
                break
            try:
                self._take_record(kind, at, length)
            except TooManyMessages as error:
                raise self._damaged(error) from error
            except DAMAGE as error:
                bad.append(error)
            at += length
        spans = [(c.start, c.end) for c in self._chunks]
        spans += [(min(times), max(times))] if times else []
        self.start = min((s for s, _ in spans), default=0)
        self.end = max((e for _, e in spans), default=-1) + 1
        self._tell(reached, bad, at)

    def _drop_last(self, end: int) -> None:
        """Forget the last message outside of chunks if it ends there."""
        times, numbers, places, lengths = self._loose
        if times and places[-1] + lengths[-1] == end:
            self._counts[numbers[-1]] -= 1
            for column in self._loose:
                column.pop()

    def _take_record(self, kind: int, at: int, length: int) -> None:
        if kind in (_SCHEMA, _CHANNEL):
            self._take(kind, self._read(at, min(length, UNPACKED_LIMIT)))
        elif kind == MESSAGE:
            number, _, received, _ = struct.unpack('<HIQQ', self._read(at, 22))
            if length < 22 or received >= 2**63:
                raise ValueError('a message is too short')
            self._counts[number] += 1
            for column, value in zip(
                self._loose, (received, number, at + 22, length - 22), strict=True
            ):
                column.append(value)
        elif kind == _CHUNK:
            counts: Counter[int] = Counter()
            start, end = 2**63, -1
            data = self._unpacked(at, length)
            for inner, where, extent in records(data, self._most - sum(self._counts.values())):
                if inner == MESSAGE:
                    received = struct.unpack_from('<Q', data, where + 6)[0]
                    counts[ushort(data, where)] += 1
                    start, end = min(start, received), max(end, received)
                elif inner in (_SCHEMA, _CHANNEL):
                    self._take(inner, data[where : where + extent])
            if counts:
                self._counts.update(counts)
                self._chunks.append(_Chunk(start, end, at, length, frozenset(counts)))

    def _tell(self, reached: bool, bad: list[Exception], at: int) -> None:
        """Note that a file has no proper end; Unreadable if nothing of it can be read."""
        if self._whole and not reached:
            bad.append(ValueError(f'from byte {at} on'))
        if self._whole and bad and not (self._chunks or self._loose[0]):
            raise self._damaged(bad[0]) from bad[0]
        if not self._whole:
            if not self.channels:
                raise Unreadable(
                    f'{self.name}: was cut off before its first message; record it again'
                )
            self.notes.append(
                f'was cut off (the recorder was killed, or is still recording): read up to byte '
                f'{at}; {_RECOVER} as well'
            )
        elif not reached:
            self.notes.append(f'is damaged: read up to byte {at}; {_RECOVER}')
        if chunks := len(bad) - (self._whole and not reached):
            self.notes.append(f'{chunks} damaged chunks are skipped, messages are missing')

    # --- messages

    def messages(
        self,
        numbers: Collection[int],
        start: int | None = None,
        stop: int | None = None,
        lenient: bool = False,
    ) -> Iterator[Item]:
        """(channel, log time in ns, data) in order of time, from `start` to before `stop`.

        `lenient`: damaged chunks are skipped, and `lost` has notes on them.
        """
        span = 0 if start is None else start, 2**64 if stop is None else stop
        wanted = frozenset(numbers)
        chunks = [c for c in self._chunks if c.numbers is None or c.numbers & wanted]
        left = [self._most]

        def items(chunk: _Chunk) -> Iterator[tuple]:
            try:
                return self._of_chunk(chunk, wanted, span, left)
            except Unreadable as error:
                if not lenient or isinstance(error.__cause__, TooManyMessages):
                    raise
            self._bad[chunk.at] = chunk
            return iter(())

        found = [in_time(chunks, span, items), self._of_loose(wanted, *span)]
        for received, _, _, number, data in heapq.merge(*found, key=itemgetter(0, 1)):
            yield number, received, data

    @property
    def lost(self) -> str:
        """A note on the damaged chunks met so far; empty without any."""
        if not self._bad:
            return ''
        start = ns_to_s(min(c.start for c in self._bad.values()))
        end = ns_to_s(max(c.end for c in self._bad.values()))
        return (
            f'is damaged: {len(self._bad)} of {len(self._chunks)} chunks are skipped, and '
            f'messages received from {start:.3f} to {end:.3f} are missing; copy it again; '
            f'{_RECOVER}'
        )

    def _of_chunk(
        self, chunk: _Chunk, wanted: frozenset[int], span: tuple[int, int], left: list[int]
    ) -> Iterator[tuple]:
        """Messages of a chunk in order of time; `left`: records that all chunks may still have."""
        rows, seen = ChunkMessages(chunk.at), 0
        try:
            data = self._unpacked(chunk.at, chunk.length)
            for kind, at, length in records(data, left[0]):
                seen += 1
                if kind == MESSAGE:
                    number, _, received = struct.unpack_from('<HIQ', data, at)
                    if number in wanted and span[0] <= received < span[1]:
                        rows.add(received, number, data[at + 22 : at + length])
            left[0] -= seen
        except (*DAMAGE, TooManyMessages) as error:
            raise self._damaged(error) from error
        return iter(rows)

    def _of_loose(self, wanted: frozenset[int], start: int, stop: int) -> Iterator[tuple]:
        times, numbers, places, lengths = (np.frombuffer(c, c.typecode) for c in self._loose)
        chosen = np.isin(numbers, sorted(wanted)) & (times >= start)
        chosen &= times <= min(stop - 1, 2**63 - 1)
        rows = np.flatnonzero(chosen)
        for row in rows[np.argsort(times[rows], kind='stable')].tolist():
            at, length = int(places[row]), int(lengths[row])
            if length > UNPACKED_LIMIT:
                raise self._damaged(ValueError(f'a message of {length} bytes'))
            yield int(times[row]), at, 0, int(numbers[row]), self._read(at, length)

    def _unpacked(self, at: int, length: int) -> bytes:
        """Records of the chunk whose content lies there; ValueError where it is damaged."""
        last, data = self._last  # messages asked for one by one are often of one chunk
        if last == at:
            return data
        if length > UNPACKED_LIMIT:
            raise ValueError(f'a chunk of {length} bytes')
        head = self._read(at, min(length, _CHUNK_HEAD + _LONGEST_NAME))
        size, crc = struct.unpack_from('<QI', head, 16)
        compression, place = text(head, 28)
        stored = struct.unpack_from('<Q', head, place)[0]
        data = self._read(at + place + 8, min(stored, length - place - 8))
        if compression:
            data = unpack(data, compression, min(size, UNPACKED_LIMIT))
        if len(data) != size:
            raise ValueError(f'a chunk has {len(data)} bytes of {size}')
        if crc and crc32(data) != crc:
            raise ValueError('a chunk does not match its checksum')
        self._last = at, data
        return data

    def _damaged(self, error: Exception) -> Unreadable:
        return Unreadable(f'{self.name}: is damaged ({error}); copy it again; {_RECOVER}')

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _lie_apart(chunks: Sequence[_Chunk], end: int) -> bool:
    """Whether all chunks lie within a file's data, and none over another."""
    reached = 0
    for chunk in sorted(chunks, key=lambda c: c.at):
        if chunk.at <= reached:
            return False
        reached = chunk.at + chunk.length
    return reached <= end


def _indexed(content: bytes) -> _Chunk:
    """The chunk that a record of the index describes."""
    start, end, at, length, table = struct.unpack_from('<QQQQI', content)
    numbers = frozenset(n for n, _ in struct.iter_unpack('<HQ', content[36 : 36 + table]))
    # Writers without an index of messages do not name the channels.
    return _Chunk(start, end, at + HEAD, length - HEAD, numbers or None)

# SPDX-License-Identifier: Apache-2.0
"""ROS 1 bags: rosbags reads those with an index; others are read here from their start."""

from __future__ import annotations

import bz2
import contextlib
import os
import struct
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import NamedTuple

import lz4.frame
from rosbags.rosbag1 import Reader

from ashtkd_ros.bags.channels import (
    DAMAGE,
    ROS1,
    Channel,
    ChunkMessages,
    Item,
    TooManyMessages,
    Unreadable,
    in_time,
    most_messages,
    type_name,
)
from ashtkd_ros.bags.unpacking import UNPACKED_LIMIT, unpack
from ashtkd_ros.errors import VprError
from ashtkd_ros.files.reading import open_regular
from ashtkd_ros.stamps import join_ns
from ashtkd_ros.text import reason_of

MAGIC = b'#ROSBAG V2.0\n'
_MESSAGE, _CHUNK, _CONNECTION = 2, 5, 7
_HEADER_LIMIT = 2**24  # bytes; a header names a topic or a time


class Ros1Reader:
    """An open .bag; its members are those of rosbag2.Ros2Reader."""

    in_order = True

    def __init__(self, path: Path):
        self.path, self.notes = path, []
        self._rest: _Scan | None = None
        with open(open_regular(path), 'rb') as opened:
            magic = opened.read(len(MAGIC))
        if magic != MAGIC:
            why = 'is empty' if not magic else 'is not a bag of ROS 1'
            raise VprError(f'{path}: {why}; copy it again, or record it again')
        self._reader: Reader | _Scan = Reader(path)
        try:
            self._reader.open()
        except Exception as error:  # rosbags raises anything for an index that is cut or missing
            self._reader = self._scanned(error)
        if isinstance(self._reader, Reader):
            self._take()

    def _take(self) -> None:
        """Take channels and times from the index, as rosbags read it."""
        reader = self._reader
        counts: Counter[Channel] = Counter()
        for c in reader.connections:
            counts[Channel(c.topic, c.msgtype, ROS1)] += c.msgcount
        self.channels = [c._replace(count=n) for c, n in counts.items()]
        filled = any(counts.values())
        self.start, self.end = (reader.start_time, reader.end_time) if filled else (0, 0)
        for at, chunk in reader.chunks.items():
            reader.chunks[at] = chunk._replace(decompressor=_limited(chunk.decompressor))

    def _scanned(self, error: Exception) -> _Scan:
        scan = _Scan(self.path)
        if not scan.channels:
            scan.close()
            raise VprError(
                f'{self.path}: holds no message that can be read; was it cut off while recording? '
                '"rosbag reindex" tries to mend it; else record it again'
            ) from error
        self.notes.append(
            'has no usable index (the recorder was killed, or is still recording); it is read up '
            f'to byte {scan.reached}; "rosbag reindex" mends it'
        )
        if scan.bad:
            self.notes.append(f'{scan.bad} damaged chunks are skipped, wholly or in part')
        self.channels = list(scan.channels.values())
        self.start, self.end = scan.start, scan.end
        return scan

    def messages(
        self,
        topics: Collection[str],
        start: int | None = None,
        stop: int | None = None,
        lenient: bool = False,
    ) -> Iterator[tuple[Channel, int, bytes]]:
        """(channel, receive time in ns, data) in order of time, from `start` to before `stop`.

        `lenient`: damaged chunks are skipped, and `lost` has notes on them.
        """
        if isinstance(self._reader, _Scan):
            yield from self._reader.of_topics(topics, start, stop)
            return
        wanted = [c for c in self._reader.connections if c.topic in topics]
        last, seen = start, Counter()
        try:
            # rosbags gives the messages of all connections if none is named
            for c, received, data in self._reader.messages(wanted, start, stop) if wanted else ():
                seen = seen if received == last else Counter()
                last, seen[c.topic] = received, seen[c.topic] + 1
                yield Channel(c.topic, c.msgtype, ROS1), received, data
            return
        except Exception as error:  # rosbags raises anything for damaged bytes
            if not lenient:
                why = reason_of(error).rstrip('.')
                raise Unreadable(f'{self.path}: is damaged ({why}); copy it again') from error
        # The rest is read without the index.
        self._rest = self._rest or _Scan(self.path)
        for channel, received, data in self._rest.of_topics(topics, last, stop):
            if received != last or seen[channel.topic] <= 0:
                yield channel, received, data
            else:
                seen[channel.topic] -= 1

    @property
    def lost(self) -> list[str]:
        """Notes on what was skipped while reading."""
        bad = self._rest.bad if self._rest is not None else 0
        return [f'is damaged: {bad} chunks are skipped; copy it again'] if bad else []

    def close(self) -> None:
        """Close the file."""
        if self._rest is not None:
            self._rest.close()
        self._reader.close()


class _Chunk(NamedTuple):
    """Times in ns, `end` included; place of the data; their compression; the channels."""

    start: int
    end: int
    at: int
    length: int
    compression: str
    numbers: frozenset[int]


class _Scan:
    """A bag without an index, read up to the byte `reached`; `bad` chunks are damaged."""

    def __init__(self, path: Path):
        self.path, self.bad, self.reached = path, 0, len(MAGIC)
        self._alone = False  # whether there are messages outside of chunks
        self._kinds: dict[int, tuple[str, str]] = {}
        self._counts: Counter[int] = Counter()
        self._chunks: list[_Chunk] = []
        self._file = os.fdopen(open_regular(path), 'rb', buffering=0)
        try:
            size = os.fstat(self._file.fileno()).st_size
            self._most = most_messages(size)
            self._scan(size)
        except TooManyMessages as error:
            self.close()
            raise self._damaged(error) from error
        except BaseException:
            self.close()
            raise
        self.channels = {
            n: Channel(topic, kind, ROS1, self._counts[n])
            for n, (topic, kind) in self._kinds.items()
        }
        self.start = min((c.start for c in self._chunks), default=0)
        self.end = max((c.end for c in self._chunks), default=-1) + 1

    def _scan(self, size: int) -> None:
        at = len(MAGIC)
        while True:
            try:
                length = _uint(self._read(4, at), 0)
                if length > _HEADER_LIMIT:
                    return
                header = _fields(self._read(length, at + 4))
                extent = _uint(self._read(4, at + 4 + length), 0)
                kind = header['op'][0]
            except DAMAGE:
                self._drop_last(at)
                return
            begin, at = at, at + 8 + length
            plain = header.get('compression') == b'none'
            if at + extent > size:
                if kind == _CHUNK and plain:
                    continue  # its records follow, up to where it is cut
                return
            try:
                if kind == _CHUNK:
                    self._take(at, extent, header.get('compression', b'').decode())
                elif kind in (_MESSAGE, _CONNECTION):  # it is of a chunk that was not closed
                    self._alone = True
                    self._take(begin, at + extent - begin, 'none')
            except DAMAGE:
                self.bad += 1
                if kind == _CHUNK and plain:
                    self._take(at, self._sound_length(at, extent), 'none')
            at += extent
            self.reached = at

    def _drop_last(self, end: int) -> None:
        """Forget the message outside of chunks that ends there, if zeros follow it."""
        zeros = self._read(8, end)
        if zeros and not any(zeros) and self._alone and self._chunks:
            last = self._chunks[-1]
            if last.at + last.length == end:
                self._counts.subtract(last.numbers)
                self._chunks.pop()

    def _read(self, length: int, at: int) -> bytes:
        return os.pread(self._file.fileno(), length, at)

    def _take(self, at: int, length: int, compression: str) -> None:
        """Count the messages of a chunk."""
        counts: Counter[int] = Counter()
        start, end, kinds = 2**64, -1, {}
        left = self._most - sum(self._counts.values())
        for kind, header, data in self._records(at, length, compression, left):
            number = _uint(header['conn'], 0)
            if kind == _MESSAGE:
                counts[number] += 1
                received = _time(header['time'])
                start, end = min(start, received), max(end, received)
            elif kind == _CONNECTION:
                topic = '/'.join(p for p in header['topic'].decode().split('/') if p)
                name = _fields(data)['type'].decode()
                kinds[number] = ('/' * header['topic'].startswith(b'/') + topic, type_name(name))
        self._kinds = {**kinds, **self._kinds}
        if counts:
            self._counts.update(counts)
            made = _Chunk(start, end, at, length, compression, frozenset(counts))
            self._chunks.append(made)

    def _sound_length(self, at: int, length: int) -> int:
        """The records of an uncompressed chunk before the first damaged one.

        A power failure leaves zeros, which may begin within the record before them.
        """
        reached = before = 0
        with contextlib.suppress(*DAMAGE):
            for kind, header, data in self._records(
                at, min(length, UNPACKED_LIMIT), 'none', 2**32
            ):
                _uint(header['conn'], 0)
                if kind == _MESSAGE:
                    _time(header['time'])
                elif kind == _CONNECTION:
                    header['topic'].decode(), _fields(data)['type'].decode()
                before = reached
                reached += 8 + sum(5 + len(k) + len(v) for k, v in header.items()) + len(data)
        return reached if any(self._read(8, at + reached)) else before

    def _records(
        self, at: int, length: int, compression: str, most: int
    ) -> Iterator[tuple[int, dict[str, bytes], bytes]]:
        """Kind, header and data of a chunk's records; ValueError if they are damaged.

        TooManyMessages if there are more than `most`.
        """
        if length > UNPACKED_LIMIT:
            raise ValueError(f'a chunk of {length} bytes')
        data = _unpacked(self._read(length, at), compression)
        place = 0
        while place < len(data):
            header_end = place + 4 + _uint(data, place)
            header = _fields(data[place + 4 : header_end])
            end = header_end + 4 + _uint(data, header_end)
            if end > len(data):
                raise ValueError('a record is cut')
            yield header['op'][0], header, data[header_end + 4 : end]
            place = end
            most -= 1
            if most < 0:
                raise TooManyMessages

    def of_topics(
        self, topics: Collection[str], start: int | None, stop: int | None
    ) -> Iterator[tuple[Channel, int, bytes]]:
        """As `messages`, with the channel itself."""
        wanted = {n: c for n, c in self.channels.items() if c.topic in topics}
        for number, received, data in self.messages(wanted, start, stop):
            yield wanted[number], received, data

    def messages(
        self, numbers: Collection[int], start: int | None = None, stop: int | None = None
    ) -> Iterator[Item]:
        """(channel, receive time in ns, data) in order of time, from `start` to before `stop`."""
        wanted = frozenset(numbers)
        span = 0 if start is None else start, 2**64 if stop is None else stop
        chunks = [c for c in self._chunks if c.numbers & wanted]
        left = [self._most]
        items = in_time(chunks, span, lambda c: self._items(c, wanted, span, left))
        for received, _, _, number, data in items:
            yield number, received, data

    def _items(
        self, chunk: _Chunk, wanted: frozenset[int], span: tuple[int, int], left: list[int]
    ) -> Iterator[tuple]:
        """Messages of a chunk in order of time; `left`: records that all chunks may still have."""
        rows, seen = ChunkMessages(chunk.at), 0
        try:
            records = self._records(chunk.at, chunk.length, chunk.compression, left[0])
            for kind, header, data in records:
                seen += 1
                if kind == _MESSAGE:
                    number, received = _uint(header['conn'], 0), _time(header['time'])
                    if number in wanted and span[0] <= received < span[1]:
                        rows.add(received, number, data)
            left[0] -= seen
        except (*DAMAGE, TooManyMessages) as error:
            raise self._damaged(error) from error
        return iter(rows)

    def _damaged(self, error: Exception) -> Unreadable:
        return Unreadable(f'{self.path}: is damaged ({error}); copy it again')

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _fields(data: bytes) -> dict[str, bytes]:
    """The fields of a header; ValueError if it is damaged."""
    found, at = {}, 0
    while at < len(data):
        end = at + 4 + _uint(data, at)
        name, equals, value = data[at + 4 : end].partition(b'=')
        if not equals or end > len(data):
            raise ValueError('a header is damaged')
        found[name.decode('utf-8', 'backslashreplace')] = value
        at = end
    return found


def _uint(data: bytes, at: int) -> int:
    return struct.unpack_from('<I', data, at)[0]


def _time(data: bytes) -> int:
    """A time in nanoseconds."""
    return join_ns(*struct.unpack('<II', data))


def _unpacked(data: bytes, compression: str) -> bytes:
    """The bytes of a chunk; ValueError if they are damaged or more than the limit."""
    if compression == 'bz2':
        return _bz2(data)
    return unpack(data, compression, UNPACKED_LIMIT) if compression != 'none' else data


def _bz2(data: bytes) -> bytes:
    reader = bz2.BZ2Decompressor()
    try:
        unpacked = reader.decompress(data, UNPACKED_LIMIT + 1)
    except OSError as error:
        raise ValueError(f'its bz2 data are damaged ({error})') from error
    if len(unpacked) > UNPACKED_LIMIT or not reader.eof:
        raise ValueError(f'a chunk is cut off, or unpacks to more than {UNPACKED_LIMIT} bytes')
    return unpacked


def _limited(plain: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    """The function that unpacks a chunk, up to the limit."""
    if plain is bz2.decompress:
        return _bz2
    if plain is lz4.frame.decompress:
        return lambda data: unpack(data, 'lz4', UNPACKED_LIMIT)
    return plain

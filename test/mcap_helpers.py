# SPDX-License-Identifier: Apache-2.0
"""MCAP files as others write them: without index, out of order, of other encodings, damaged."""

from __future__ import annotations

import struct
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import lz4.frame

from ashtkd_ros.bags.bag import Bag
from ashtkd_ros.bags.unpacking import zstd

MAGIC = b'\x89MCAP0\r\n'


@dataclass
class Row:
    """A channel and its messages: (log time in ns, data)."""

    topic: str
    kind: str
    messages: list[tuple[int, bytes]]
    encoding: str = 'cdr'
    schema: str = 'ros2msg'
    qos: str = ''


def channels_of(bag: Path) -> list[Row]:
    """The channels of a bag, as ROS 2 writes them."""
    opened, rows = Bag(bag), {}
    for channel, received, data in opened._raw(list(opened.topics)):
        row = rows.setdefault(channel.topic, Row(channel.topic, channel.type, []))
        row.encoding = channel.encoding
        row.messages.append((received, bytes(data)))
    opened.close()
    return list(rows.values())


def _record(kind: int, content: bytes) -> bytes:
    return struct.pack('<BQ', kind, len(content)) + content


def _text(text: str) -> bytes:
    return struct.pack('<I', len(text.encode())) + text.encode()


def _message(number: int, received: int, data: bytes) -> bytes:
    return _record(5, struct.pack('<HIQQ', number, 0, received, received) + data)


def _packed(data: bytes, compression: str) -> bytes:
    pack = {'': bytes, 'zstd': zstd.compress, 'lz4': lz4.frame.compress}
    return pack.get(compression, bytes)(data)


def write_mcap(
    path: Path,
    rows: Sequence[Row],
    *,
    order: Sequence[int] | None = None,
    chunk: int | None = 4,
    compression: str = '',
    profile: str = 'ros2',
    index: bool = True,
    message_index: bool = True,
    statistics: bool = True,
    footer: bool = True,
    summary_crc: bool = True,
    repeated: bool = True,
    schemas: bool = True,
    miscounted: int = 0,
    first: bytes = b'',
) -> Path:
    """Write the rows' messages in order of time or in `order` of that; the path.

    `chunk`: messages in one, None: none; `index`: the whole summary; `repeated`: channels in it,
    with `schemas` theirs too; `miscounted`: messages of each channel that the statistics alone
    know; `first`: records before all. Channels come in the first chunk, or before all messages.
    """
    named, messages = _channels(rows), _messages(rows, order)
    body = MAGIC + _record(1, _text(profile) + _text('tests')) + first
    if chunk is None or not messages:
        body += named + b''.join(_message(n, t, d) for t, n, d in messages)
    chunks = []
    for i in range(0, len(messages), chunk) if chunk else ():
        part, head = messages[i : i + chunk], b'' if i else named
        added, entry = _chunk(len(body), part, head, compression, message_index)
        body += added
        chunks.append(entry)
    body += _record(15, struct.pack('<I', 0))
    summary = _channels(rows, schemas) * repeated + b''.join(chunks)
    if statistics:
        summary += _statistics(messages, len(rows), len(chunks), miscounted)
    path.write_bytes(body + (_end(len(body), summary if index else b'', summary_crc) * footer))
    return path


def _end(start: int, summary: bytes, with_crc: bool) -> bytes:
    """The summary, which begins at `start`, and the footer."""
    end = struct.pack('<BQQQ', 2, 20, start if summary else 0, 0)
    crc = zlib.crc32(summary + end) if with_crc and summary else 0
    return summary + end + struct.pack('<I', crc) + MAGIC


def _channels(rows: Sequence[Row], schemas: bool = True) -> bytes:
    """Schema and channel of every row."""
    return b''.join(
        _record(3, struct.pack('<H', n) + _text(r.kind) + _text(r.schema) + _text('x')) * schemas
        + _record(4, struct.pack('<HH', n, n) + _text(r.topic) + _text(r.encoding) + _qos(r))
        for n, r in enumerate(rows, 1)
    )


def _messages(rows: Sequence[Row], order: Sequence[int] | None) -> list[tuple[int, int, bytes]]:
    """Time, channel and data of all messages."""
    messages = [(t, n, data) for n, r in enumerate(rows, 1) for t, data in r.messages]
    messages.sort(key=lambda m: m[0])
    return messages if order is None else [messages[i] for i in order]


def _chunk(
    at: int, part: list, named: bytes, compression: str, message_index: bool
) -> tuple[bytes, bytes]:
    """The chunk to be written there with its index of messages, and its entry in the index."""
    inner = named + b''.join(_message(n, t, d) for t, n, d in part)
    packed, times = _packed(inner, compression), [t for t, _, _ in part]
    content = struct.pack('<QQQI', min(times), max(times), len(inner), zlib.crc32(inner))
    content += _text(compression) + struct.pack('<Q', len(packed)) + packed
    added = _record(6, content)
    length, table = len(added), b''
    for number in sorted({n for _, n, _ in part}) if message_index else ():
        table += struct.pack('<HQ', number, at + len(added))
        own = b''.join(struct.pack('<QQ', t, 0) for t, n, _ in part if n == number)
        added += _record(7, struct.pack('<HI', number, len(own)) + own)
    entry = struct.pack('<QQQQI', min(times), max(times), at, length, len(table)) + table
    entry += struct.pack('<Q', len(added) - length) + _text(compression)
    return added, _record(8, entry + struct.pack('<QQ', len(packed), len(inner)))


def _qos(row: Row) -> bytes:
    table = _text('offered_qos_profiles') + _text(row.qos)
    return struct.pack('<I', len(table)) + table


def _statistics(messages: list, channels: int, chunks: int, more: int) -> bytes:
    counts = Counter(n for _, n, _ in messages)
    times = [t for t, _, _ in messages] or [0]
    table = b''.join(struct.pack('<HQ', n, count + more) for n, count in counts.items())
    said = len(messages) + more * len(counts), channels, channels, 0, 0, chunks
    content = struct.pack('<QHIIIIQQI', *said, min(times), max(times), len(table)) + table
    return _record(11, content)

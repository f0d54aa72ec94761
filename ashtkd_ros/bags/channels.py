# SPDX-License-Identifier: Apache-2.0
"""What the readers of all kinds of bag files have in common."""

from __future__ import annotations

import heapq
import struct
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from ashtkd_ros.errors import VprError
from ashtkd_ros.text import one_line

CDR, ROS1 = 'cdr', 'ros1'
Item = tuple[int, int, bytes]  # channel, receive time in ns, data
# The exceptions that parsing damaged bytes leads to.
DAMAGE = (struct.error, ValueError, IndexError, KeyError)
_LISTED = 6
_MOST_MESSAGES = 2**20


class Unreadable(VprError):
    """One file of a bag is damaged or of another kind; other files beside it may be read."""


class TooManyMessages(Exception):
    """A file claims more messages than its size allows; it may be made to fill the memory."""

    def __str__(self) -> str:
        return 'it holds more messages than its size allows'


class Channel(NamedTuple):
    """Messages of one topic in a file: topic, type (pkg/msg/Name), encoding and count."""

    topic: str
    type: str
    encoding: str
    count: int = 0


def type_name(name: str) -> str:
    """pkg/Name and pkg::msg::Name → pkg/msg/Name, as in ROS 2; other names stay as they are."""
    parts = name.replace('::', '/').split('/')
    return f'{parts[0]}/msg/{parts[1]}' if len(parts) == 2 else '/'.join(parts)


def first_names(names: Iterable[str]) -> str:
    """Names on one line; of many names the first few."""
    names = [one_line(name) for name in names]
    more = f' and {len(names) - _LISTED} more' if len(names) > _LISTED else ''
    return ', '.join(names[:_LISTED]) + more


def unreadable(channels: Mapping[int, Channel]) -> list[str]:
    """A note for each encoding that is not one of ROS, with its topics.

    If a topic has messages of ROS as well, the note says how many others are skipped.
    """
    sound = {c.topic for c in channels.values() if c.encoding in (CDR, ROS1)}
    topics: dict[str, list[str]] = {}
    mixed: Counter[tuple[str, str]] = Counter()
    for channel in channels.values():
        if channel.encoding in (CDR, ROS1):
            continue
        if channel.topic in sound:
            mixed[channel.topic, channel.encoding] += channel.count
        else:
            topics.setdefault(channel.encoding, []).append(channel.topic)
    return [
        f'{first_names(sorted(set(names)))}: not messages of ROS but '
        f'{one_line(encoding) or "of no encoding"}, skipped'
        for encoding, names in sorted(topics.items())
    ] + [
        f'{one_line(topic)}: {count} of its messages are not of ROS but '
        f'{one_line(encoding) or "of no encoding"}, skipped'
        for (topic, encoding), count in sorted(mixed.items())
    ]


def most_messages(size: int) -> int:
    """How many messages a file of `size` bytes may hold, packed or not.

    Each message takes at least one byte, since its time differs from the last one's.
    """
    return _MOST_MESSAGES + size


def in_time(
    chunks: Iterable[Any], span: tuple[int, int], items: Callable[[Any], Iterator[tuple]]
) -> Iterator[tuple]:
    """Items, which begin with their time, of all chunks in order of time.

    Chunks have `start`, `end` (included) and `at`, and may overlap; each is read when its time
    has come, those that lie outside of `span` (start, stop) never. The items of a chunk come in
    order of time, and no two items are equal.
    """
    waiting: list[tuple] = []  # the next item of each open chunk, and its iterator
    for chunk in sorted(chunks, key=lambda c: (c.start, c.at)):
        if chunk.end < span[0] or chunk.start >= span[1]:
            continue
        while waiting and waiting[0][0][0] < chunk.start:
            yield _next_of(waiting)
        rest = items(chunk)
        if (item := next(rest, None)) is not None:
            heapq.heappush(waiting, (item, rest))
    while waiting:
        yield _next_of(waiting)


def _next_of(waiting: list[tuple]) -> tuple:
    item, rest = waiting[0]
    following = next(rest, None)
    if following is None:
        heapq.heappop(waiting)
    else:
        heapq.heapreplace(waiting, (following, rest))
    return item


class ChunkMessages:
    """The messages of a chunk, in little memory; they come out in order of time."""

    def __init__(self, at: int):
        self._at = at
        self._times, self._numbers = array('Q'), array('I')
        self._data: list[bytes] = []

    def add(self, received: int, number: int, data: bytes) -> None:
        """Add one message, in the order of the chunk."""
        self._times.append(received)
        self._numbers.append(number)
        self._data.append(data)

    def __iter__(self) -> Iterator[tuple[int, int, int, int, bytes]]:
        """(time, place of the chunk, place within, channel, data); each is given once."""
        for row in map(int, np.argsort(np.frombuffer(self._times, 'Q'), kind='stable')):
            data, self._data[row] = self._data[row], b''
            yield self._times[row], self._at, row, self._numbers[row], data

# SPDX-License-Identifier: Apache-2.0
"""What the readers of all kinds of bag files have in common."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from ashtkd_ros.errors import VprError
from ashtkd_ros.files import one_line

CDR, ROS1 = 'cdr', 'ros1'
Item = tuple[int, int, bytes]  # channel, receive time in ns, data
_LISTED = 6


class Unreadable(VprError):
    """A file of a bag that is damaged or of another kind; others beside it may be read."""


class Channel(NamedTuple):
    """A row of messages in a file: topic, type (pkg/msg/Name), encoding, how many."""

    topic: str
    type: str
    encoding: str
    count: int = 0


def type_name(name: str) -> str:
    """pkg/Name and pkg::msg::Name → pkg/msg/Name, as ROS 2 says it; others as they are."""
    parts = name.replace('::', '/').split('/')
    return f'{parts[0]}/msg/{parts[1]}' if len(parts) == 2 else '/'.join(parts)


def listed(names: Iterable[str]) -> str:
    """Names on one line, the first few of many."""
    names = [one_line(name) for name in names]
    more = f' and {len(names) - _LISTED} more' if len(names) > _LISTED else ''
    return ', '.join(names[:_LISTED]) + more


def unreadable(channels: Mapping[int, Channel]) -> list[str]:
    """A note for each encoding that ROS has not, with its topics."""
    topics: dict[str, list[str]] = {}
    for channel in channels.values():
        if channel.encoding not in (CDR, ROS1):
            topics.setdefault(channel.encoding, []).append(channel.topic)
    return [
        f'{listed(sorted(set(names)))}: no messages of ROS but '
        f'{one_line(encoding) or "of no encoding"}, passed over'
        for encoding, names in sorted(topics.items())
    ]


def in_time(
    chunks: Iterable[Any], span: tuple[int, int], items: Callable[[Any], Iterable[tuple]]
) -> Iterator[tuple]:
    """Items, which begin with their time, of all chunks in order of time.

    Chunks have `start`, `end` (included) and `at`, and may overlap; each is read when its time
    has come, those that lie outside of `span` (start, stop) never.
    """
    waiting: list[tuple] = []
    for chunk in sorted(chunks, key=lambda c: (c.start, c.at)):
        if chunk.end < span[0] or chunk.start >= span[1]:
            continue
        while waiting and waiting[0][0] < chunk.start:
            yield heapq.heappop(waiting)
        for item in items(chunk):
            heapq.heappush(waiting, item)
    while waiting:
        yield heapq.heappop(waiting)

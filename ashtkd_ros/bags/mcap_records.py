# SPDX-License-Identifier: Apache-2.0
"""The records of MCAP files (https://mcap.dev/spec), and the values in them."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from ashtkd_ros.bags.channels import TooManyMessages

HEAD = 9  # bytes before a record: its kind and length
MESSAGE = 5


def records(data: bytes, most: int) -> Iterator[tuple[int, int, int]]:
    """Kind, place and length of the content of every record; ValueError if one is cut.

    TooManyMessages if there are more than `most`.
    """
    at, size = 0, len(data)
    while at < size:
        if at + HEAD > size:
            raise ValueError('a record is cut')
        kind, length = struct.unpack_from('<BQ', data, at)
        at += HEAD
        if not kind or at + length > size or (kind == MESSAGE and length < 22):
            raise ValueError('a record is cut')
        yield kind, at, length
        at += length
        most -= 1
        if most < 0:
            raise TooManyMessages


def ushort(data: bytes, at: int) -> int:
    """The unsigned number in the 2 bytes at a place."""
    return struct.unpack_from('<H', data, at)[0]


def uint(data: bytes, at: int) -> int:
    """The unsigned number in the 4 bytes at a place."""
    return struct.unpack_from('<I', data, at)[0]


def text(data: bytes, at: int) -> tuple[str, int]:
    """A text, and the place after it; ValueError if it is cut."""
    end = at + 4 + uint(data, at)
    if end > len(data):
        raise ValueError('a text is cut')
    return data[at + 4 : end].decode('utf-8', 'backslashreplace'), end

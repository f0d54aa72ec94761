# SPDX-License-Identifier: Apache-2.0
"""sha256 of bytes and files, in hexadecimal digits, and texts that hold their own."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable

_PART = 2**20  # bytes in memory at a time
_SELF = b'\nchecksum: '  # begins the last line: sha256 of all bytes before that line


def sha256_of(data: bytes) -> str:
    """Checksum of bytes, 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def sha256_begun(data: bytes | bytearray) -> hashlib._Hash:
    """The checksum of bytes that others will follow: `update`, then `hexdigest`."""
    return hashlib.sha256(data)


def sha256_of_parts(parts: Iterable[bytes]) -> str:
    """Checksum of bytes or arrays that follow each other, 64 hexadecimal digits."""
    digest = sha256_begun(b'')
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def sha256_of_file(path: str | os.PathLike, sync: bool = False) -> str:
    """Checksum of a file, 64 hexadecimal digits; OSError where it cannot be read.

    `sync`: first make sure that the file is on the disk, and not only in memory.
    """
    with open(path, 'rb') as file:
        if sync:
            os.fsync(file.fileno())
        return sha256_of_parts(iter(lambda: file.read(_PART), b''))


def with_checksum(data: bytes) -> bytes:
    """Lines of text and one more: their checksum."""
    return data + _SELF[1:] + sha256_of(data).encode() + b'\n'


def has_checksum(data: bytes) -> bool:
    """Whether the last line is such a checksum; ValueError where the other lines are others."""
    if _SELF not in data:
        return False
    end = data.rindex(_SELF) + 1
    if data != with_checksum(data[:end]):
        raise ValueError('its checksum differs')
    return True

# SPDX-License-Identifier: Apache-2.0
"""sha256 of bytes and files, in hexadecimal digits."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable

_PART = 2**20  # bytes in memory at a time


def sha256_of(data: bytes) -> str:
    """Checksum of bytes, 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def sha256_of_parts(parts: Iterable[bytes]) -> str:
    """Checksum of bytes or arrays that follow each other, 64 hexadecimal digits."""
    digest = hashlib.sha256()
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

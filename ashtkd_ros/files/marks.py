# SPDX-License-Identifier: Apache-2.0
"""By what a file that this program wrote is known again, so that no other file is replaced."""

from __future__ import annotations

import zlib

from ashtkd_ros.files.documents import parse_json

_SIGNATURE, _HEADER_END = b'\x89PNG\r\n\x1a\n', 33  # bytes; the header is the first chunk
# The entry that matplotlib's savefig takes as `metadata`; in the file it is a chunk of text.
PNG_METADATA = {'Software': 'ashtkd_ros'}
_PNG_TEXT = b'Software\0ashtkd_ros'
_PNG_CHUNK = (
    len(_PNG_TEXT).to_bytes(4, 'big')
    + b'tEXt'
    + _PNG_TEXT
    + zlib.crc32(b'tEXt' + _PNG_TEXT).to_bytes(4, 'big')
)


def json_keys(data: bytes) -> set[str]:
    """The names at the top level of a JSON table; empty for anything else."""
    try:
        values = parse_json(data.decode('utf-8'))
    except ValueError:
        return set()
    return set(values) if isinstance(values, dict) else set()


def mark_png(data: bytes) -> bytes:
    """The bytes of a PNG picture with the chunk by which `is_own_png` knows it.

    Bytes of another format stay as they are.
    """
    if not data.startswith(_SIGNATURE):
        return data
    return data[:_HEADER_END] + _PNG_CHUNK + data[_HEADER_END:]


def is_own_png(data: bytes) -> bool:
    """Whether bytes are a PNG picture that this program wrote."""
    return data.startswith(_SIGNATURE) and _PNG_CHUNK in data[:4096]

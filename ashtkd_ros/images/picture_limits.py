# SPDX-License-Identifier: Apache-2.0
"""Limits for encoded pictures of any origin, checked in their headers before decoding.

A picture of some kilobytes can claim gigabytes, and OpenCV's own limit is far above the memory of
a robot.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator
from itertools import islice

import numpy as np

from ashtkd_ros.files.reading import read_regular

MAX_PIXELS = 2**26  # 8192 x 8192
# A JPEG of some kilobytes can repeat a scan of all its pixels thousands of times; a progressive
# one has about 10. Each scan costs the decoder time at every pixel.
MAX_SCANS = 100
_MAX_WORK = 2**30  # scans times pixels: 16 scans of the largest picture
_MARKER = re.compile(rb'\xff[\x02-\xcf\xd8-\xfe]')  # none of these occurs within coded data
_FILE_LIMIT = 2**29  # bytes, enough for so many pixels without compression
_FORMATS = 'JPEG, PNG, BMP, TIFF, WebP, PGM or PPM'
_HEADER_LIMIT = 2**24  # bytes before the size in a JPEG: thumbnails, colour profiles
_TIFF_SIZES = {256: 'width', 257: 'height', 258: 'bits', 277: 'samples', 322: 'w', 323: 'h'}
_TIFF_NUMBERS = {1: 'B', 3: 'H', 4: 'I', 16: 'Q'}
_NUMBER = re.compile(rb'(?:\s|#[^\n]*\n)*(\d{1,9})(?=[\s#]|$)')


def read_bytes(path: str | os.PathLike) -> np.ndarray:
    """All bytes of a picture file, uint8 (N,); OSError or ValueError if it cannot be read."""
    return np.frombuffer(read_regular(path, _FILE_LIMIT), np.uint8)


def check_size(data: np.ndarray) -> None:
    """ValueError if an encoded picture, uint8 (N,), has an unknown format or too many pixels."""
    size = stated_size(data)
    if size is None:
        raise ValueError(f'it is not a {_FORMATS}')
    if why := excess(data, size):
        raise ValueError(f'it {why}')


def excess(data: np.ndarray, size: tuple[int, int]) -> str:
    """Why an encoded picture, uint8 (N,), of this width and height is too large; empty if not.

    To be called before decoding.
    """
    pixels = size[0] * size[1]
    if pixels > MAX_PIXELS:
        return (
            f'claims {size[0]} x {size[1]} pixels, more than {MAX_PIXELS} together; scale it down'
        )
    if data[:2].tobytes() == b'\xff\xd8':
        most = min(MAX_SCANS, _MAX_WORK // max(pixels, 1))
        scans = (at for marker, at in segments(data.tobytes()) if marker == 0xDA)
        if next(islice(scans, most, None), None) is not None:
            return f'has more than {most} scans of {size[0]} x {size[1]} pixels; save it anew'
    return ''


def segments(raw: bytes) -> Iterator[tuple[int, int]]:
    """For each segment of a JPEG: its marker and the position of its length; 0xD9 is the end.

    Coded data is skipped. As in the standard, any number of 0xFF may come before a marker.
    """
    at = 2
    while match := _MARKER.search(raw, at):
        marker, at = raw[match.end() - 1], match.end()
        if marker == 0xD8:
            continue
        if marker == 0xD9:
            yield marker, at
            return
        if at + 2 > len(raw):
            return
        yield marker, at
        at += max(2, struct.unpack_from('>H', raw, at)[0])


def stated_size(data: np.ndarray) -> tuple[int, int] | None:
    """Width and height in the header of an encoded picture, uint8 (N,); None if unknown."""
    start = data[:64].tobytes()
    try:
        if start[:8] == b'\x89PNG\r\n\x1a\n':
            return struct.unpack('>II', start[16:24]) if start[12:16] == b'IHDR' else None
        if start[:2] == b'\xff\xd8':
            return _jpeg(data[:_HEADER_LIMIT].tobytes())
        if start[:2] == b'BM':
            return _bmp(start)
        if start[:4] == b'RIFF' and start[8:12] == b'WEBP':
            return _webp(start)
        if start[:4] in (b'II*\0', b'MM\0*', b'II+\0', b'MM\0+'):
            return _tiff(memoryview(data))
        if start[:1] == b'P' and start[1:2] in b'123456' and start[1:2]:
            return _pnm(data[2:4096].tobytes())
    except (struct.error, IndexError):  # it is truncated
        return None
    return None


def _jpeg(data: bytes) -> tuple[int, int] | None:
    """Goes from marker to marker, as libjpeg does; data between them is skipped."""
    at = 2
    while (at := data.find(b'\xff', at)) >= 0:
        marker = data[at + 1]
        if marker == 0xFF:  # fill bytes
            at += 1
        elif marker in (0x00, 0x01) or 0xD0 <= marker <= 0xD7:  # without content
            at += 2
        elif marker in (0xD8, 0xD9, 0xDA):  # pixels, or the end, before any size
            return None
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from('>HH', data, at + 5)
            return width, height
        else:
            at += 2 + max(2, *struct.unpack_from('>H', data, at + 2))
    return None


def _bmp(start: bytes) -> tuple[int, int] | None:
    (header,) = struct.unpack_from('<I', start, 14)
    if header == 12:
        return struct.unpack_from('<HH', start, 18)
    width, height = struct.unpack_from('<ii', start, 18)
    return (abs(width), abs(height)) if header >= 36 else None


def _webp(start: bytes) -> tuple[int, int] | None:
    kind = start[12:16]
    if kind == b'VP8X':
        width, height = start[24:27], start[27:30]
        return int.from_bytes(width, 'little') + 1, int.from_bytes(height, 'little') + 1
    if kind == b'VP8L':
        (bits,) = struct.unpack_from('<I', start, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b'VP8 ':
        width, height = struct.unpack_from('<HH', start, 26)
        return width & 0x3FFF, height & 0x3FFF
    return None


def _tiff(data: memoryview) -> tuple[int, int] | None:
    """Size of the first picture in the file, or of its tiles if these are larger."""
    order, big = ('<' if data[0] == 0x49 else '>'), 43 in (data[2], data[3])
    entry, pointer = (20, 'Q') if big else (12, 'I')
    (at,) = struct.unpack_from(order + pointer, data, 8 if big else 4)
    (count,) = struct.unpack_from(order + ('Q' if big else 'H'), data, at)
    at += 8 if big else 2
    tags: dict[str, int] = {'bits': 8, 'samples': 1, 'w': 1, 'h': 1}
    for start in range(at, at + entry * min(count, 4096), entry):
        tag, kind = struct.unpack_from(order + 'HH', data, start)
        if tag not in _TIFF_SIZES:
            continue
        (many,) = struct.unpack_from(order + pointer, data, start + 4)
        if kind not in _TIFF_NUMBERS:
            return None
        if many == 1:
            number = struct.unpack_from(
                order + _TIFF_NUMBERS[kind], data, start + (12 if big else 8)
            )
            name = _TIFF_SIZES[tag]
            tags[name] = max(tags.get(name, 0), *number)
        elif tag != 258:  # of which there is one for each sample
            return None
    if 'width' not in tags or 'height' not in tags:
        return None
    if tags['samples'] > 4 or tags['bits'] > 64:
        return None
    return max((tags['width'], tags['height']), (tags['w'], tags['h']), key=np.prod)


def _pnm(data: bytes) -> tuple[int, int] | None:
    width = _NUMBER.match(data)
    height = _NUMBER.match(data, width.end()) if width else None
    return (int(width[1]), int(height[1])) if width and height else None

# SPDX-License-Identifier: Apache-2.0
"""Bytes of picture files (JPEG, PNG, TIFF and others that OpenCV reads) → arrays.

Truncated pictures are refused. The decoder silently fills the missing part of a truncated JPEG
with grey. So a JPEG that looks truncated is decoded twice with different bytes appended: a
complete one does not change.
"""

from __future__ import annotations

import random
import re
import struct
import zlib
from dataclasses import dataclass

import cv2
import numpy as np

from ashtkd_ros.errors import VprError
from ashtkd_ros.images.bit_depth import BitDepth
from ashtkd_ros.images.picture_limits import excess, segments, stated_size
from ashtkd_ros.text import name_of

_PNG = b'\x89PNG\r\n\x1a\n'
_TIFF = {b'II*\0': '<', b'MM\0*': '>', b'II+\0': '', b'MM\0+': ''}  # the last two: BigTIFF
_EOI = b'\xff\xd9'
_PADDING = 16  # more bytes of 0 or 0xFF before the end may stand for lost data
_FILLED = 128  # every value of a pixel that the decoder has filled in
_BLOCK, _INNER = 8, 4  # sides of what is filled in, and of its part beside which nothing shows
# Arbitrary codes that the decoder reads in place of missing ones.
_NOISE = bytes(random.Random(0).choices(range(1, 255), k=256))
# Factors that divide a JPEG's sides, and the flag for each; libjpeg then computes only that size.
_REDUCED = (
    (8, cv2.IMREAD_REDUCED_COLOR_8),
    (4, cv2.IMREAD_REDUCED_COLOR_4),
    (2, cv2.IMREAD_REDUCED_COLOR_2),
)


class ImageError(VprError):
    """The data is not a valid image; `kind` gives the reason in one or two words, for counting."""

    def __init__(self, kind: str, text: str):
        super().__init__(text)
        self.kind = kind

    @property
    def reason(self) -> str:
        """The reason in counts that people read, with the format if that is unknown."""
        named = self.kind in ('unknown encoding', 'not decodable')
        return str(self) if named else self.kind


def decode_picture(
    data: np.ndarray,
    name: str = '',
    at_least: tuple[int, int] | None = None,
    depth: BitDepth | None = None,
) -> np.ndarray:
    """Bytes of a picture, uint8 (N,) → uint8 (H, W, 3), BGR; ImageError if they are not one.

    `name`: the format as the sender names it. `at_least` (height, width) in pixels: a JPEG may be
    decoded at a half, a quarter or an eighth of its size, but no side becomes smaller than this.
    `depth`: bit depth of the source, for 16 bit values; None: that of this picture. The
    orientation in EXIF is applied.
    """
    if not data.size:
        raise ImageError('truncated data', 'compressed image without data')
    size = stated_size(data)
    if size is not None and (why := excess(data, size)):
        raise ImageError('too large', f'compressed image {why}')
    raw = data.tobytes()
    if raw[:2] == b'\xff\xd8':
        return _decode_jpeg(raw, size, name, at_least)
    if raw[:8] == _PNG:
        return _decode_png(raw, name, depth)
    if size is None:
        raise undecodable(name)
    return _deep(raw, is_deep(data), name, depth)


def is_known(data: np.ndarray) -> bool:
    """Whether bytes begin like a JPEG, PNG or TIFF."""
    head = data[:8].tobytes()
    return head[:2] == b'\xff\xd8' or head == _PNG or head[:4] in _TIFF


def is_deep(data: np.ndarray) -> bool:
    """Whether bytes are a picture that may have 16 bits per value."""
    head = data[:32].tobytes()
    if head[:2] in (b'P2', b'P3', b'P5', b'P6'):
        return True
    if head[:4] in _TIFF:
        return _has_deep_tags(data.tobytes())
    return head[:8] == _PNG and head[24:25] == b'\x10'


def undecodable(name: str) -> ImageError:
    """The error for bytes that are not a picture of the format `name`."""
    named = f'format "{name_of(name)}"'
    if 'compresseddepth' in name.lower():
        text = f'{named} is depth packed for image_transport, not a picture of a camera'
    else:
        what = f'compressed image of {named}' if name else 'it'
        text = f'{what} is not a JPEG, PNG or TIFF that can be decoded'
    return ImageError('not decodable', text)


def _truncated(name: str, what: str) -> ImageError:
    kind = name_of(name) or 'compressed'
    return ImageError('truncated data', f'truncated data: the {kind} image {what}')


def _imdecode(raw: bytes, flag: int) -> np.ndarray | None:
    try:
        return cv2.imdecode(np.frombuffer(raw, np.uint8), flag)
    except cv2.error:
        return None


# --- JPEG


@dataclass(frozen=True)
class _Layout:
    """Positions in a JPEG of the header of its first scan and of its end; -1: not there.

    `is_plain`: a single scan has everything, so the decoder fills missing data with grey.
    """

    has_frame: bool
    is_plain: bool
    start: int
    end: int


def _layout(raw: bytes) -> _Layout:
    frame, components, start, end, is_plain = 0, 0, -1, -1, False
    for marker, at in segments(raw):
        if _is_frame(marker):
            frame, components = marker, raw[at + 7 : at + 8]
        elif marker == 0xDA and start < 0:
            start = at
            is_one = frame in (0xC0, 0xC1) and components in (b'\x01', b'\x03')
            is_plain = is_one and raw[at + 2 : at + 3] == components
        elif marker == 0xD9:
            end = at - 2
    return _Layout(bool(frame), is_plain, start, end if start > 0 else -1)


def _is_frame(marker: int) -> bool:
    return 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)


def _decode_jpeg(
    raw: bytes, size: tuple[int, int] | None, name: str, at_least: tuple[int, int] | None
) -> np.ndarray:
    layout = _layout(raw)
    if not layout.has_frame or size is None:
        if raw[2:3] not in (b'\xff', b''):
            raise undecodable(name)
        raise _truncated(name, 'has no header')
    width, height = size
    flag = _reduction(height, width, at_least)
    inner = max(1, min(_INNER, (width - 1) % _BLOCK, (height - 1) % _BLOCK))
    image = _whole_jpeg(raw, layout, flag, name, inner)
    if flag != cv2.IMREAD_COLOR and (
        image.shape[0] < at_least[0] or image.shape[1] < at_least[1]
    ):  # a quarter turn in EXIF swaps the sides
        image = _whole_jpeg(raw, layout, cv2.IMREAD_COLOR, name, inner)
    return image


def _reduction(height: int, width: int, at_least: tuple[int, int] | None) -> int:
    if at_least is not None:
        for factor, flag in _REDUCED:
            if height // factor >= at_least[0] and width // factor >= at_least[1]:
                return flag
    return cv2.IMREAD_COLOR


def _whole_jpeg(raw: bytes, layout: _Layout, flag: int, name: str, inner: int) -> np.ndarray:
    """The picture; ImageError if the decoder fails, or would have to fill in a part.

    `inner`: see `_looks_filled`.
    """
    cut, end = _truncated(name, 'has no end'), layout.end
    if layout.start < 0:
        raise cut
    if end >= 0:
        image, head = _imdecode(raw, flag), _without_padding(raw[:end])
        if image is None:
            raise undecodable(name)
        padded = end - len(head) > _PADDING
        if layout.is_plain and not padded and not _may_be_filled(raw, image, flag, inner):
            return image
    else:
        head = _without_padding(raw)
        image = _imdecode(head + _EOI, flag)
    other = _imdecode(head + _filler(head, layout.start) + _EOI, flag)
    is_whole = image is not None and other is not None and np.array_equal(image, other)
    if not (is_whole and _has_all_scans(raw)):
        raise cut
    return image


def _filler(head: bytes, start: int) -> bytes:
    """Noise, with the restart markers that the decoder expects next."""
    last = max((head.rfind(bytes((0xFF, n)), start), n) for n in range(0xD0, 0xD8))
    after = last[1] + 1 if last[0] >= 0 else 0xD0
    return _NOISE + b''.join(bytes((0xFF, 0xD0 + (after + i) % 8)) + _NOISE for i in range(16))


def _may_be_filled(raw: bytes, image: np.ndarray, flag: int, inner: int) -> bool:
    """Whether the decoder may have filled in the last blocks; `image`: what it gave for `flag`.

    A further look spares sound pictures the proof, of which libjpeg prints that data is corrupt.
    """
    is_likely = _looks_filled(image, 1)
    if not is_likely or inner == 1:
        return is_likely
    whole = image if flag == cv2.IMREAD_COLOR else _imdecode(raw, cv2.IMREAD_COLOR)
    return whole is None or _looks_filled(whole, inner)


def _looks_filled(image: np.ndarray, inner: int) -> bool:
    """Whether a corner, so many pixels in square, has the grey that missing blocks get."""
    rows, columns = (slice(inner), slice(-inner, None)), (slice(inner), slice(-inner, None))
    return any(bool((image[r, c] == _FILLED).all()) for r in rows for c in columns)


def _without_padding(raw: bytes) -> bytes:
    """Remove the padding after the data, except a zero that may belong to the data."""
    end = len(raw.rstrip(b'\0\xff'))
    return raw[:end] + re.match(rb'(?:\xff\0)?\0?', raw[end:]).group()


def _has_all_scans(raw: bytes) -> bool:
    """Whether the scans give every coefficient of every component to its last bit."""
    needed: dict[int, set[int]] = {}
    for marker, at in segments(raw):
        if marker == 0xD9:
            break
        body = raw[at + 2 : at + struct.unpack_from('>H', raw, at)[0]]
        if _is_frame(marker):
            needed = {c: set(range(64)) for c in body[6::3]}
        elif marker == 0xDA and body:
            count = body[0]
            if len(body) < 4 + 2 * count:
                return False
            first, last, bits = body[1 + 2 * count : 4 + 2 * count]
            if not bits & 0x0F:
                for component in body[1 : 1 + 2 * count : 2]:
                    needed.get(component, set()).difference_update(range(first, last + 1))
    return not any(needed.values())


# --- PNG


def _decode_png(raw: bytes, name: str, depth: BitDepth | None) -> np.ndarray:
    if len(raw) < 33:
        raise _truncated(name, 'has no header')
    bits = raw[24]
    if raw[12:16] != b'IHDR':
        raise undecodable(name)
    if _chunk(b'IEND', b'') not in raw:  # otherwise the decoder itself sees what is missing
        raw = _with_end(raw, name)
    return _deep(raw, bits == 16, name, depth)


def _with_end(raw: bytes, name: str) -> bytes:
    """The same PNG with its end; ImageError if pixels are missing."""
    at, before, pixels = 8, 0, []
    while at + 8 <= len(raw):
        length, kind = struct.unpack_from('>I4s', raw, at)
        if kind == b'IDAT':
            before = before or at
            pixels.append(raw[at + 8 : at + 8 + length])
        at += 12 + length
    unpack = zlib.decompressobj()
    try:
        for part in pixels:
            while part and not unpack.eof:  # a little at a time: it may be a bomb
                unpack.decompress(part, 2**20)
                part = unpack.unconsumed_tail
    except zlib.error as error:
        raise undecodable(name) from error
    if not unpack.eof:
        raise _truncated(name, 'has no end')
    return raw[:before] + _chunk(b'IDAT', b''.join(pixels)) + _chunk(b'IEND', b'')


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack('>I', len(body)) + kind + body + struct.pack('>I', zlib.crc32(kind + body))


# --- TIFF


def _has_deep_tags(raw: bytes) -> bool:
    """Whether values have 16 bits and are integers."""
    tags = _tiff_tags(raw)
    return tags.get(258) == 16 and tags.get(339, 1) == 1


def _tiff_tags(raw: bytes) -> dict[int, int]:
    """Integer tags of the first picture, with the first number of each."""
    order, tags = _TIFF[raw[:4]], {}
    if not order:
        return tags
    try:
        (at,) = struct.unpack_from(order + 'I', raw, 4)
        (count,) = struct.unpack_from(order + 'H', raw, at)
        for entry in range(at + 2, at + 2 + 12 * count, 12):
            tag, kind, number, value = struct.unpack_from(order + 'HHII', raw, entry)
            if kind == 3:  # short: in the first two bytes, or at the offset that they give
                place = entry + 8 if number <= 2 else value
                (value,) = struct.unpack_from(order + 'H', raw, place)
            elif number > 1:
                (value,) = struct.unpack_from(order + 'I', raw, value)
            tags[tag] = value
    except struct.error:
        pass
    return tags


def _deep(raw: bytes, is_deep: bool, name: str, depth: BitDepth | None) -> np.ndarray:
    """Decode a picture that may have 16 bits per value."""
    flag = cv2.IMREAD_COLOR | (cv2.IMREAD_ANYDEPTH if is_deep else 0)
    image = _imdecode(raw, flag)
    if image is None:
        raise undecodable(name)
    if image.dtype == np.uint16:
        image = (depth or BitDepth()).to_bytes(image)
    if image.dtype != np.uint8:
        raise undecodable(name)
    return image

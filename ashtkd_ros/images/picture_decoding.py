# SPDX-License-Identifier: Apache-2.0
"""Bytes of picture files (JPEG, PNG, TIFF and what else OpenCV reads) → arrays, whole or not.

The decoder is trusted about what is a picture. It fills up what a cut one lacks with grey and
tells nobody, so that a JPEG that seems cut is decoded with two different things appended: one that
is whole does not change by it.
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
from ashtkd_ros.text import one_line

_PNG = b'\x89PNG\r\n\x1a\n'
_TIFF = {b'II*\0': '<', b'MM\0*': '>', b'II+\0': '', b'MM\0+': ''}  # the latter are large files
_EOI = b'\xff\xd9'
_PADDING = 16  # bytes of 0 or 0xFF in a row before the end: what was lost in a buffer, perhaps
_FILLED = 128  # each value of a pixel that the decoder made up
# Codes of nothing in particular, for the decoder to take for missing ones.
_NOISE = bytes(random.Random(0).choices(range(1, 255), k=256))
# What divides a JPEG's sides, and how to ask for it; libjpeg then computes no more than that.
_REDUCED = (
    (8, cv2.IMREAD_REDUCED_COLOR_8),
    (4, cv2.IMREAD_REDUCED_COLOR_4),
    (2, cv2.IMREAD_REDUCED_COLOR_2),
)


class ImageError(VprError):
    """There is no image; the text says why, `kind` in one or two words for counting."""

    def __init__(self, kind: str, text: str):
        super().__init__(text)
        self.kind = kind

    @property
    def reason(self) -> str:
        """For counts that people read: with the encoding or format, where that is the matter."""
        named = self.kind in ('unknown encoding', 'not decodable')
        return str(self) if named else self.kind


def decode_picture(
    data: np.ndarray,
    name: str = '',
    at_least: tuple[int, int] | None = None,
    depth: BitDepth | None = None,
) -> np.ndarray:
    """uint8 (N,) bytes of a picture → uint8 (H, W, 3), BGR; ImageError where they hold none.

    `name`: the format, as told by whoever sent it. `at_least` (height, width): a JPEG may come at
    a half, a quarter or an eighth of its size, but neither side smaller than that. `depth`: of the
    source, for 16 bit values; None: that of the picture. An orientation in EXIF is followed.
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
    """Whether bytes begin as a JPEG, PNG or TIFF does."""
    head = data[:8].tobytes()
    return head[:2] == b'\xff\xd8' or head == _PNG or head[:4] in _TIFF


def is_deep(data: np.ndarray) -> bool:
    """Whether bytes are of a picture that may have 16 bits a value."""
    head = data[:32].tobytes()
    if head[:2] in (b'P2', b'P3', b'P5', b'P6'):
        return True
    if head[:4] in _TIFF:
        return _has_deep_tags(data.tobytes())
    return head[:8] == _PNG and head[24:25] == b'\x10'


def undecodable(name: str) -> ImageError:
    """That bytes which were said to be of a format are no picture."""
    named = f'format "{one_line(name)[:80]}"'
    if 'compresseddepth' in name.lower():
        text = f'{named} is depth packed for image_transport, which is no picture of a camera'
    else:
        text = f'compressed image of {named} is no JPEG, PNG or TIFF that can be decoded'
    return ImageError('not decodable', text)


def _truncated(name: str, what: str) -> ImageError:
    kind = one_line(name)[:80] or 'compressed'
    return ImageError('truncated data', f'truncated data: the {kind} image {what}')


def _imdecode(raw: bytes, flag: int) -> np.ndarray | None:
    try:
        return cv2.imdecode(np.frombuffer(raw, np.uint8), flag)
    except cv2.error:
        return None


# --- JPEG


@dataclass(frozen=True)
class _Layout:
    """Of a JPEG: where its first scan's header and its end stand, -1: nowhere.

    `is_plain`: one scan has all, and grey is what the decoder makes of missing data.
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
    image = _whole_jpeg(raw, layout, flag, name)
    if flag != cv2.IMREAD_COLOR and (
        image.shape[0] < at_least[0] or image.shape[1] < at_least[1]
    ):  # a quarter turn told in EXIF swaps the sides
        image = _whole_jpeg(raw, layout, cv2.IMREAD_COLOR, name)
    return image


def _reduction(height: int, width: int, at_least: tuple[int, int] | None) -> int:
    if at_least is not None:
        for factor, flag in _REDUCED:
            if height // factor >= at_least[0] and width // factor >= at_least[1]:
                return flag
    return cv2.IMREAD_COLOR


def _whole_jpeg(raw: bytes, layout: _Layout, flag: int, name: str) -> np.ndarray:
    """The picture; ImageError where it is none, or the decoder would have to make up a part."""
    cut, end = _truncated(name, 'has no end'), layout.end
    if layout.start < 0:
        raise cut
    if end >= 0:
        image, head = _imdecode(raw, flag), _without_padding(raw[:end])
        if image is None:
            raise undecodable(name)
        padded = end - len(head) > _PADDING
        if layout.is_plain and not padded and not _looks_filled(image):
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
    """Noise, and the markers of restart that the decoder would wait for."""
    last = max((head.rfind(bytes((0xFF, n)), start), n) for n in range(0xD0, 0xD8))
    after = last[1] + 1 if last[0] >= 0 else 0xD0
    return _NOISE + b''.join(bytes((0xFF, 0xD0 + (after + i) % 8)) + _NOISE for i in range(16))


def _looks_filled(image: np.ndarray) -> bool:
    """Whether a corner is of the grey that the last blocks get where the data ends early."""
    return bool((image[[0, 0, -1, -1], [0, -1, 0, -1]] == _FILLED).all(axis=1).any())


def _without_padding(raw: bytes) -> bytes:
    """Without what camera buffers have after the data, but with a zero that may belong to it."""
    end = len(raw.rstrip(b'\0\xff'))
    return raw[:end] + re.match(rb'(?:\xff\0)?\0?', raw[end:]).group()


def _has_all_scans(raw: bytes) -> bool:
    """Whether the scans bring every component's every coefficient to its last bit."""
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
    if _chunk(b'IEND', b'') not in raw:  # else the decoder sees what is lacking
        raw = _with_end(raw, name)
    return _deep(raw, bits == 16, name, depth)


def _with_end(raw: bytes, name: str) -> bytes:
    """A PNG of the same pixels with its end; ImageError where pixels lack."""
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
    """16 bits a value, and these whole numbers."""
    tags = _tiff_tags(raw)
    return tags.get(258) == 16 and tags.get(339, 1) == 1


def _tiff_tags(raw: bytes) -> dict[int, int]:
    """Tags of the first picture that are whole numbers, the first number of each."""
    order, tags = _TIFF[raw[:4]], {}
    if not order:
        return tags
    try:
        (at,) = struct.unpack_from(order + 'I', raw, 4)
        (count,) = struct.unpack_from(order + 'H', raw, at)
        for entry in range(at + 2, at + 2 + 12 * count, 12):
            tag, kind, number, value = struct.unpack_from(order + 'HHII', raw, entry)
            if kind == 3:  # short: the first two bytes, or where it says
                place = entry + 8 if number <= 2 else value
                (value,) = struct.unpack_from(order + 'H', raw, place)
            elif number > 1:
                (value,) = struct.unpack_from(order + 'I', raw, value)
            tags[tag] = value
    except struct.error:
        pass
    return tags


def _deep(raw: bytes, is_deep: bool, name: str, depth: BitDepth | None) -> np.ndarray:
    """Decode what may have 16 bits a value."""
    flag = cv2.IMREAD_COLOR | (cv2.IMREAD_ANYDEPTH if is_deep else 0)
    image = _imdecode(raw, flag)
    if image is None:
        raise undecodable(name)
    if image.dtype == np.uint16:
        image = (depth or BitDepth()).to_bytes(image)
    if image.dtype != np.uint8:
        raise undecodable(name)
    return image

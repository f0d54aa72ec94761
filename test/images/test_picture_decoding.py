# SPDX-License-Identifier: Apache-2.0
"""Bytes of pictures: what is whole is read, whatever stands around it; what is cut is refused."""

from __future__ import annotations

import random
import re
import struct

import cv2
import numpy as np
import pytest

from ashtkd_ros.images.picture_decoding import ImageError, decode_picture

PROGRESSIVE = (cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
RESTARTS = (cv2.IMWRITE_JPEG_RST_INTERVAL, 3)
KINDS = {'baseline': (), 'progressive': PROGRESSIVE, 'restarts': RESTARTS}
EOI = b'\xff\xd9'
LAST_BLOCK = 200
# What camera buffers, recorders and sloppy firmware put after a picture.
TAILS = {
    'zeros': bytes(4096),
    'ones': b'\xff' * 700,
    'text': b'frame 12, end' * 200,
    'another end': EOI + bytes(2000),
    'both': b'\xff\0' * 800,
}


def picture(seed: int = 0, height: int = 72, width: int = 88, grey: bool = False) -> np.ndarray:
    draw = np.random.default_rng(seed)
    small = draw.integers(0, 256, (height // 8, width // 8, 3), np.uint8)
    image = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
    return image[..., 0] if grey else image


def coded(kind: str = '.jpg', seed: int = 0, *options: int, **how) -> bytes:
    return cv2.imencode(kind, picture(seed, **how), list(options))[1].tobytes()


def read(data: bytes, at_least=None) -> np.ndarray:
    return decode_picture(np.frombuffer(data, np.uint8), 'jpeg', at_least)


def plainly(data: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)


@pytest.mark.parametrize('grey', [False, True])
@pytest.mark.parametrize('tail', TAILS)
@pytest.mark.parametrize('kind', KINDS)
def test_what_stands_after_the_end_does_not_matter(kind: str, tail: str, grey: bool) -> None:
    data = coded('.jpg', 1, *KINDS[kind], grey=grey)
    for at_least in (None, (9, 9)):
        np.testing.assert_array_equal(read(data + TAILS[tail], at_least), read(data, at_least))


@pytest.mark.parametrize('grey', [False, True])
@pytest.mark.parametrize('tail', [b'', bytes(3), bytes(4096), b'\xff' * 9, b'\xff' * 3 + bytes(9)])
@pytest.mark.parametrize('kind', KINDS)
def test_a_whole_jpeg_needs_no_end(kind: str, tail: bytes, grey: bool) -> None:
    for seed in range(12):
        data = coded('.jpg', seed, *KINDS[kind], grey=grey)
        np.testing.assert_array_equal(read(data[:-2] + tail), plainly(data))


@pytest.mark.parametrize('kind', KINDS)
def test_fill_bytes_before_markers_are_legal(kind: str) -> None:
    data, draw = coded('.jpg', 2, *KINDS[kind]), random.Random(3)
    for _ in range(20):
        at, out, scan = 2, data[:2], data.index(b'\xff\xda')
        while at < scan:
            length = struct.unpack_from('>H', data, at + 2)[0] + 2
            out += b'\xff' * draw.choice([0, 1, 2, 40]) + data[at : at + length]
            at += length
        filled = out + data[scan:-2] + b'\xff' * draw.choice([1, 30]) + EOI
        np.testing.assert_array_equal(read(filled), plainly(data))


@pytest.mark.parametrize('grey', [False, True])
@pytest.mark.parametrize('tail', [b'', EOI, bytes(3000), bytes(3000) + EOI])
@pytest.mark.parametrize('kind', KINDS)
def test_every_cut_that_changes_the_picture_is_found(kind: str, tail: bytes, grey: bool) -> None:
    """Hundreds of cuts, each accepted only where the decoder had nothing to make up."""
    draw = random.Random(4)
    for seed in range(4):
        data = coded('.jpg', seed, *KINDS[kind], grey=grey)
        scan, whole = data.index(b'\xff\xda') + 14, plainly(data)
        marks = [m.start() for m in re.finditer(rb'\xff[\xc4\xd0-\xda]', data) if m.start() > scan]
        cuts = [
            *draw.sample(range(scan, len(data)), 60),
            *marks,
            *range(len(data) - 60, len(data)),
        ]
        # Before an end or zeros, nothing tells a last block that was cut from one meant so.
        last = len(data) - (LAST_BLOCK if tail and kind != 'progressive' else 0)
        for cut in (c for c in cuts if c < last):
            try:
                image = read(data[:cut] + tail)
            except ImageError as error:  # within a header, before an end, it is just no JPEG
                assert error.kind in ('truncated data', 'not decodable')
            else:
                np.testing.assert_array_equal(image, whole, f'{cut} of {len(data)}')


@pytest.mark.parametrize(
    ('flag', 'at_least'), [(cv2.IMREAD_COLOR, None), (cv2.IMREAD_REDUCED_COLOR_2, (36, 44))]
)
@pytest.mark.parametrize('grey', [False, True])
def test_a_sound_picture_with_a_grey_corner_prints_nothing(
    grey: bool, flag: int, at_least: tuple[int, int] | None, capfd: pytest.CaptureFixture
) -> None:
    """What libjpeg prints when the decoder is put to the proof would be untrue."""
    tried = 0
    for value in range(256):
        image = picture(grey=grey)
        image[-8:, -8:] = value
        image[-4:, -4] = 0
        data = cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, 100])[1]
        if (cv2.imdecode(data, flag)[-1, -1] == 128).all():
            tried += 1
            np.testing.assert_array_equal(read(data.tobytes(), at_least), cv2.imdecode(data, flag))
    assert tried and capfd.readouterr().err == ''


def test_a_picture_of_the_grey_that_stands_for_nothing_is_read() -> None:
    for kind in KINDS.values():
        for shape in ((40, 56, 3), (40, 56)):
            data = cv2.imencode('.jpg', np.full(shape, 128, np.uint8), list(kind))[1].tobytes()
            for tail in (b'', bytes(50)):
                assert (read(data + tail) == 128).all()
                assert (read(data[:-2] + tail) == 128).all()


def test_pngs_are_whole_or_refused_at_every_cut() -> None:
    data = coded('.png', 5)
    whole, accepted = plainly(data), 0
    for cut in [*range(8, len(data), 97), *range(len(data) - 40, len(data))]:
        try:
            image = read(data[:cut])
        except ImageError as error:
            assert error.kind == 'truncated data'
        else:
            accepted += 1
            np.testing.assert_array_equal(image, whole)
    assert accepted >= 12  # all pixels are there, though not the last chunk
    np.testing.assert_array_equal(read(data + bytes(5000)), whole)


@pytest.mark.parametrize('grey', [False, True])
def test_tiff_is_read_and_cut_tiff_refused(grey: bool) -> None:
    data = coded('.tiff', 6, grey=grey)
    expected = picture(6, grey=grey)
    found = read(data)
    np.testing.assert_array_equal(found if not grey else found[..., 0], expected)
    for cut in range(9, len(data), len(data) // 40):
        with pytest.raises(ImageError):
            read(data[:cut])


def test_no_header_costs_gigabytes() -> None:
    tiff = bytearray(coded('.tiff'))
    at = struct.unpack_from('<I', tiff, 4)[0]
    for entry in range(at + 2, at + 2 + 24, 12):
        if struct.unpack_from('<H', tiff, entry)[0] in (256, 257):
            struct.pack_into('<HII', tiff, entry + 2, 4, 1, 40_000)
    with pytest.raises(ImageError) as error:
        read(bytes(tiff))
    assert error.value.kind == 'too large'


@pytest.mark.parametrize('kind', ['.jpg', '.png', '.tiff', '.webp', '.bmp'])
def test_damaged_bytes_raise_nothing_else(kind: str) -> None:
    draw, whole = random.Random(7), coded(kind)
    for _ in range(400):
        data = bytearray(whole[: draw.choice([len(whole), draw.randrange(len(whole))])])
        for _ in range(draw.choice([0, 1, 5, 50]) if data else 0):
            data[draw.randrange(min(len(data), draw.choice([16, 64, 1000, len(data)])))] = (
                draw.randrange(256)
            )
        try:
            image = read(bytes(data), draw.choice([None, (9, 9)]))
        except ImageError as error:
            assert '\n' not in str(error)
        else:
            assert image.dtype == np.uint8 and image.shape[2] == 3


@pytest.mark.parametrize('kind', ['.png', '.tiff', '.pgm', '.ppm'])
def test_sixteen_bits_of_files_are_scaled(kind: str) -> None:
    values = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    image = np.dstack([values] * 3) if kind == '.ppm' else values
    found = read(cv2.imencode(kind, image)[1].tobytes())
    np.testing.assert_array_equal(found[..., 1], values >> 4)

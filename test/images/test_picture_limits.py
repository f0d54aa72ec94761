# SPDX-License-Identifier: Apache-2.0
"""Pictures of any origin: their size is known before they are decoded, and is limited."""

from __future__ import annotations

import os
import random
import signal
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import line_of

from ashtkd_ros.errors import VprError
from ashtkd_ros.images import picture_limits as pictures
from ashtkd_ros.images.image_file import read_image
from ashtkd_ros.images.message_decoding import ImageError, compressed_to_array
from ashtkd_ros.images.picture_decoding import decode_picture
from ashtkd_ros.images.picture_limits import MAX_PIXELS, stated_size

KINDS = ('jpg', 'png', 'bmp', 'tiff', 'webp', 'pgm', 'ppm', 'pbm')


@pytest.fixture(autouse=True)
def alarm() -> Iterator[None]:
    """Whatever hangs ends the test."""
    signal.alarm(60)
    yield
    signal.alarm(0)


def encoded(kind: str, width: int = 40, height: int = 30) -> np.ndarray:
    picture = np.random.default_rng(width * height).integers(0, 256, (height, width, 3), np.uint8)
    if kind == 'pbm':
        picture = picture[..., 0] // 128 * 255
    elif kind == 'pgm':
        picture = picture[..., 0]
    return cv2.imencode(f'.{kind}', picture)[1].ravel()


@pytest.mark.parametrize('kind', KINDS)
def test_the_size_is_the_decoded_one(kind: str):
    draw = random.Random(3)
    for _ in range(20):
        width, height = draw.randrange(1, 300), draw.randrange(1, 300)
        data = encoded(kind, width, height)
        assert stated_size(data) == (width, height)
        assert decode_picture(data).shape == (height, width, 3)


@pytest.mark.parametrize('depth', [np.uint8, np.uint16])
@pytest.mark.parametrize('flags', [(), (cv2.IMWRITE_JPEG_PROGRESSIVE, 1)])
def test_variants_have_a_size(depth: type, flags: tuple):
    picture = np.zeros((33, 44, 3), depth)
    kinds = ['png', 'tiff', 'ppm'] if depth is np.uint16 else KINDS[:1]
    for kind in kinds:
        assert stated_size(cv2.imencode(f'.{kind}', picture, flags)[1].ravel()) == (44, 33)
    alpha = cv2.imencode('.webp', np.full((33, 44, 4), 90, np.uint8))[1].ravel()
    lossless = cv2.imencode('.webp', picture[..., :3].astype(np.uint8), (64, 101))[1].ravel()
    assert stated_size(alpha) == stated_size(lossless) == (44, 33)


def test_what_may_lie_before_the_size_of_a_jpeg():
    data = encoded('jpg').tobytes()
    comment = b'\xff\xfe' + struct.pack('>H', 60_002) + bytes(60_000)
    between = (b'', b'\xff\xff\xff', b'\0\0\0', b'\xff\xd0', comment, 30 * comment)
    for extra in between:
        longer = np.frombuffer(data[:2] + extra + data[2:], np.uint8)
        assert stated_size(longer) == (40, 30)


def claims(kind: str, width: int, height: int) -> np.ndarray:
    """A small file that says it is large."""
    data = bytearray(encoded(kind).tobytes())
    if kind == 'jpg':
        struct.pack_into('>HH', data, data.index(b'\xff\xc0') + 5, height, width)
    elif kind == 'png':
        struct.pack_into('>II', data, 16, width, height)
    elif kind == 'bmp':
        struct.pack_into('<ii', data, 18, width, -height)
    elif kind == 'webp':
        data[12:16] = b'VP8X'
        data[24:30] = (width - 1).to_bytes(3, 'little') + (height - 1).to_bytes(3, 'little')
    elif kind == 'tiff':
        (at,) = struct.unpack_from('<I', data, 4)
        for start in range(at + 2, at + 2 + 12 * data[at], 12):
            tag = struct.unpack_from('<H', data, start)[0]
            if tag in (256, 257):
                struct.pack_into('<HII', data, start + 2, 4, 1, (width, height)[tag - 256])
    else:
        data = data[:2] + f' # a comment\n{width}\n {height} 255\n'.encode() + bytes(100)
    return np.frombuffer(bytes(data), np.uint8)


@pytest.mark.parametrize('size', [(40_000, 40_000), (8193, 8192), (16_000, 4_500)])
@pytest.mark.parametrize('kind', KINDS)
def test_a_picture_that_claims_too_much_is_never_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, size: tuple[int, int]
):
    if kind == 'tiff' and encoded('tiff')[0] != 0x49:
        pytest.skip('this OpenCV writes big endian')

    def never(*_):
        raise AssertionError('decoded')

    monkeypatch.setattr(cv2, 'imdecode', never)
    data = claims(kind, *size)
    (tmp_path / f'a.{kind}').write_bytes(data.tobytes())
    for name in ('a.' + kind, 'other.jpg'):
        (tmp_path / name).write_bytes(data.tobytes())
        with pytest.raises(VprError) as error:
            read_image(tmp_path / name)
        assert f'claims {size[0]} x {size[1]} pixels' in line_of(error)
    with pytest.raises(ImageError):
        compressed_to_array(type('Message', (), {'data': data.tobytes(), 'format': kind}))


def test_the_largest_that_fits_is_not_refused():
    pictures.check_size(claims('png', 8192, 8192))
    assert MAX_PIXELS == 8192 * 8192


OTHER = {
    'empty': b'',
    'text': b'hello',
    'GIF': b'GIF89a' + bytes(100),
    'HDR': b'#?RADIANCE\n\n-Y 99999 +X 99999\n' + bytes(100),
    'PFM': b'PF\n99999 99999\n-1.0\n' + bytes(100),
    'JPEG 2000': b'\0\0\0\x0cjP  \r\n\x87\n' + bytes(100),
    'Sun raster': b'\x59\xa6\x6a\x95' + b'\0\x01\0\0' * 20,
    'PNG that begins with another chunk': b'\x89PNG\r\n\x1a\n\0\0\0\x04IDAT' + bytes(100),
    'JPEG without size': b'\xff\xd8\xff\xda' + bytes(100),
    'TIFF of nothing': b'II*\0\xff\xff\xff\xff' + bytes(100),
    'TIFF of itself': b'II*\0\0\0\0\0' + bytes(100),
}


@pytest.mark.parametrize('case', OTHER)
def test_what_tells_no_size_is_refused(tmp_path: Path, case: str):
    (tmp_path / 'a.png').write_bytes(OTHER[case])
    with pytest.raises(VprError) as error:
        read_image(tmp_path / 'a.png')
    assert 'not a readable image (it is not a JPEG, PNG' in line_of(error)


def test_only_regular_files_are_pictures(tmp_path: Path):
    os.mkfifo(tmp_path / 'pipe.png')
    (tmp_path / 'loop.png').symlink_to('loop.png')
    (tmp_path / 'folder.png').mkdir()
    named = [tmp_path / f'{name}.png' for name in ('pipe', 'loop', 'folder', 'gone', 'n' * 300)]
    for path in (*named, Path('/dev/zero'), tmp_path / 'a\0b.png'):
        with pytest.raises(VprError) as error:
            read_image(path)
        assert 'not a readable image' in line_of(error)


def test_a_file_that_is_longer_than_any_picture_is_not_read(tmp_path: Path):
    with (tmp_path / 'a.png').open('wb') as file:
        file.write(encoded('png').tobytes())
        file.truncate(2**40)
    with pytest.raises(VprError) as error:
        read_image(tmp_path / 'a.png')
    assert 'it holds more than' in line_of(error)


@pytest.mark.parametrize('kind', KINDS)
def test_what_is_decoded_has_the_size_that_was_checked(kind: str):
    """400 damaged files of a format, most of the damage in the header."""
    draw, read = random.Random(kind), 0
    whole = encoded(kind).tobytes()
    for _ in range(400):
        data = bytearray(whole[: draw.choice([len(whole), draw.randrange(1, len(whole))])])
        for _ in range(draw.choice([1, 2, 8])):
            data[draw.randrange(min(len(data), draw.choice([24, 64, 600])))] = draw.randrange(256)
        if kind == 'png' and len(data) > 33:  # whose header has a checksum
            struct.pack_into('>I', data, 29, zlib.crc32(data[12:29]))
        try:
            image = decode_picture(np.frombuffer(bytes(data), np.uint8))
        except VprError as error:
            assert '\n' not in str(error)
            continue
        read += 1
        size = stated_size(np.frombuffer(bytes(data), np.uint8))
        assert sorted(image.shape[:2]) == sorted(size)
        assert size[0] * size[1] <= MAX_PIXELS
    assert read > (0 if kind == 'png' else 20)

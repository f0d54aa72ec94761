# SPDX-License-Identifier: Apache-2.0
"""Compressed image messages to arrays: JPEG, PNG and TIFF, at full size or reduced, or refused."""

from __future__ import annotations

import random
import struct

import cv2
import numpy as np
import pytest

pytest.importorskip('rclpy', reason='rclpy cannot be imported')

from ros_helpers import compressed_message
from sensor_msgs.msg import CompressedImage
from test_message_decoding import BAYER, HEIGHT, WIDTH, mosaic_of, padded, smooth

from ashtkd_ros.images.message_decoding import ImageError, compressed_to_array, image_to_array

pytestmark = pytest.mark.ros


@pytest.mark.parametrize(('kind', 'tolerance'), [('jpg', 20), ('png', 0)])
def test_compressed(kind: str, tolerance: int) -> None:
    pixels, order = compressed_to_array(compressed_message(smooth(), kind=kind))
    assert order == 'BGR'
    assert np.abs(pixels[..., ::-1].astype(int) - smooth()).max() <= tolerance


def test_a_grey_jpeg_becomes_three_channels() -> None:
    data = cv2.imencode('.jpg', smooth()[..., 0])[1].tobytes()
    pixels, _ = compressed_to_array(CompressedImage(format='jpeg', data=data))
    assert pixels.shape == (HEIGHT, WIDTH, 3)


@pytest.mark.parametrize('kind', ['jpg', 'png'])
@pytest.mark.parametrize('pattern', BAYER)
def test_a_mosaic_becomes_the_colours_that_it_has_raw(pattern: str, kind: str) -> None:
    mosaic = mosaic_of(smooth(), pattern)
    raw, _ = image_to_array(padded(mosaic, f'bayer_{pattern}8'))
    data = cv2.imencode(f'.{kind}', mosaic, [cv2.IMWRITE_JPEG_QUALITY, 100])[1].tobytes()
    encoding, kind = f'bayer_{pattern}8', 'jpeg' if kind == 'jpg' else kind
    for made, at_least in (('', None), (encoding, (1, 1))):
        name = f'{encoding}; {kind} compressed {made}'
        pixels, order = compressed_to_array(CompressedImage(format=name, data=data), at_least)
        assert order == 'RGB'
        assert np.abs(pixels.astype(int) - raw).max() <= (6 if kind == 'jpeg' else 0)


def test_colours_whose_format_names_a_mosaic_stay() -> None:
    message = compressed_message(smooth(), kind='png')
    message.format = 'bayer_rggb8; png compressed bgr8'
    pixels, order = compressed_to_array(message)
    assert order == 'BGR'
    assert np.array_equal(pixels[..., ::-1], smooth())


def test_grey_that_a_sender_made_of_a_mosaic_stays() -> None:
    grey = smooth()[..., 1]
    data = cv2.imencode('.png', grey)[1].tobytes()
    message = CompressedImage(format='bayer_rggb8; png compressed mono8', data=data)
    pixels, _ = compressed_to_array(message)
    assert np.array_equal(pixels, np.dstack([grey] * 3))


@pytest.mark.parametrize('order', ['RGB', 'BGR'])
def test_a_tiff_of_image_transport_has_the_order_of_the_camera(order: str) -> None:
    """image_transport hands the pixels of any encoding to OpenCV, which takes them for BGR."""
    data = cv2.imencode('.tiff', smooth())[1].tobytes()
    message = CompressedImage(format=f'{order.lower()}8; tiff compressed ', data=data)
    pixels, found = compressed_to_array(message)
    assert found == order
    assert np.array_equal(pixels, smooth())


def jpeg_of(height: int, width: int) -> CompressedImage:
    return compressed_message(cv2.resize(smooth(), (width, height)))


@pytest.mark.parametrize(
    ('at_least', 'size'),
    [
        (None, (480, 640)),
        ((241, 100), (480, 640)),
        ((100, 321), (480, 640)),
        ((240, 320), (240, 320)),
        ((121, 160), (240, 320)),
        ((120, 160), (120, 160)),
        ((60, 80), (60, 80)),
        ((1, 1), (60, 80)),
        ((1000, 1000), (480, 640)),
    ],
)
def test_a_jpeg_is_decoded_no_larger_than_it_must(at_least, size: tuple[int, int]) -> None:
    message = jpeg_of(480, 640)
    pixels, order = compressed_to_array(message, at_least)
    assert order == 'BGR'
    assert pixels.shape == (*size, 3)
    whole, _ = compressed_to_array(message)
    expected = cv2.resize(whole, size[::-1], interpolation=cv2.INTER_AREA)
    assert np.abs(pixels.astype(int) - expected).mean() < 2.0


@pytest.mark.parametrize('at_least', [(60, 60), (100, 100), (119, 61), (61, 119)])
@pytest.mark.parametrize('size', [(479, 641), (200, 161), (121, 121), (120, 122)])
def test_neither_side_falls_below(size: tuple[int, int], at_least: tuple[int, int]) -> None:
    pixels, _ = compressed_to_array(jpeg_of(*size), at_least)
    assert all(side >= least for side, least in zip(pixels.shape, at_least, strict=False))


def test_a_png_is_decoded_as_it_is() -> None:
    message = compressed_message(smooth(), kind='png')
    pixels, _ = compressed_to_array(message, (1, 1))
    np.testing.assert_array_equal(pixels[..., ::-1], smooth())


@pytest.mark.parametrize(
    ('at_least', 'size'),
    [(None, (640, 480)), ((240, 240), (320, 240)), ((240, 300), (640, 480))],
)
def test_an_orientation_in_exif_is_followed(at_least, size: tuple[int, int]) -> None:
    """As folders of images do, so that map and node see the same."""
    message = jpeg_of(480, 640)
    # One entry, orientation 6: to be turned by a quarter clockwise.
    tiff = b'MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0'
    segment = b'\xff\xe1' + struct.pack('>H', 8 + len(tiff)) + b'Exif\0\0' + tiff
    data = bytes(message.data)
    message.data = data[:2] + segment + data[2:]
    pixels, _ = compressed_to_array(message, at_least)
    assert pixels.shape == (*size, 3)


def encoded(kind: str) -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8)
    return cv2.imencode(f'.{kind}', noise)[1].tobytes()


@pytest.mark.parametrize(
    ('data', 'kind'),
    [
        (b'', 'truncated data'),
        (b'hello', 'not decodable'),
        (bytes(5000), 'not decodable'),
        (b'\xff\xd8\xff\xd9', 'truncated data'),
        (b'\xff\xd8' + bytes(5000), 'not decodable'),
        (b'\x89PNG\r\n\x1a\n', 'truncated data'),
        (b'\x89PNG\r\n\x1a\n' + bytes(5000) + b'IEND', 'not decodable'),
        (encoded('bmp'), 'not decodable'),
        *[(encoded(k)[: len(encoded(k)) * n // 10], 'truncated data')
          for k in ('jpg', 'png') for n in (1, 5, 9)],
        (encoded('jpg')[:-40], 'truncated data'),
    ],
)  # fmt: skip
def test_no_compressed_image(data: bytes, kind: str) -> None:
    with pytest.raises(ImageError) as error:
        compressed_to_array(CompressedImage(format='jpeg', data=data))
    assert error.value.kind == kind
    assert '\n' not in str(error.value)


@pytest.mark.parametrize('kind', ['jpg', 'png'])
def test_a_size_that_would_eat_the_memory_is_refused_unread(kind: str) -> None:
    data = bytearray(encoded(kind))
    at = 16 if kind == 'png' else data.index(b'\xff\xc0') + 5
    layout = '>II' if kind == 'png' else '>HH'
    struct.pack_into(layout, data, at, 32000, 32000)
    with pytest.raises(ImageError, match='32000 x 32000') as error:
        compressed_to_array(CompressedImage(format=kind, data=bytes(data)))
    assert error.value.kind == 'too large'


@pytest.mark.parametrize('kind', ['jpg', 'png', 'webp', 'bmp'])
def test_no_compressed_bytes_raise_anything_else(kind: str) -> None:
    draw = random.Random(2)
    whole = encoded(kind)
    for _ in range(300):
        data = bytearray(whole[: draw.choice([len(whole), draw.randrange(len(whole))])])
        for _ in range(draw.choice([0, 1, 5, 50]) if data else 0):
            # mostly among the headers, where a wrong byte does most
            at = draw.randrange(min(len(data), draw.choice([16, 64, 1000, len(data)])))
            data[at] = draw.randrange(256)
        at_least = draw.choice([None, (1, 1), (30, 40)])
        try:
            pixels, order = compressed_to_array(CompressedImage(data=bytes(data)), at_least)
        except ImageError:
            continue
        assert pixels.ndim == 3
        assert order == 'BGR'


@pytest.mark.parametrize(
    'name',
    ['jpeg', 'JPEG', 'jpg', 'png', 'TIFF', 'rgb8; jpeg compressed bgr8', 'bgr8; tiff compressed ',
     'jpeg; png', '', 'mono8; PNG compressed '],
)  # fmt: skip
@pytest.mark.parametrize('kind', ['jpg', 'png', 'tiff'])
def test_the_data_says_what_it_is_whatever_the_format_says(kind: str, name: str) -> None:
    data = cv2.imencode(f'.{kind}', smooth()[..., ::-1])[1].tobytes()
    pixels, order = compressed_to_array(CompressedImage(format=name, data=data))
    assert order == 'BGR'
    assert np.abs(pixels[..., ::-1].astype(int) - smooth()).max() <= 20


@pytest.mark.parametrize('name', ['h264', 'webp', 'av1; video', 'jpeg'])
def test_a_format_that_cannot_be_decoded_is_named(name: str) -> None:
    with pytest.raises(ImageError, match=f'format "{name}"') as error:
        compressed_to_array(CompressedImage(format=name, data=b'\0\0\0\1\x67' * 90))
    assert name in error.value.reason


def test_packed_depth_is_called_what_it_is() -> None:
    data = bytes(12) + encoded('png')
    with pytest.raises(ImageError, match='is depth packed') as error:
        compressed_to_array(CompressedImage(format='16UC1; compressedDepth png', data=data))
    assert error.value.kind == 'not decodable'

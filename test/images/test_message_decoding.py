# SPDX-License-Identifier: Apache-2.0
"""Messages to arrays: every encoding by hand-made pixels, and everything that is no image."""

from __future__ import annotations

import random

import cv2
import numpy as np
import pytest

pytest.importorskip('rclpy', reason='rclpy cannot be imported')

from ros_helpers import image_message
from sensor_msgs.msg import CompressedImage, Image

from ashtkd_ros.images.bit_depth import BitDepth
from ashtkd_ros.images.message_decoding import ENCODINGS, ImageError, compressed_to_array
from ashtkd_ros.ros.node.cv_bridge_fallback import image_to_array

pytestmark = pytest.mark.ros
HEIGHT, WIDTH = 24, 32
# First two rows of the sensor, as ROS names the pattern.
BAYER = {'rggb': 'RGGB', 'bggr': 'BGGR', 'gbrg': 'GBRG', 'grbg': 'GRBG'}
SOME_ENCODINGS = ('rgb8', 'bgra8', 'mono8', 'mono16', '16UC1', 'yuv422', 'yuyv', 'nv12', 'nv21')
PIXEL_BYTES = {'yuv422': 2, 'yuv422_yuy2': 2, 'nv12': 1, 'nv21': 1, 'mono16': 2, 'rgb8': 3}


def smooth() -> np.ndarray:
    """RGB whose channels differ and change slowly, so that no conversion may blur much."""
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(float)
    channels = (40 + 4 * x, 90 + 3 * y, 200 - 2 * x - 2 * y)
    return np.stack(channels, -1).round().astype(np.uint8)


def padded(rows: np.ndarray, encoding: str, height: int = HEIGHT, padding: int = 0) -> Image:
    """uint8 (rows, bytes) as an image message with `padding` bytes of rubbish after each row."""
    row_bytes = rows.shape[1]
    rubbish = np.full((len(rows), padding), 255, np.uint8)
    data = np.hstack([rows, rubbish]).tobytes()
    width = row_bytes // {'mono16': 2, '16UC1': 2}.get(encoding, 1)
    message = Image(height=height, width=width, encoding=encoding, step=row_bytes + padding)
    message.data = data
    return message


def check(message: Image, expected: np.ndarray, order: str, tolerance: int = 0) -> None:
    pixels, found = image_to_array(message)
    assert found == order
    assert pixels.dtype == np.uint8
    assert pixels.shape == expected.shape
    assert np.abs(pixels.astype(int) - expected).max() <= tolerance


@pytest.mark.parametrize('padding', [0, 7])
@pytest.mark.parametrize(
    ('encoding', 'channels', 'order'),
    [
        ('rgb8', (0, 1, 2), 'RGB'),
        ('bgr8', (2, 1, 0), 'BGR'),
        ('8UC3', (2, 1, 0), 'BGR'),
        ('rgba8', (0, 1, 2, 1), 'RGB'),
        ('bgra8', (2, 1, 0, 1), 'BGR'),
    ],
)
def test_colours(encoding: str, channels: tuple[int, ...], order: str, padding: int) -> None:
    sent = smooth()[..., channels]
    message = padded(sent.reshape(HEIGHT, -1), encoding, padding=padding)
    message.width = WIDTH
    check(message, sent[..., :3], order)


@pytest.mark.parametrize('padding', [0, 5])
@pytest.mark.parametrize('encoding', ['mono8', '8UC1'])
def test_grey(encoding: str, padding: int) -> None:
    grey = smooth()[..., 0]
    check(padded(grey, encoding, padding=padding), grey, 'GREY')


@pytest.mark.parametrize('padding', [0, 3])
@pytest.mark.parametrize('big_endian', [False, True])
@pytest.mark.parametrize('encoding', ['mono16', '16UC1'])
def test_sixteen_bits_keep_the_upper_byte(encoding: str, big_endian: bool, padding: int) -> None:
    grey = smooth()[..., 0]
    wide = (grey.astype(np.uint16) << 8) + 0x5A
    rows = np.ascontiguousarray(wide.astype('>u2' if big_endian else '<u2')).view(np.uint8)
    message = padded(rows, encoding, padding=padding)
    message.is_bigendian = int(big_endian)
    check(message, grey, 'GREY')


def mosaic_of(colours: np.ndarray, pattern: str) -> np.ndarray:
    """What a sensor behind a Bayer pattern sees of RGB pixels, uint8 (H, W)."""
    mosaic = np.empty(colours.shape[:2], np.uint8)
    for k, letter in enumerate(BAYER[pattern]):
        y, x = divmod(k, 2)
        mosaic[y::2, x::2] = colours[y::2, x::2, 'RGB'.index(letter)]
    return mosaic


@pytest.mark.parametrize('padding', [0, 6])
@pytest.mark.parametrize('pattern', BAYER)
def test_bayer(pattern: str, padding: int) -> None:
    colours = smooth()
    mosaic = mosaic_of(colours, pattern)
    pixels, order = image_to_array(padded(mosaic, f'bayer_{pattern}8', padding=padding))
    assert order == 'RGB'
    assert pixels.shape == colours.shape
    inside = np.s_[2:-2, 2:-2]
    assert np.abs(pixels[inside].astype(int) - colours[inside]).mean() < 1.0


def yuv(colours: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """RGB → Y, U, V in the BT.601 video range, float (H, W) each, from the standard's figures."""
    r, g, b = np.moveaxis(colours.astype(float), -1, 0)
    y = 16 + (65.481 * r + 128.553 * g + 24.966 * b) / 255
    u = 128 + (-37.797 * r - 74.203 * g + 112.0 * b) / 255
    v = 128 + (112.0 * r - 93.786 * g - 18.214 * b) / 255
    return y, u, v


def as_bytes(values: np.ndarray) -> np.ndarray:
    return values.round().astype(np.uint8)


def packed(encoding: str) -> np.ndarray:
    """The smooth picture as rows of bytes of a YUV encoding."""
    y, u, v = map(as_bytes, yuv(smooth()))
    if encoding in ('nv12', 'nv21'):
        pair = (u, v) if encoding == 'nv12' else (v, u)
        chroma = np.stack([plane[::2, ::2] for plane in pair], -1).reshape(HEIGHT // 2, WIDTH)
        return np.vstack([y, chroma])
    rows = np.empty((HEIGHT, 2 * WIDTH), np.uint8)
    luma_first = encoding in ('yuv422_yuy2', 'yuyv')
    rows[:, 0 if luma_first else 1 :: 2] = y
    rows[:, 1 if luma_first else 0 :: 4] = u[:, ::2]
    rows[:, 3 if luma_first else 2 :: 4] = v[:, ::2]
    return rows


@pytest.mark.parametrize('padding', [0, 10])
@pytest.mark.parametrize('encoding', ['yuv422', 'uyvy', 'yuv422_yuy2', 'yuyv', 'nv12', 'nv21'])
def test_yuv(encoding: str, padding: int) -> None:
    message = padded(packed(encoding), encoding, padding=padding)
    message.width = WIDTH
    check(message, smooth(), 'RGB', tolerance=8)


@pytest.mark.parametrize(('encoding', 'channels'), [('rgb8', 3), ('bgr8', 3), ('mono8', 1)])
@pytest.mark.parametrize('padding', [0, 4])
def test_nothing_is_copied(encoding: str, channels: int, padding: int) -> None:
    rows = smooth().reshape(HEIGHT, -1)[:, : WIDTH * channels]
    message = padded(rows, encoding, padding=padding)
    message.width = WIDTH
    pixels, _ = image_to_array(message)
    assert np.shares_memory(pixels, np.frombuffer(message.data, np.uint8))


def test_last_row_needs_no_padding() -> None:
    message = padded(smooth().reshape(HEIGHT, -1), 'rgb8', padding=9)
    message.width = WIDTH
    message.data = message.data[:-9]
    check(message, smooth(), 'RGB')


@pytest.mark.parametrize(
    ('encoding', 'changes', 'kind'),
    [
        ('rgb8', {'data': b''}, 'truncated data'),
        ('rgb8', {'data': bytes(WIDTH * 3 * HEIGHT - 1)}, 'truncated data'),
        ('nv12', {'data': bytes(WIDTH * HEIGHT)}, 'truncated data'),
        ('mono16', {'data': bytes(WIDTH * HEIGHT)}, 'truncated data'),
        ('rgb8', {'step': WIDTH * 3 - 1}, 'wrong step'),
        ('rgb8', {'step': 0}, 'wrong step'),
        ('rgb8', {'step': WIDTH * 3 + 1}, 'truncated data'),
        ('mono16', {'step': WIDTH}, 'wrong step'),
        ('rgb8', {'width': 0}, 'zero size'),
        ('rgb8', {'height': 0}, 'zero size'),
        ('rgb8', {'height': 2**32 - 1}, 'truncated data'),
        ('rgb8', {'width': 2**32 - 1}, 'wrong step'),
        ('yuv422', {'width': WIDTH - 1}, 'odd size'),
        ('yuv422_yuy2', {'width': WIDTH - 1}, 'odd size'),
        ('nv12', {'width': WIDTH - 1}, 'odd size'),
        ('nv21', {'height': HEIGHT - 1}, 'odd size'),
        ('rgb8', {'encoding': 'rgb9'}, 'unknown encoding'),
        ('rgb8', {'encoding': ''}, 'unknown encoding'),
        ('rgb8', {'encoding': '32FC1'}, 'unknown encoding'),
        ('rgb8', {'encoding': 10**5 * '\x1b'}, 'unknown encoding'),
    ],
)
def test_no_image(encoding: str, changes: dict, kind: str) -> None:
    row_bytes = WIDTH * PIXEL_BYTES[encoding]
    message = Image(height=HEIGHT, width=WIDTH, encoding=encoding, step=row_bytes)
    message.data = bytes(row_bytes * HEIGHT * 3 // 2)
    if encoding == 'rgb8':
        message.data = bytes(row_bytes * HEIGHT)
    for name, value in changes.items():
        setattr(message, name, value)
    with pytest.raises(ImageError) as error:
        image_to_array(message)
    assert error.value.kind == kind
    assert str(error.value).isprintable() and len(str(error.value)) < 200


def test_an_unknown_encoding_is_named() -> None:
    with pytest.raises(ImageError, match='"rgb9"'):
        image_to_array(image_message(smooth(), encoding='rgb9'))


def test_no_field_values_raise_anything_else() -> None:
    """Thousands of images with fields drawn around the edges of what is sensible."""
    draw = random.Random(1)
    encodings = [*SOME_ENCODINGS, *(f'bayer_{pattern}8' for pattern in BAYER), '64FC1', '\0']
    sizes = [*range(10), 31, 2**31 - 1, 2**31, 2**32 - 1]
    good = 0
    for _ in range(5000):
        message = Image(encoding=draw.choice(encodings), is_bigendian=draw.choice([0, 1, 255]))
        message.height, message.width = draw.choice(sizes), draw.choice(sizes)
        likely = message.width * draw.choice([1, 2, 3, 4]) + draw.choice([-1, 0, 0, 0, 1, 16])
        message.step = draw.choice([min(max(likely, 0), 2**32 - 1), draw.choice(sizes)])
        message.data = draw.randbytes(draw.choice([0, 1, 3, 64, 400, 4000]))
        try:
            pixels, order = image_to_array(message)
        except ImageError:
            continue
        good += 1
        assert pixels.shape[:2] == (message.height, message.width)
        assert pixels.ndim == (2 if order == 'GREY' else 3)
    assert good > 300


def cv_bridge():
    """The module, where it can be imported; under NumPy 2 its import fails in several ways."""
    try:
        import cv_bridge
    except Exception as error:
        pytest.skip(f'cv_bridge cannot be imported: {error}')
    return cv_bridge


def random_message(encoding: str, big_endian: bool) -> Image:
    channels = {'rgb8': 3, 'bgr8': 3, '8UC3': 3, 'rgba8': 4, 'bgra8': 4, 'mono16': 2, '16UC1': 2}
    channels |= dict.fromkeys(('yuv422', 'uyvy', 'yuv422_yuy2', 'yuyv'), 2)
    step = WIDTH * channels.get(encoding, 1)
    rows = HEIGHT * 3 // 2 if encoding in ('nv12', 'nv21') else HEIGHT
    message = Image(height=HEIGHT, width=WIDTH, encoding=encoding, step=step)
    message.is_bigendian = int(big_endian)
    message.data = np.random.default_rng(0).bytes(step * rows)
    return message


@pytest.mark.parametrize('big_endian', [False, True])
@pytest.mark.parametrize('encoding', sorted(ENCODINGS))
def test_cv_bridge_gives_the_same(encoding: str, big_endian: bool) -> None:
    bridge = cv_bridge().CvBridge()
    message = random_message(encoding, big_endian)
    pixels, order = image_to_array(message)
    as_is = encoding[0].isdigit()  # 8UC3 and such have no colours that cv_bridge would convert
    wanted = 'passthrough' if as_is else 'mono8' if order == 'GREY' else 'rgb8'
    try:
        theirs = bridge.imgmsg_to_cv2(message, wanted)
    except Exception as error:  # of several kinds, by its version
        pytest.skip(f'this cv_bridge does not convert {encoding}: {error}')
    if order == 'BGR' and not as_is:
        pixels = pixels[..., ::-1]
    if theirs.dtype == np.uint16:
        theirs = theirs >> 8
    # It rounds 16 bits to 8, we cut.
    tolerance = 1 if encoding == 'mono16' else 0
    assert np.abs(pixels.astype(int) - theirs).max() <= tolerance


WIDE = ('mono16', '16UC1', 'rgb16', 'bgr16', 'bayer_rggb16', 'bayer_grbg16')


def wide(encoding: str, values: np.ndarray, big_endian: bool = False) -> Image:
    """uint16 (H, W) in a message of an encoding of 16 bits."""
    channels = 3 if encoding in ('rgb16', 'bgr16') else 1
    rows = np.repeat(values, channels, axis=1).astype('>u2' if big_endian else '<u2')
    height, width = values.shape
    message = Image(height=height, width=width, encoding=encoding, step=2 * channels * width)
    message.is_bigendian, message.data = int(big_endian), rows.tobytes()
    return message


@pytest.mark.parametrize('big_endian', [False, True])
@pytest.mark.parametrize('bits', [8, 10, 12, 14, 16])
@pytest.mark.parametrize('encoding', WIDE)
def test_sixteen_bits_are_scaled_by_those_in_use(encoding, bits: int, big_endian: bool) -> None:
    grey = np.random.default_rng(bits).integers(0, 256, (40, 60)).astype(np.uint16)
    grey = np.sort(grey.ravel()).reshape(40, 60)  # smooth, for the mosaic
    pixels, _ = image_to_array(wide(encoding, grey << (bits - 8), big_endian))
    found = pixels if pixels.ndim == 2 else pixels[..., 1]
    assert np.abs(found[2:-2, 2:-2].astype(int) - grey[2:-2, 2:-2]).max() <= 24
    assert found.max() > 240


@pytest.mark.parametrize('encoding', ['mono16', 'png', 'tiff'])
def test_the_depth_of_a_source_grows_and_never_flickers(encoding: str) -> None:
    """Random lights: once a bright image was seen, a dark one is dark."""
    draw, told = np.random.default_rng(0), []
    depth = BitDepth(notify=told.append)
    seen = 0
    for _ in range(40):
        values = draw.integers(0, draw.choice([100, 900, 4095]), (120, 160)).astype(np.uint16)
        values[0, 0] = 65535  # a defective pixel
        if encoding == 'mono16':
            pixels, _ = image_to_array(wide(encoding, values), depth)
        else:
            data = cv2.imencode(f'.{encoding}', values)[1].tobytes()
            pixels, _ = compressed_to_array(CompressedImage(data=data), None, depth)
            pixels = pixels[..., 0]
        seen = max(seen, int(np.sort(values.ravel())[-2]))
        bits = next(b for b in (8, 10, 12, 14, 16) if seen < 2**b)
        np.testing.assert_array_equal(pixels.ravel()[1:], values.ravel()[1:] >> (bits - 8))
    assert len(told) <= 3 and '12 bits' in told[-1] and '4095' in told[-1]

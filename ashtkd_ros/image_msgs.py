# SPDX-License-Identifier: Apache-2.0
"""Image messages → arrays: the only place where that happens, for node and rosbags alike.

The array is a view of the message's data wherever the encoding allows; `step` and `is_bigendian`
are honoured. What cannot be an image raises ImageError with the reason, and reads nothing outside
the data. Alpha goes and YUV becomes RGB at full size, for that takes a twentieth of the time of
squeezing the picture afterwards (python -m tools.bench.image_path).
"""

from __future__ import annotations

import struct

import cv2
import numpy as np

from ashtkd_ros.errors import VprError
from ashtkd_ros.pictures import MAX_PIXELS, decode


class ImageError(VprError):
    """The message holds no image; the text says why, `kind` in one or two words for counting."""

    def __init__(self, kind: str, text: str):
        super().__init__(text)
        self.kind = kind


# encoding: (channels, dtype, order of the result, conversion by OpenCV or None)
_LAYOUTS = {
    'rgb8': (3, 'u1', 'RGB', None),
    'bgr8': (3, 'u1', 'BGR', None),
    '8UC3': (3, 'u1', 'BGR', None),
    'mono8': (1, 'u1', 'GREY', None),
    '8UC1': (1, 'u1', 'GREY', None),
    'mono16': (1, '<u2', 'GREY', None),
    '16UC1': (1, '<u2', 'GREY', None),
    'rgba8': (4, 'u1', 'RGB', cv2.COLOR_RGBA2RGB),
    'bgra8': (4, 'u1', 'BGR', cv2.COLOR_BGRA2BGR),
    # OpenCV names a Bayer pattern by its second row, ROS by its first.
    'bayer_rggb8': (1, 'u1', 'RGB', cv2.COLOR_BayerBG2RGB),
    'bayer_bggr8': (1, 'u1', 'RGB', cv2.COLOR_BayerRG2RGB),
    'bayer_gbrg8': (1, 'u1', 'RGB', cv2.COLOR_BayerGR2RGB),
    'bayer_grbg8': (1, 'u1', 'RGB', cv2.COLOR_BayerGB2RGB),
    'yuv422': (2, 'u1', 'RGB', cv2.COLOR_YUV2RGB_UYVY),
    'uyvy': (2, 'u1', 'RGB', cv2.COLOR_YUV2RGB_UYVY),
    'yuv422_yuy2': (2, 'u1', 'RGB', cv2.COLOR_YUV2RGB_YUY2),
    'yuyv': (2, 'u1', 'RGB', cv2.COLOR_YUV2RGB_YUY2),
    'nv12': (1, 'u1', 'RGB', cv2.COLOR_YUV2RGB_NV12),
    'nv21': (1, 'u1', 'RGB', cv2.COLOR_YUV2RGB_NV21),
}
ENCODINGS = frozenset(_LAYOUTS)
# What divides a JPEG's sides, and how to ask for it; libjpeg then computes no more than that.
_REDUCED = (
    (8, cv2.IMREAD_REDUCED_COLOR_8),
    (4, cv2.IMREAD_REDUCED_COLOR_4),
    (2, cv2.IMREAD_REDUCED_COLOR_2),
)
_HALF_HEIGHT_CHROMA = ('nv12', 'nv21')
_EVEN_WIDTH = ('yuv422', 'uyvy', 'yuv422_yuy2', 'yuyv', *_HALF_HEIGHT_CHROMA)


def image_to_array(msg) -> tuple[np.ndarray, str]:
    """sensor_msgs/Image → uint8 (H, W, 3) or (H, W), and its order: RGB, BGR or GREY.

    16 bit greys keep their upper byte. rgb8, bgr8, mono8 and their like are views, not copies.
    """
    if msg.encoding not in ENCODINGS:
        raise ImageError('unknown encoding', f'unknown encoding "{msg.encoding}"')
    channels, kind, order, conversion = _LAYOUTS[msg.encoding]
    pixels = _pixels(msg, channels, np.dtype(kind))
    if conversion is not None:
        pixels = cv2.cvtColor(pixels, conversion)
    elif pixels.dtype.itemsize == 2:
        # Read as little endian, a big endian number has its upper byte at the lower end.
        pixels = (pixels if msg.is_bigendian else pixels >> 8).astype(np.uint8)
    return pixels, order


def _pixels(msg, channels: int, dtype: np.dtype) -> np.ndarray:
    """View of the message's data, (rows, W) or (rows, W, channels); checks every size first."""
    height, width, step = msg.height, msg.width, msg.step
    if not height or not width:
        raise ImageError('zero size', f'image of zero size, {width} x {height}')
    if msg.encoding in _EVEN_WIDTH and width % 2:
        raise ImageError('odd size', f'{msg.encoding} image of odd width {width}')
    rows = height
    if msg.encoding in _HALF_HEIGHT_CHROMA:
        if height % 2:
            raise ImageError('odd size', f'{msg.encoding} image of odd height {height}')
        rows = height + height // 2
    row_bytes = width * channels * dtype.itemsize
    if step < row_bytes:
        raise ImageError(
            'wrong step',
            f'step {step} is too small: {width} {msg.encoding} pixels are {row_bytes} bytes',
        )
    needed = step * (rows - 1) + row_bytes
    if len(msg.data) < needed:
        raise ImageError(
            'truncated data',
            f'truncated data: {len(msg.data)} bytes, {width} x {height} needs {needed}',
        )
    shape, strides = (rows, width), (step, channels * dtype.itemsize)
    if channels > 1:
        shape, strides = (*shape, channels), (*strides, dtype.itemsize)
    return np.ndarray(shape, dtype, np.frombuffer(msg.data, np.uint8), strides=strides)


def compressed_to_array(msg, at_least: tuple[int, int] | None = None) -> tuple[np.ndarray, str]:
    """sensor_msgs/CompressedImage (JPEG or PNG) → uint8 (H, W, 3) and its order, BGR.

    `at_least`, height and width in pixels: all that the caller needs. A JPEG comes at a half, a
    quarter or an eighth of its size where neither side falls below that, which is faster. None:
    at full size. An orientation in EXIF is followed, as in folders of images and by other
    subscribers of image_transport.
    """
    data = np.frombuffer(msg.data, np.uint8)
    if not data.size:
        raise ImageError('truncated data', 'compressed image without data')
    width, height = _stated_size(memoryview(data), msg.format)
    if width * height > MAX_PIXELS:
        raise ImageError('too large', f'compressed image claims {width} x {height} pixels')
    # OpenCV fills up what a cut JPEG lacks with grey and tells nobody.
    is_jpeg = data[0] == 0xFF
    if (b'\xff\xd9' if is_jpeg else b'IEND') not in data[-1024:].tobytes():
        text = f'truncated data: the {msg.format or "compressed"} image has no end'
        raise ImageError('truncated data', text)
    image = reduced_jpeg(data, at_least) if at_least is not None else None
    if image is None:
        image = _imdecode(data, cv2.IMREAD_COLOR)
    if image is None:
        raise _undecodable(msg.format)
    return image, 'BGR'


def reduced_jpeg(data: np.ndarray, at_least: tuple[int, int]) -> np.ndarray | None:
    """A JPEG's bytes, uint8, by the largest factor that leaves `at_least` (height, width), BGR.

    None where no factor does, or the data is no whole JPEG.
    """
    try:
        width, height = _stated_size(memoryview(data), 'JPEG') if data[0] == 0xFF else (0, 0)
    except (ImageError, IndexError):
        return None
    for factor, flag in _REDUCED:
        if height // factor >= at_least[0] and width // factor >= at_least[1]:
            image = _imdecode(data, flag)
            # A quarter turn told in EXIF swaps the sides.
            is_enough = image is not None and (
                image.shape[0] >= at_least[0] and image.shape[1] >= at_least[1]
            )
            return image if is_enough else None
    return None


def _imdecode(data: np.ndarray, flag: int) -> np.ndarray | None:
    try:
        return decode(data, flag)
    except ValueError:
        return None


def _stated_size(data: memoryview, name: str) -> tuple[int, int]:
    """Width and height in the header of a JPEG or PNG; ImageError where there is none."""
    if data[:8] == b'\x89PNG\r\n\x1a\n':
        if len(data) < 24:
            raise ImageError('truncated data', f'truncated data: the {name} image has no header')
        return struct.unpack('>II', data[16:24])
    if data[:2] != b'\xff\xd8':
        raise _undecodable(name)
    at = 2
    while at + 9 <= len(data):  # from segment to segment up to the frame header
        mark, marker, length = struct.unpack('>BBH', data[at : at + 4])
        if mark != 0xFF or length < 2:
            raise _undecodable(name)
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack('>HH', data[at + 5 : at + 9])
            return width, height
        at += 2 + length
    raise ImageError('truncated data', f'truncated data: the {name} image has no header')


def _undecodable(name: str) -> ImageError:
    text = f'compressed image of format "{name}" is no JPEG or PNG that can be decoded'
    return ImageError('not decodable', text)

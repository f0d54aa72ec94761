# SPDX-License-Identifier: Apache-2.0
"""Image messages → arrays, for node and rosbags alike; this happens nowhere else.

The array is a view of the message's data if the encoding allows it; `step` and `is_bigendian` are
observed. A message that is no valid image raises ImageError with the reason; nothing outside its
data is read. Alpha is removed and YUV converted to RGB at full size: this takes a twentieth of the
time that resizing takes afterwards (python -m tools.bench.image_path).
"""

from __future__ import annotations

import cv2
import numpy as np

from ashtkd_ros.images.bit_depth import BitDepth
from ashtkd_ros.images.picture_decoding import (
    ImageError,
    decode_picture,
    is_deep,
    is_known,
    undecodable,
)
from ashtkd_ros.text import name_of

# encoding: (channels, dtype, order of the result, conversion by OpenCV or None)
_LAYOUTS = {
    'rgb8': (3, 'u1', 'RGB', None),
    'bgr8': (3, 'u1', 'BGR', None),
    '8UC3': (3, 'u1', 'BGR', None),
    'mono8': (1, 'u1', 'GREY', None),
    '8UC1': (1, 'u1', 'GREY', None),
    'mono16': (1, 'u2', 'GREY', None),
    '16UC1': (1, 'u2', 'GREY', None),
    'rgb16': (3, 'u2', 'RGB', None),
    'bgr16': (3, 'u2', 'BGR', None),
    '16UC3': (3, 'u2', 'BGR', None),
    'rgba16': (4, 'u2', 'RGB', cv2.COLOR_RGBA2RGB),
    'bgra16': (4, 'u2', 'BGR', cv2.COLOR_BGRA2BGR),
    'rgba8': (4, 'u1', 'RGB', cv2.COLOR_RGBA2RGB),
    'bgra8': (4, 'u1', 'BGR', cv2.COLOR_BGRA2BGR),
    # OpenCV names a Bayer pattern by its second row, ROS by its first.
    'bayer_rggb8': (1, 'u1', 'RGB', cv2.COLOR_BayerBG2RGB),
    'bayer_bggr8': (1, 'u1', 'RGB', cv2.COLOR_BayerRG2RGB),
    'bayer_gbrg8': (1, 'u1', 'RGB', cv2.COLOR_BayerGR2RGB),
    'bayer_grbg8': (1, 'u1', 'RGB', cv2.COLOR_BayerGB2RGB),
    'bayer_rggb16': (1, 'u2', 'RGB', cv2.COLOR_BayerBG2RGB),
    'bayer_bggr16': (1, 'u2', 'RGB', cv2.COLOR_BayerRG2RGB),
    'bayer_gbrg16': (1, 'u2', 'RGB', cv2.COLOR_BayerGR2RGB),
    'bayer_grbg16': (1, 'u2', 'RGB', cv2.COLOR_BayerGB2RGB),
    'yuv422': (2, 'u1', 'RGB', cv2.COLOR_YUV2RGB_UYVY),
    'uyvy': (2, 'u1', 'RGB', cv2.COLOR_YUV2RGB_UYVY),
    'yuv422_yuy2': (2, 'u1', 'RGB', cv2.COLOR_YUV2RGB_YUY2),
    'yuyv': (2, 'u1', 'RGB', cv2.COLOR_YUV2RGB_YUY2),
    'nv12': (1, 'u1', 'RGB', cv2.COLOR_YUV2RGB_NV12),
    'nv21': (1, 'u1', 'RGB', cv2.COLOR_YUV2RGB_NV21),
}
ENCODINGS = frozenset(_LAYOUTS)
_HALF_HEIGHT_CHROMA = ('nv12', 'nv21')
_EVEN_WIDTH = ('yuv422', 'uyvy', 'yuv422_yuy2', 'yuyv', *_HALF_HEIGHT_CHROMA)


def image_to_array(msg, depth: BitDepth | None = None) -> tuple[np.ndarray, str]:
    """sensor_msgs/Image → uint8 (H, W, 3) or (H, W), and its order: RGB, BGR or GREY.

    `depth`: bit depth of the source, for values of 16 bits; None: that of this image. Encodings
    like rgb8, bgr8 and mono8 give views, not copies.
    """
    if msg.encoding not in ENCODINGS:
        raise ImageError('unknown encoding', f'unknown encoding "{name_of(msg.encoding)}"')
    channels, kind, order, conversion = _LAYOUTS[msg.encoding]
    pixels = _pixels(msg, channels, np.dtype(kind))
    if pixels.dtype.itemsize == 2:
        pixels = (depth or BitDepth()).to_bytes(pixels)
    if conversion is not None:
        pixels = cv2.cvtColor(pixels, conversion)
    return pixels, order


def _pixels(msg, channels: int, dtype: np.dtype) -> np.ndarray:
    """A view of the message's data, (rows, W[, channels]); all sizes are checked first."""
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
    if dtype.itemsize > 1:
        dtype = dtype.newbyteorder('>' if msg.is_bigendian else '<')
    return np.ndarray(shape, dtype, np.frombuffer(msg.data, np.uint8), strides=strides)


def message_to_array(
    msg, at_least: tuple[int, int] | None = None, depth: BitDepth | None = None
) -> tuple[np.ndarray, str]:
    """sensor_msgs/Image or CompressedImage → uint8 pixels and their order.

    See `image_to_array` and `compressed_to_array`.
    """
    if hasattr(msg, 'encoding'):
        return image_to_array(msg, depth)
    return compressed_to_array(msg, at_least, depth)


def is_deep_message(msg) -> bool:
    """Whether the values of an Image or CompressedImage have 16 bits each."""
    if hasattr(msg, 'encoding'):
        return _LAYOUTS.get(msg.encoding, (0, ''))[1] == 'u2'
    return is_deep(np.frombuffer(msg.data, np.uint8))


def compressed_to_array(
    msg, at_least: tuple[int, int] | None = None, depth: BitDepth | None = None
) -> tuple[np.ndarray, str]:
    """sensor_msgs/CompressedImage (JPEG, PNG or TIFF) → uint8 (H, W, 3) and its order, BGR or RGB.

    The data itself shows its format. The field `format` appears in error messages, and tells
    what image_transport made of which encoding. See `decode_picture` for `at_least` and `depth`.
    """
    data = np.frombuffer(msg.data, np.uint8)
    if data.size and not is_known(data):
        raise undecodable(msg.format)
    pattern = _mosaic(msg.format)
    if not pattern:
        return decode_picture(data, msg.format, at_least, depth), _order(msg.format)
    pixels = decode_picture(data, msg.format, None, depth)  # smaller, it would be no mosaic
    mosaic = pixels[..., 0]
    if not all(np.array_equal(mosaic, pixels[..., channel]) for channel in (1, 2)):
        return pixels, 'BGR'  # the sender has made colours of it
    _, _, order, conversion = _LAYOUTS[pattern]
    return cv2.cvtColor(np.ascontiguousarray(mosaic), conversion), order


def _mosaic(name: str) -> str:
    """The Bayer pattern of a compressed mosaic, by the format that image_transport gives it.

    That is "bayer_rggb8; jpeg compressed ", and "... compressed bayer_rggb8" since ROS 2. Of
    "... compressed mono8" the sender has made grey.
    """
    encoding, packed, rest = name.partition(';')
    _, _, made = rest.partition('compressed')
    encoding, made = encoding.strip(), made.strip()
    is_mosaic = packed and encoding.startswith('bayer_') and made in ('', encoding)
    return encoding if is_mosaic and encoding in ENCODINGS else ''


def _order(name: str) -> str:
    """The order of colours that OpenCV finds in a picture of this format.

    Into TIFF image_transport puts the colours of the camera as they are, as if they were BGR.
    """
    encoding, _, rest = name.partition(';')
    is_swapped = encoding.strip().startswith('rgb') and rest.split() == ['tiff', 'compressed']
    return 'RGB' if is_swapped else 'BGR'

# SPDX-License-Identifier: Apache-2.0
"""Milliseconds from an image message to the network's input.

The node's path is compared in alternation with a simple implementation.

    python -m tools.bench.image_path

Simple: decode everything, copy it as RGB, resize, divide, subtract, channels first.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from types import SimpleNamespace

import cv2
import numpy as np

from ashtkd_ros.cli.arguments import positive_count
from ashtkd_ros.cli.command import make_parser, run_command
from ashtkd_ros.images.colour_order import to_rgb
from ashtkd_ros.images.message_decoding import compressed_to_array, image_to_array
from ashtkd_ros.network.embedder import Embedder, Preprocessing, resize
from ashtkd_ros.network.shipped_model import shipped_model
from ashtkd_ros.traverses.image_folder import read_source
from tools.town import DAY

SIZES = ((640, 480), (1920, 1080))


def messages(rgb: np.ndarray) -> dict[str, SimpleNamespace]:
    """uint8 (H, W, 3) → encoding: message."""
    height, width = rgb.shape[:2]
    planes = cv2.cvtColor(rgb, cv2.COLOR_RGB2YUV_I420)
    chroma = planes[height:].reshape(2, height // 2, width // 2)
    raw = {
        'rgb8': rgb,
        'bgr8': rgb[..., ::-1],
        'mono8': cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY),
        'bgra8': cv2.cvtColor(rgb, cv2.COLOR_RGB2BGRA),
        'nv12': np.vstack([planes[:height], np.dstack(list(chroma)).reshape(-1, width)]),
    }
    made = {}
    for encoding, pixels in raw.items():
        step = pixels[0].nbytes
        fields = {'height': height, 'width': width, 'step': step, 'is_bigendian': 0}
        made[encoding] = SimpleNamespace(encoding=encoding, data=pixels.tobytes(), **fields)
    data = cv2.imencode('.jpg', rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])[1]
    made['jpeg'] = SimpleNamespace(format='jpeg', data=data.tobytes())
    return made


def naive(message: SimpleNamespace, expected: Preprocessing) -> np.ndarray:
    """Message → float32 (3, h, w), without any care."""
    decode = image_to_array if hasattr(message, 'encoding') else compressed_to_array
    small = resize(to_rgb(*decode(message)).copy(), expected.size[::-1])
    blob = (small / np.float32(255) - np.float32(expected.mean)) / np.float32(expected.std)
    return np.ascontiguousarray(blob.transpose(2, 0, 1))


def ours(message: SimpleNamespace, embedder: Embedder) -> np.ndarray:
    """Message → float32 (3, h, w), as the node."""
    if hasattr(message, 'encoding'):
        return embedder.preprocess(*image_to_array(message))
    return embedder.preprocess(*compressed_to_array(message, embedder.ample_size))


def medians(rounds: int, *ways: Callable[[], object]) -> list[float]:
    """Milliseconds of each way; they take turns in every round."""
    times = np.empty((rounds + 3, len(ways)))
    for row in times:
        for i, way in enumerate(ways):
            started = time.perf_counter()
            way()
            row[i] = time.perf_counter() - started
    return list(1000 * np.median(times[3:], axis=0))


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    add(
        '--rounds',
        type=positive_count,
        default=60,
        help='times to run each way (default: %(default)d)',
    )
    add(
        '--threads',
        type=positive_count,
        default=1,
        help='threads of OpenCV (default: %(default)d)',
    )
    args = parser.parse_args(argv)
    cv2.setNumThreads(args.threads)
    embedder = Embedder(shipped_model(), num_threads=1)
    picture = read_source(DAY)[0].read()
    for size in SIZES:
        rgb = cv2.resize(picture, size, interpolation=cv2.INTER_CUBIC)
        for name, message in messages(rgb).items():
            mine, reference = medians(
                args.rounds,
                lambda m=message: ours(m, embedder),
                lambda m=message: naive(m, embedder.preprocessing),
            )
            print(
                f'{size[0]:>5} x {size[1]:<5} {name:6} {mine:6.2f} ms, naive {reference:6.2f} ms, '
                f'ratio {mine / reference:.2f}'
            )
    return 0


if __name__ == '__main__':
    run_command(main)

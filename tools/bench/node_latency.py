# SPDX-License-Identifier: Apache-2.0
"""What the node adds to the embedding: camera message sent → place received, 640 x 480, raw.

    python -m tools.bench.node_latency

The node is another process. The embedding alone is timed in this one between the messages, with
the same model and threads.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from ashtkd_ros.cli.arguments import count, positive_count
from ashtkd_ros.cli.command import make_parser, run_command
from ashtkd_ros.network.embedder import Embedder
from ashtkd_ros.network.shipped_model import shipped_model
from ashtkd_ros.ros.play.node_process import observed_node
from ashtkd_ros.ros.session import ros_session
from ashtkd_ros.stamps import s_to_ns
from ashtkd_ros.traverses.frame import Frame
from ashtkd_ros.traverses.image_folder import file_frame, read_source
from tools.town import DUSK, build_town_map

_WARM_UP = 10  # images before the first that counts
_PAUSE_S = 0.02  # as between two images of a camera


def enlarged(frames: list[Frame], folder: Path) -> list[Frame]:
    """The frames at 640 x 480, stored without loss."""
    larger = []
    for frame in frames:
        path = folder / f'{frame.file.stem}.png'
        cv2.imwrite(str(path), cv2.resize(frame.read()[..., ::-1], (640, 480)))
        larger.append(file_frame(path, frame.stamp, frame.order))
    return larger


def measure(images: int, threads: int, compressed: bool) -> tuple[np.ndarray, np.ndarray]:
    """Milliseconds (images,) of the embedding alone and of the whole way, taken in turns."""
    embedder = Embedder(shipped_model(), num_threads=threads)
    alone, whole = [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        parameters = {'map_path': build_town_map(folder), 'num_threads': threads}
        frames = enlarged(read_source(DUSK)[:20], folder)
        with ros_session([]), observed_node(compressed, parameters) as (observer, _):
            observer.wait_until_active()
            for i in range(images + _WARM_UP):
                stamp_ns = s_to_ns(1.0 + i)
                frame = replace(frames[i % len(frames)], stamp_ns=stamp_ns, header_ns=stamp_ns)
                pixels = frame.read()
                time.sleep(_PAUSE_S)
                started = time.perf_counter()
                embedder.embed(pixels)
                alone.append(time.perf_counter() - started)
                time.sleep(_PAUSE_S)
                whole.append(observer.ask(frame).seconds)
    return 1000 * np.array(alone[_WARM_UP:]), 1000 * np.array(whole[_WARM_UP:])


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    add(
        '--images',
        type=positive_count,
        default=200,
        help='images to measure (default: %(default)d)',
    )
    add(
        '--threads',
        type=count,
        default=2,
        help='threads of the network; 0: one for each core (default: %(default)d)',
    )
    add('--compressed', action='store_true', help='send PNG as CompressedImage (default: pixels)')
    args = parser.parse_args(argv)
    alone, whole = measure(args.images, args.threads, args.compressed)
    for name, values in (('embedding alone', alone), ('whole node', whole)):
        p50, p95 = np.percentile(values, (50, 95))
        print(f'{name:>16}  p50 {p50:6.2f} ms  p95 {p95:6.2f} ms')
    extra, ratio = np.median(whole) - np.median(alone), np.median(whole) / np.median(alone)
    print(f'the node adds {extra:.2f} ms at the median ({ratio:.2f} times the embedding)')
    return 0


if __name__ == '__main__':
    run_command(main)

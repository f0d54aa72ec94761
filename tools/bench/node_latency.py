# SPDX-License-Identifier: Apache-2.0
"""What the node adds to the embedding: camera message sent → place received, 640 x 480, raw.

    python -m tools.bench.node_latency

Node in another process; the embedding alone is timed here between the messages, in the same run,
with the same model and threads.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from ashtkd_ros.cli.command import run_command
from ashtkd_ros.mapping.build import build_map
from ashtkd_ros.network.embedder import Embedder
from ashtkd_ros.network.shipped_model import shipped_model
from ashtkd_ros.traverses.frame import Frame
from ashtkd_ros.traverses.image_folder import read_source
from ashtkd_ros.traverses.opening import open_traverse
from tools.demo import TOWN, Observer, running_node


def enlarge(frames: list[Frame], folder: Path) -> list[Frame]:
    """The frames at 640 x 480, stored without loss."""
    larger = []
    for frame in frames:
        path = folder / f'{frame.file.stem}.png'
        cv2.imwrite(str(path), cv2.resize(frame.read()[..., ::-1], (640, 480)))
        larger.append(replace(frame, path=path))
    return larger


def measure(images: int, threads: int, compressed: bool) -> tuple[np.ndarray, np.ndarray]:
    """Milliseconds (images,) of the embedding alone and of the whole way, taken in turns."""
    embedder = Embedder(shipped_model(), num_threads=threads)
    alone, whole = [], []
    with tempfile.TemporaryDirectory() as folder:
        mapped = open_traverse(TOWN / 'day')
        build_map([mapped], embedder, Path(folder) / 'map')
        frames = enlarge(read_source(TOWN / 'dusk')[:20], Path(folder))
        observer = Observer(compressed)
        parameters = {'map_path': Path(folder) / 'map', 'num_threads': threads}
        parameters['image_transport'] = 'compressed' if compressed else 'raw'
        try:
            with running_node(**parameters):
                observer.wait_for_node()
                for i in range(images + 10):
                    frame = replace(frames[i % len(frames)], stamp=float(i))
                    pixels = frame.read()
                    time.sleep(0.02)  # as between two images of a camera
                    started = time.perf_counter()
                    embedder.embed(pixels)
                    alone.append(time.perf_counter() - started)
                    time.sleep(0.02)
                    whole.append(observer.ask(frame).seconds)
        finally:
            observer.close()
    return 1000 * np.array(alone[10:]), 1000 * np.array(whole[10:])


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--images', type=int, default=200)
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--compressed', action='store_true')
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

# SPDX-License-Identifier: Apache-2.0
"""The node under load: 1920 x 1080 raw at 30 Hz, or any other size and rate; CPU, memory, latency.

    python -m tools.bench.node_load --minutes 10
    python -m tools.bench.node_load --size 640x480 --hz 5 --minutes 1
    python -m tools.bench.node_load --hz 0 --minutes 1        # active, no images

Camera and listener are this process, the node is another. What the node spends outside of decoding
and inference is its CPU time less that of as many images decoded and embedded alone, in this
process, in the same run.
"""

from __future__ import annotations

import argparse
import array
import os
import tempfile
import time
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image
from vision_msgs.msg import Classification

from ashtkd_ros.commands import run_command
from ashtkd_ros.embedder import Embedder
from ashtkd_ros.image_msgs import image_to_array
from ashtkd_ros.mapping import build_map
from ashtkd_ros.shipped import shipped_model
from ashtkd_ros.sources import read_source
from ashtkd_ros.traverse import FolderTraverse, TraverseOptions
from tools.demo import TOWN, running_node

_WARM_S = 5.0


class Load:
    """Publishes pictures of the rendered walk at a steady rate and keeps what is answered."""

    def __init__(self, size: tuple[int, int]):
        self.node = rclpy.create_node('load')
        self._camera = self.node.create_publisher(Image, 'image', QoSProfile(depth=1))
        self.node.create_subscription(Classification, 'vpr_node/place', self._hear, 100)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        self._messages = [self._message(f.read(), size) for f in read_source(TOWN / 'dusk')[:8]]
        self.sent: dict[tuple[int, int], float] = {}
        self.answers: Counter[tuple[int, int]] = Counter()
        self.latencies: list[float] = []

    @staticmethod
    def _message(pixels: np.ndarray, size: tuple[int, int]) -> Image:
        width, height = size
        message = Image(height=height, width=width, encoding='rgb8', step=3 * width)
        message.data = array.array('B', cv2.resize(pixels, size).tobytes())
        return message

    def _hear(self, place: Classification) -> None:
        key = place.header.stamp.sec, place.header.stamp.nanosec
        self.answers[key] += 1
        self.latencies.append(time.perf_counter() - self.sent[key])

    def run(self, seconds: float, hz: float) -> None:
        """Publish for so long; hear answers between the images."""
        end = due = time.perf_counter()
        end += seconds
        while (now := time.perf_counter()) < end:
            if hz and now >= due:
                due = max(due + 1.0 / hz, now)
                message = self._messages[len(self.sent) % len(self._messages)]
                stamp = self.node.get_clock().now().to_msg()
                message.header.stamp = stamp
                self.sent[stamp.sec, stamp.nanosec] = time.perf_counter()
                self._camera.publish(message)
            wait = min(due - time.perf_counter(), 0.05) if hz else 0.2
            self._executor.spin_once(timeout_sec=max(wait, 0.0))

    def wait_for_node(self) -> None:
        """Return when it subscribes and offers places."""
        while not (
            self._camera.get_subscription_count() and self.node.count_publishers('vpr_node/place')
        ):
            self._executor.spin_once(timeout_sec=0.1)

    def alone(self, embedder: Embedder, images: int) -> float:
        """CPU seconds an image, decoded and embedded here."""
        started = time.process_time()
        for i in range(images):
            pixels, order = image_to_array(self._messages[i % len(self._messages)])
            embedder.embed(pixels, order)
        return (time.process_time() - started) / images


def cpu_s(pid: int) -> float:
    """CPU time of a process so far."""
    fields = Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


def memory_mb(pid: int) -> float:
    """Resident memory of a process."""
    status = Path(f'/proc/{pid}/status').read_text()
    return int(status.split('VmRSS:')[1].split()[0]) / 1024


def measure(size: tuple[int, int], hz: float, seconds: float, threads: int) -> None:
    """Run and print."""
    with tempfile.TemporaryDirectory() as folder:
        traverse = FolderTraverse(TOWN / 'day', TraverseOptions())
        build_map([traverse], Embedder(shipped_model(), num_threads=1), Path(folder, 'map'))
        rclpy.init()
        load = Load(size)
        with running_node(map_path=Path(folder, 'map'), num_threads=threads) as process:
            load.wait_for_node()
            load.run(_WARM_S, hz)
            load.answers.clear()
            load.latencies.clear()
            before, first = cpu_s(process.pid), memory_mb(process.pid)
            sent, started = len(load.sent), time.perf_counter()
            load.run(seconds, hz)
            load.run(0.5, 0.0)  # the last answer
            wall = time.perf_counter() - started
            spent, last = cpu_s(process.pid) - before, memory_mb(process.pid)
        print(f'{size[0]} x {size[1]}, {hz:g} Hz for {wall:.0f} s: {len(load.sent) - sent} sent')
        print(f'CPU of the node: {100 * spent / wall:.1f} % of a core')
        print(
            f'memory: {first:.0f} MB, at the end {last:.0f} MB ({100 * (last / first - 1):+.1f} %)'
        )
        if load.latencies:
            report(load, spent, wall, threads)
        load.node.destroy_node()
        rclpy.try_shutdown()


def report(load: Load, spent: float, wall: float, threads: int) -> None:
    """What was answered, how fast, and what that cost beside decoding and inference."""
    twice = sum(count > 1 for count in load.answers.values())
    count = len(load.latencies)
    p50, p95, p99 = 1000 * np.percentile(load.latencies, (50, 95, 99))
    print(f'{count} answered ({count / wall:.1f} a second), {twice} of them more than once')
    print(
        f'sent → answered: p50 {p50:.1f} ms, p95 {p95:.1f} ms ({p95 / p50:.2f} times), '
        f'p99 {p99:.1f} ms'
    )
    alone = load.alone(Embedder(shipped_model(), num_threads=threads), 200)
    outside = 1.0 - alone * count / spent
    print(
        f'CPU an image: {1000 * spent / count:.1f} ms, decoded and embedded alone '
        f'{1000 * alone:.1f} ms: {100 * outside:.1f} % outside of decoding and inference'
    )


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--size', default='1920x1080', help='WIDTHxHEIGHT')
    parser.add_argument('--hz', type=float, default=30.0, help='0: no images')
    parser.add_argument('--minutes', type=float, default=1.0)
    parser.add_argument('--threads', type=int, default=0, help='of the node; 0: every core')
    args = parser.parse_args(argv)
    width, height = map(int, args.size.split('x'))
    measure((width, height), args.hz, 60 * args.minutes, args.threads)
    return 0


if __name__ == '__main__':
    run_command(main)

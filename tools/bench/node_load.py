# SPDX-License-Identifier: Apache-2.0
"""The node under load: 1920 x 1080 raw at 30 Hz, or any other size and rate; CPU, memory, latency.

    python -m tools.bench.node_load --minutes 10
    python -m tools.bench.node_load --size 640x480 --hz 5 --minutes 1
    python -m tools.bench.node_load --hz 0 --minutes 1        # active, no images

Camera and listener are this process, the node is another. Outside of decoding and inference are
its threads that receive (`receiver`, the main one, which runs Python's executor, and the
middleware's), and what its worker tells of in the diagnostics as the rest: checks, matching,
publishing. The reference, in the same run, is a subscriber as rclpy's tutorials have it, which
does nothing with the images that it receives.
"""

from __future__ import annotations

import argparse
import array
import contextlib
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.srv import GetParameters
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image
from vision_msgs.msg import Classification

from ashtkd_ros.cli.command import run_command
from ashtkd_ros.mapping.build import build_map
from ashtkd_ros.network.embedder import Embedder
from ashtkd_ros.network.shipped_model import shipped_model
from ashtkd_ros.traverses.image_folder import read_source
from ashtkd_ros.traverses.opening import open_traverse
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
        self.stages = (np.nan,) * 3
        self._client = self.node.create_client(GetParameters, 'vpr_node/get_parameters')
        self.calls: list[float] = []
        self.node.create_timer(1.0, self._ask)
        self.node.create_subscription(DiagnosticArray, '/diagnostics', self._keep, 10)

    def _ask(self) -> None:
        """A parameter, as an operator would; how long that takes is noted."""
        if self._client.service_is_ready():
            started = time.perf_counter()
            future = self._client.call_async(GetParameters.Request(names=['top_k']))
            future.add_done_callback(lambda _: self.calls.append(time.perf_counter() - started))

    def _keep(self, message: DiagnosticArray) -> None:
        values = {pair.key: pair.value for pair in message.status[0].values}
        self.stages = [float(values[f'{name} p50 ms']) for name in ('decode', 'embed', 'rest')]

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

    def wait_for(self, there: Callable[[], object]) -> None:
        """Return when that is so."""
        while not there():
            self._executor.spin_once(timeout_sec=0.1)

    def node_is_there(self) -> bool:
        """Whether it subscribes and offers places."""
        return self.somebody_listens() and self.node.count_publishers('vpr_node/place') > 0

    def somebody_listens(self) -> bool:
        """Whether the images have a subscriber."""
        return self._camera.get_subscription_count() > 0


def cpu_s(pid: int) -> np.ndarray:
    """CPU time of a process so far: all of it, and its receiving threads alone."""
    whole = receiving = 0
    for task in Path(f'/proc/{pid}/task').iterdir():
        spent = int((task / 'schedstat').read_text().split()[0])
        whole += spent
        name = (task / 'comm').read_text().strip()
        if task.name == str(pid) or name == 'receiver' or name.startswith('dds.'):
            receiving += spent
    return np.array([whole, receiving]) / 1e9


def memory_mb(pid: int) -> float:
    """Resident memory of a process."""
    status = Path(f'/proc/{pid}/status').read_text()
    return int(status.split('VmRSS:')[1].split()[0]) / 1024


def measure(size: tuple[int, int], hz: float, seconds: float, threads: int) -> None:
    """Run and print."""
    with tempfile.TemporaryDirectory() as folder:
        traverse = open_traverse(TOWN / 'day')
        build_map([traverse], Embedder(shipped_model(), num_threads=1), Path(folder, 'map'))
        rclpy.init()
        load = Load(size)
        with running_node(map_path=Path(folder, 'map'), num_threads=threads) as process:
            load.wait_for(load.node_is_there)
            load.run(_WARM_S, hz)
            load.answers.clear()
            load.latencies.clear()
            load.calls.clear()
            before, first = cpu_s(process.pid), memory_mb(process.pid)
            sent, started = len(load.sent), time.perf_counter()
            load.run(seconds, hz)
            load.run(0.5, 0.0)  # the last answer
            wall = time.perf_counter() - started
            spent, last = cpu_s(process.pid) - before, memory_mb(process.pid)
        print(f'{size[0]} x {size[1]}, {hz:g} Hz for {wall:.0f} s: {len(load.sent) - sent} sent')
        print(f'CPU of the node: {100 * spent[0] / wall:.1f} % of a core')
        print(
            f'memory: {first:.0f} MB, at the end {last:.0f} MB ({100 * (last / first - 1):+.1f} %)'
        )
        if load.latencies:
            report(load, *spent, wall)
            reference = bare_ms(load, hz)
            received = 1000 * spent[1] / len(load.latencies)
            print(
                f'a subscriber that does nothing: {reference:.1f} ms an image, '
                f'{reference / received:.2f} times what receiving costs the node'
            )
        load.node.destroy_node()
        rclpy.try_shutdown()


def bare_ms(load: Load, hz: float) -> float:
    """CPU of the reference an image."""
    load.wait_for(lambda: not load.somebody_listens())
    process = subprocess.Popen([sys.executable, '-m', 'tools.bench.node_load', '--bare'])
    try:
        load.wait_for(load.somebody_listens)
        load.run(_WARM_S, hz)
        before, sent = cpu_s(process.pid)[0], len(load.sent)
        load.run(3 * _WARM_S, hz)
        return 1000 * (cpu_s(process.pid)[0] - before) / (len(load.sent) - sent)
    finally:
        process.terminate()
        process.wait()


def listen() -> None:
    """The reference: a node with nothing but a subscription, in rclpy's own executor."""
    with contextlib.suppress(KeyboardInterrupt, ExternalShutdownException):
        rclpy.init()
        node = rclpy.create_node('listener')
        node.create_subscription(Image, 'image', lambda _: None, QoSProfile(depth=1))
        rclpy.spin(node)


def report(load: Load, spent: float, receiving: float, wall: float) -> None:
    """What was answered, how fast, and what that cost beside decoding and inference."""
    twice = sum(count > 1 for count in load.answers.values())
    count = len(load.latencies)
    p50, p95, p99 = 1000 * np.percentile(load.latencies, (50, 95, 99))
    print(f'{count} answered ({count / wall:.1f} a second), {twice} of them more than once')
    print(
        f'sent → answered: p50 {p50:.1f} ms, p95 {p95:.1f} ms ({p95 / p50:.2f} times), '
        f'p99 {p99:.1f} ms'
    )
    calls = 1000 * np.array(load.calls)
    print(
        f'{len(calls)} parameters asked for: p50 {np.median(calls):.1f} ms, most {calls.max():.1f}'
    )
    decode, embed, rest = load.stages
    receive, whole = 1000 * receiving / count, 1000 * spent / count
    print(
        f'CPU an image: {whole:.1f} ms; receiving {receive:.1f}, decoding {decode:.1f}, '
        f'embedding {whole - receive - decode - rest:.1f}, rest {rest:.1f}: '
        f'{100 * (receive + rest) / whole:.1f} % outside of decoding and inference'
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
    parser.add_argument('--bare', action='store_true', help='be the reference alone')
    args = parser.parse_args(argv)
    if args.bare:
        listen()
        return 0
    width, height = map(int, args.size.split('x'))
    measure((width, height), args.hz, 60 * args.minutes, args.threads)
    return 0


if __name__ == '__main__':
    run_command(main)

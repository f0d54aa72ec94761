# SPDX-License-Identifier: Apache-2.0
"""The node under load: 1920 x 1080 raw at 30 Hz, or any other size and rate; CPU, memory, latency.

    python -m tools.bench.node_load --minutes 10
    python -m tools.bench.node_load --size 640x480 --hz 5 --minutes 1
    python -m tools.bench.node_load --hz 0 --minutes 1        # active, no images

Camera and listener are this process, the node is another. "Outside of decoding and inference"
means two things: the node's threads that receive (`receiver`, the main one, which runs Python's
executor, and the middleware's), and what its diagnostics call the rest: checks, matching,
publishing. The reference runs at the same time. It is a subscriber as in rclpy's tutorials, which
does nothing with its images.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import rclpy
from rcl_interfaces.srv import GetParameters
from rclpy.executors import ExternalShutdownException
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image

from ashtkd_ros.cli.arguments import count, not_negative, positive, positive_count
from ashtkd_ros.cli.child_process import child_process
from ashtkd_ros.cli.command import make_parser, run_command
from ashtkd_ros.errors import VprError
from ashtkd_ros.ros.play.image_publisher import image_message
from ashtkd_ros.ros.play.node_process import observed_node
from ashtkd_ros.ros.play.observer import DISCOVERY_S, NodeTopics, Observer
from ashtkd_ros.ros.session import ros_session
from ashtkd_ros.traverses.image_folder import read_source
from tools.process_usage import cpu_s, resident_mib, threads_cpu_s
from tools.town import DUSK, build_town_map

_WARM_S = 5.0


class Load:
    """Pictures of the rendered walk, (width, height) = `size`, at a steady rate to an observer.

    `calls`: seconds that a service of the node took, which is called once a second.
    """

    def __init__(self, observer: Observer, size: tuple[int, int]):
        self.observer = observer
        self._messages = [
            image_message(cv2.resize(frame.read(), size)) for frame in read_source(DUSK)[:8]
        ]
        self._published = 0
        self.calls: list[float] = []
        self._client = observer.create_client(GetParameters, 'vpr_node/get_parameters')
        observer.create_timer(1.0, self._call)

    def _call(self) -> None:
        """Ask for a parameter, as an operator would, and note how long that takes."""
        if self._client.service_is_ready():
            started = time.perf_counter()
            future = self._client.call_async(GetParameters.Request(names=['top_k']))
            future.add_done_callback(lambda _: self.calls.append(time.perf_counter() - started))

    def run(self, seconds: float, hz: float) -> list[int]:
        """Publish for so long; the stamps in ns of what was published."""
        clock, published = self.observer.get_clock(), []
        end = due = time.perf_counter()
        end += seconds
        while (now := time.perf_counter()) < end:
            if hz and now >= due:
                due = max(due + 1.0 / hz, now)
                message = self._messages[self._published % len(self._messages)]
                self._published += 1
                stamp = clock.now()
                message.header.stamp = stamp.to_msg()
                published.append(stamp.nanoseconds)
                self.observer.publish(message)
            else:
                self.observer.check()
                time.sleep(max(0.0, min(due - now, 0.05) if hz else 0.05))
        return published


def node_cpu_s(pid: int) -> np.ndarray:
    """CPU time of a node so far in s: all of it, and its receiving threads alone."""
    receiving = threads_cpu_s(pid, lambda n: n in ('main', 'receiver') or n.startswith('dds.'))
    return np.array([cpu_s(pid), receiving])


def measure(size: tuple[int, int], hz: float, seconds: float, threads: int) -> None:
    """Run and print."""
    with tempfile.TemporaryDirectory() as folder, ros_session([]):
        parameters = {'map_path': build_town_map(Path(folder)), 'num_threads': threads}
        with observed_node(False, parameters) as (observer, node):
            observer.wait_until_active()
            load = Load(observer, size)
            load.run(_WARM_S, hz)
            load.calls.clear()
            before, first = node_cpu_s(node.pid), resident_mib(node.pid)
            started = time.perf_counter()
            sent = load.run(seconds, hz)
            load.run(0.5, 0.0)  # the last answer
            wall = time.perf_counter() - started
            spent, last = node_cpu_s(node.pid) - before, resident_mib(node.pid)
            calls = load.calls.copy()
        print(f'{size[0]} x {size[1]}, {hz:g} Hz for {wall:.0f} s: {len(sent)} sent')
        print(f'CPU of the node: {100 * spent[0] / wall:.1f} % of a core')
        growth = 100 * (last / first - 1)
        print(f'memory: {first:.0f} MiB, at the end {last:.0f} MiB ({growth:+.1f} %)')
        if sent:
            receiving = report(observer, sent, calls, wall, spent)
            reference = bare_ms(size, hz)
            print(
                f'a subscriber that does nothing: {reference:.1f} ms an image, '
                f'{reference / receiving:.2f} times what receiving costs the node'
            )


def bare_ms(size: tuple[int, int], hz: float) -> float:
    """CPU time that the reference needs for an image, in ms."""
    topics = NodeTopics('/reference', '/reference/image', '/reference/place')
    command = [sys.executable, '-m', 'tools.bench.node_load', '--bare', topics.image]
    with (
        child_process('the reference', command) as process,
        contextlib.closing(Observer(topics, check_node=process.check)) as observer,
    ):
        observer.wait_for_subscriber(DISCOVERY_S, observer.check)
        load = Load(observer, size)
        load.run(_WARM_S, hz)
        before = cpu_s(process.pid)
        sent = load.run(3 * _WARM_S, hz)
        return 1000 * (cpu_s(process.pid) - before) / len(sent)


def listen(topic: str) -> None:
    """The reference: a node with nothing but a subscription, in rclpy's own executor."""
    with contextlib.suppress(KeyboardInterrupt, ExternalShutdownException):
        rclpy.init()
        node = rclpy.create_node('listener')
        node.create_subscription(Image, topic, lambda _: None, QoSProfile(depth=1))
        rclpy.spin(node)


def report(
    observer: Observer, sent: list[int], calls: list[float], wall: float, spent: np.ndarray
) -> float:
    """Print what was answered, how fast, and what that cost beside decoding and inference.

    `spent`: see `node_cpu_s`. Returns the milliseconds of CPU time that receiving an image cost.
    """
    latencies = [observer.answer_to(stamp).seconds for stamp in sent if stamp in observer.answers]
    if not latencies:
        raise VprError('the node has answered none of the images')
    twice, count = len(observer.repeated.intersection(sent)), len(latencies)
    p50, p95, p99 = 1000 * np.percentile(latencies, (50, 95, 99))
    print(f'{count} answered ({count / wall:.1f} a second), {twice} of them more than once')
    print(
        f'sent → answered: p50 {p50:.1f} ms, p95 {p95:.1f} ms ({p95 / p50:.2f} times), '
        f'p99 {p99:.1f} ms'
    )
    called = 1000 * np.array(calls)
    print(
        f'{len(called)} parameters asked for: p50 {np.median(called):.1f} ms, '
        f'most {called.max():.1f}'
    )
    stages = (observer.diagnostics[f'{name} p50 ms'] for name in ('decode', 'verify', 'rest'))
    decode, verify, rest = map(float, stages)
    whole, receive = 1000 * spent / count
    print(
        f'CPU an image: {whole:.1f} ms; receiving {receive:.1f}, decoding {decode:.1f}, '
        f'embedding {whole - receive - decode - verify - rest:.1f}, verifying {verify:.1f}, '
        f'rest {rest:.1f}: '
        f'{100 * (receive + rest) / whole:.1f} % outside of decoding and inference'
    )
    return receive


def image_size(text: str) -> tuple[int, int]:
    """Type of an argument: WIDTHxHEIGHT in pixels, each from 1 on."""
    width, _, height = text.partition('x')
    try:
        return positive_count(width), positive_count(height)
    except argparse.ArgumentTypeError as error:
        raise argparse.ArgumentTypeError(f'"{text}" is not a size such as 640x480') from error


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    add(
        '--size',
        type=image_size,
        default='1920x1080',
        help='WIDTHxHEIGHT of the images in pixels (default: %(default)s)',
    )
    add(
        '--hz',
        type=not_negative,
        default=30.0,
        help='images per second; 0: none (default: %(default)g)',
    )
    add('--minutes', type=positive, default=1.0, help='how long to measure (default: %(default)g)')
    add(
        '--threads',
        type=count,
        default=0,
        help="threads of the node's network; 0: one for each core (default: %(default)d)",
    )
    add('--bare', metavar='TOPIC', help='run only the reference subscriber, on TOPIC')
    args = parser.parse_args(argv)
    if args.bare:
        listen(args.bare)
        return 0
    measure(args.size, args.hz, 60 * args.minutes, args.threads)
    return 0


if __name__ == '__main__':
    run_command(main)

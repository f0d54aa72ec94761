# SPDX-License-Identifier: Apache-2.0
"""The recorder of trials under load: messages sent and recorded, CPU, memory, MB/s.

    python -m tools.bench.trial_recording                  # 30 minutes of a drive in 3
    python -m tools.bench.trial_recording --camera raw --minutes 2 --speed 1

The robot is this process, the recorder another. A minute of a drive are 600 images (compressed:
60 kB, raw: 640 x 480 in colour), 3000 odometry messages and 300 fixes; `--speed` says how many
times faster than in a drive they come. That is harder than the drive itself in all but time: what
grows with time alone is not seen. The publishers are reliable and keep what they send in one
second of the drive's time. The bag is read back, and every message looked for in it.
"""

from __future__ import annotations

import contextlib
import os
import struct
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from nav_msgs.msg import Odometry
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CompressedImage, Image, NavSatFix

from ashtkd_ros.bags.bag import Bag
from ashtkd_ros.cli.arguments import positive
from ashtkd_ros.cli.child_process import ChildProcess, child_process
from ashtkd_ros.cli.command import make_parser, run_command
from ashtkd_ros.errors import VprError
from ashtkd_ros.ros.session import end_on_signal, ros_session
from tools.process_usage import cpu_s, resident_mib

CAMERA, ODOMETRY, FIX = '/bench/image', '/bench/odom', '/bench/fix'
HZ = {CAMERA: 10.0, ODOMETRY: 50.0, FIX: 5.0}
_WARM, _SAMPLES = 0.1, 5  # share of the run after which memory counts; samples at each end
_STAMP = struct.Struct('<iI')  # of a serialised message with a header, after 4 bytes


class Robot(Node):
    """Publishes the topics so many times faster than HZ says, each message with its number."""

    def __init__(self, camera: str, speed: float):
        super().__init__('bench_robot')
        image = Image(height=480, width=640, encoding='rgb8', step=1920)
        image.data.frombytes(os.urandom(480 * 1920))
        if camera == 'compressed':
            image = CompressedImage(format='jpeg')
            image.data.frombytes(os.urandom(60_000))
        messages = {CAMERA: image, ODOMETRY: Odometry(), FIX: NavSatFix()}
        self._speed = speed
        self._data = {t: bytearray(serialize_message(m)) for t, m in messages.items()}
        self._publishers_of = {
            topic: self.create_publisher(type(m), topic, QoSProfile(depth=int(HZ[topic] * speed)))
            for topic, m in messages.items()
        }
        self.sent: Counter[str] = Counter()

    def close(self) -> None:
        """Leave the graph."""
        self.destroy_node()

    def wait_for_recorder(self, recorder: ChildProcess) -> None:
        """Return when all topics are recorded; VprError where the recorder ends."""
        while not all(p.get_subscription_count() for p in self._publishers_of.values()):
            recorder.check()
            end_on_signal()
            time.sleep(0.1)

    def drive(self, seconds: float) -> Iterator[float]:
        """Publish for so long; the time so far, about ten times a second."""
        begun = told = time.perf_counter()
        while (now := time.perf_counter()) < begun + seconds:
            for topic, hz in HZ.items():
                if self.sent[topic] < (now - begun) * hz * self._speed:
                    self._send(topic)
            if now >= told + 0.1:
                told = now
                end_on_signal()
                yield now - begun
            due = min((n + 1) / (HZ[t] * self._speed) for t, n in self.sent.items())
            time.sleep(min(0.01, max(0.0, begun + due - time.perf_counter())))

    def _send(self, topic: str) -> None:
        number, data = self.sent[topic], self._data[topic]
        _STAMP.pack_into(data, 4, *divmod(number, 10**9))
        self._publishers_of[topic].publish(bytes(data))
        self.sent[topic] += 1


@dataclass
class Usage:
    """What the recorder used: `memory`, (seconds, MiB)."""

    memory: list[tuple[float, float]] = field(default_factory=list)
    cpu_s: float = 0.0
    wall_s: float = 0.0

    def growth(self) -> tuple[float, float]:
        """Mean memory in MiB after the first tenth of the run, and at its end."""
        warm = [m for t, m in self.memory if t >= _WARM * self.wall_s]
        first, last = warm[:_SAMPLES], warm[-_SAMPLES:]
        return sum(first) / len(first), sum(last) / len(last)


def record(bag: Path, camera: str, minutes: float, speed: float) -> tuple[Counter[str], Usage]:
    """Drive, and have it recorded; the messages sent of each topic, and what that took."""
    command = [sys.executable, '-m', 'ashtkd_ros.ros.trial.recorder', '-o', str(bag), *HZ]
    usage = Usage()
    with (
        child_process('trial_recorder', command, end_s=60.0) as recorder,
        contextlib.closing(Robot(camera, speed)) as robot,
    ):
        robot.wait_for_recorder(recorder)
        before, told = cpu_s(recorder.pid), -1.0
        for usage.wall_s in robot.drive(60.0 * minutes / speed):
            if usage.wall_s >= told + 1.0:
                told = usage.wall_s
                recorder.check()
                usage.memory.append((told, resident_mib(recorder.pid)))
        usage.cpu_s = cpu_s(recorder.pid) - before
        time.sleep(2.0)  # what is on its way
        sent = robot.sent.copy()
        recorder.end(60.0)
        if recorder.process.returncode:
            raise recorder.failure()
        print('\n'.join(recorder.lines()[-2:]))
    return sent, usage


def recorded(path: Path) -> tuple[Counter[str], Counter[str]]:
    """Different messages of each topic in the bag, and how many came twice."""
    numbers: dict[str, Counter[tuple]] = {topic: Counter() for topic in HZ}
    with contextlib.closing(Bag(path)) as bag:
        for topic, _, data in bag.serialized(list(HZ)):
            numbers[topic][_STAMP.unpack_from(data, 4)] += 1
        if bag.notes:
            raise VprError(f'{path}: {bag.notes[0]}')
    found = Counter({topic: len(n) for topic, n in numbers.items()})
    return found, Counter({topic: n.total() - len(n) for topic, n in numbers.items()})


def report(sent: Counter[str], bag: Path, usage: Usage) -> None:
    """Print what came of it."""
    found, twice = recorded(bag)
    for topic, number in sent.items():
        print(
            f'{topic}: {number} sent, {found[topic]} recorded, {number - found[topic]} lost, '
            f'{twice[topic]} twice'
        )
    size = sum(file.stat().st_size for file in bag.glob('*.mcap')) / 1e6
    first, last = usage.growth()
    print(f'{size:.0f} MB in {usage.wall_s:.0f} s: {size / usage.wall_s:.1f} MB/s')
    print(f'CPU of the recorder: {100 * usage.cpu_s / usage.wall_s:.1f} % of a core')
    print(
        f'memory: {first:.1f} MiB, at the end {last:.1f} MiB ({100 * (last / first - 1):+.1f} %)'
    )


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    add('--camera', choices=('compressed', 'raw'), default='compressed', help='kind of images')
    text = 'minutes of the drive (default: %(default)g)'
    add('--minutes', type=positive, default=30.0, help=text)
    text = 'how many times faster than the drive (default: %(default)g)'
    add('--speed', type=positive, default=10.0, help=text)
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix='trial_recording_') as folder:
        bag = Path(folder) / 'bag'
        with ros_session([]):
            sent, usage = record(bag, args.camera, args.minutes, args.speed)
        print(f'{args.minutes:g} minutes of a drive, {args.speed:g} times as fast, {args.camera}')
        report(sent, bag, usage)
    return 0


if __name__ == '__main__':
    run_command(main)

# SPDX-License-Identifier: Apache-2.0
"""Play a rosbag or a folder through a vpr_node, and write down what it answers.

The node is started for it, with every candidate wanted, unless --node names one that runs.

example: ros2 run ashtkd_ros live ~/maps/campus tuesday.mcap -o answers.json --rate 2
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node, NodeNameNonExistentError
from rclpy.qos import QoSProfile
from rclpy.utilities import remove_ros_args
from sensor_msgs.msg import CompressedImage, Image
from vision_msgs.msg import Classification

from ashtkd_ros.bags import COMPRESSED_TYPE, IMAGE_TYPE
from ashtkd_ros.commands import make_parser, run_command
from ashtkd_ros.errors import VprError
from ashtkd_ros.evaluation import RECALL_AT
from ashtkd_ros.ros.guards import session
from ashtkd_ros.ros.replay import (
    Camera,
    Folder,
    Recording,
    add_source_options,
    open_source,
    play,
)

SCHEMA_VERSION = 1
PLAYERS = ('auto', 'own', 'ros2')
_PLACE_TYPE = 'vision_msgs/msg/Classification'
_START_S, _FIND_S, _QUIET_S, _END_S = 120.0, 30.0, 5.0, 3.0
Stamp = tuple[int, int]


@dataclass(frozen=True)
class Child:
    """A process that is running; its output is looked at only when it fails."""

    name: str
    process: subprocess.Popen
    output: BinaryIO

    def failure(self) -> VprError:
        """That it has ended, and the last that it said."""
        self.output.seek(0)
        lines = self.output.read().decode(errors='replace').strip().splitlines()
        last = lines[-1] if lines else 'it said nothing; was it killed, for memory say?'
        said = re.sub(r'^error: |^\[\w+\] \[[\d.]+\] \[[^]]*\]: ', '', last)
        return VprError(f'{self.name} ended with status {self.process.returncode}: {said}')


@contextlib.contextmanager
def running(name: str, command: list[str]) -> Iterator[Child]:
    """A process for the time of a `with`; at its end it is told to end, and has ended."""
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            yield Child(name, process, output)
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
            try:
                process.wait(_END_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


class Observer(Camera):
    """The camera that a node sees, and the listener to its answers, which has its own thread.

    `sent` and `answers` are by stamp, the first of each: seconds of a clock, and the message with
    the seconds of its arrival. `node`: values of the node's last diagnostics. `any_stamp`: answers
    to what somebody else has sent count as well.
    """

    def __init__(self, compressed: bool, topic: str, place: str, name: str, namespace: str = ''):
        super().__init__(compressed, topic=topic, namespace=namespace)
        self.sent: dict[Stamp, float] = {}
        self.answers: dict[Stamp, tuple[Classification, float]] = {}
        self.node: dict[str, str] = {}
        self.any_stamp = False
        self._status_name, self._status_text = f'{name}: place recognition', ''
        # In this order: a node whose diagnostics are heard has learnt of both subscriptions.
        hear = self.create_subscription
        self._place = hear(Classification, place, self._hear, QoSProfile(depth=1000)).topic_name
        hear(DiagnosticArray, '/diagnostics', self._keep_status, 10)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self)
        self._closed = False
        self._thread = threading.Thread(target=self._listen, name='listener', daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        try:
            while not self._closed:
                self._executor.spin_once(timeout_sec=0.1)
        except (ExternalShutdownException, RuntimeError):  # the signal that ends everything
            if rclpy.ok():
                raise

    def _hear(self, place: Classification) -> None:
        now, stamp = time.perf_counter(), stamp_of(place)
        if self.any_stamp or stamp in self.sent:
            self.answers.setdefault(stamp, (place, now))

    def _keep_status(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name == self._status_name:
                self._status_text = status.message
                self.node = {pair.key: pair.value for pair in status.values}

    def publish(self, message: Image | CompressedImage | bytes) -> None:
        """Send one message and note when."""
        self.sent.setdefault(stamp_of(message), time.perf_counter())
        super().publish(message)

    def wait_until_active(self, watch: Callable[[], None]) -> None:
        """Return when images reach the node and its answers reach us.

        VprError with the node's own reason where it is not active.
        """
        name = self._status_name.split(':')[0]
        if not _wait_for(lambda: self.node, _START_S, watch):
            raise VprError(f'{name} tells nothing on /diagnostics; does it run in this domain?')
        if self.node['state'] != 'active':
            raise VprError(f'{name} is {self.node["state"]}: {self._status_text}')
        self.wait_for_subscriber(_FIND_S)
        if not _wait_for(lambda: self.count_publishers(self._place), _FIND_S, watch):
            raise VprError(f'{name} offers no {self._place}')

    def wait_for_answers(self, count: int, watch: Callable[[], None]) -> None:
        """Return when `count` answers are there, or none has come for a while.

        The node's diagnostics then tell of all of them.
        """
        heard, since = 0, time.monotonic()

        def ended() -> bool:
            nonlocal heard, since
            if len(self.answers) > heard:
                heard, since = len(self.answers), time.monotonic()
            return heard >= count or time.monotonic() > since + _QUIET_S

        _wait_for(ended, math.inf, watch)
        self.node, before = {}, self.node
        _wait_for(lambda: int(self.node.get('places published', -1)) >= heard, _QUIET_S, watch)
        self.node = self.node or before

    def close(self) -> None:
        """End the listening."""
        self._closed = True
        self._thread.join()
        self._executor.shutdown()


def _wait_for(condition: Callable[[], object], timeout_s: float, watch: Callable[[], None]):
    """What `condition` returned last: something true, or `timeout_s` are over."""
    end = time.monotonic() + timeout_s
    while not (value := condition()) and time.monotonic() < end:
        watch()
        time.sleep(0.01)
    return value


def stamp_of(message: Image | CompressedImage | Classification | bytes) -> Stamp:
    """Seconds and nanoseconds of a message's header, serialized (CDR) or not."""
    if not isinstance(message, bytes):
        return message.header.stamp.sec, message.header.stamp.nanosec
    if len(message) < 12:
        raise VprError(f'a message of {len(message)} bytes is no image; the bag is damaged')
    return struct.unpack_from('<iI' if message[1] & 1 else '>iI', message, 4)


@contextlib.contextmanager
def own_node(
    args: argparse.Namespace, compressed: bool
) -> Iterator[tuple[Observer, Callable[[], None]]]:
    """A node of our own, which has learnt of its observer; what to call to see that it lives."""
    namespace = f'/replay_{os.getpid()}'
    transport = 'compressed' if compressed else 'raw'
    parameters = {'map_path': str(args.map), 'image_transport': transport}
    parameters |= {'min_confidence': 0.0, 'top_k': max(RECALL_AT)}
    if args.model:
        parameters['model_path'] = str(args.model)
    command = [sys.executable, '-m', 'ashtkd_ros.ros.vpr_node', '--ros-args']
    command += ['--log-level', 'warn', '-r', f'__ns:={namespace}']
    for name, value in parameters.items():  # in YAML, of which JSON is a part
        command += ['-p', f'{name}:={json.dumps(value, ensure_ascii=False)}']
    names = 'image', 'vpr_node/place', f'{namespace}/vpr_node'
    with (
        contextlib.closing(Observer(compressed, *names, namespace)) as observer,
        running('vpr_node', command) as node,
    ):

        def watch() -> None:
            _end_on_signal()
            if node.process.poll() is not None:
                raise node.failure()

        yield observer, watch


@contextlib.contextmanager
def running_node(
    args: argparse.Namespace, compressed: bool
) -> Iterator[tuple[Observer, Callable[[], None]]]:
    """As `own_node`, of the node that runs already; its topics may be remapped."""
    name = '/' + args.node.lstrip('/')
    topics = _topics_of(name, compressed)
    with contextlib.closing(Observer(compressed, *topics, name)) as observer:
        yield observer, _end_on_signal


def _topics_of(name: str, compressed: bool) -> tuple[str, str]:
    """The topics that a node takes images on and answers on."""
    namespace, _, base = name.rpartition('/')
    at = base, namespace or '/'
    kind = COMPRESSED_TYPE if compressed else IMAGE_TYPE
    graph, found = Node('live'), {}

    def look() -> bool:
        with contextlib.suppress(NodeNameNonExistentError):
            for topic, kinds in (
                *graph.get_subscriber_names_and_types_by_node(*at),
                *graph.get_publisher_names_and_types_by_node(*at),
            ):
                found.update(dict.fromkeys(kinds, topic))
        return {kind, _PLACE_TYPE} <= found.keys()

    try:
        if _wait_for(look, _FIND_S, _end_on_signal):
            return found[kind], found[_PLACE_TYPE]
    finally:
        graph.destroy_node()
    if not found:
        raise VprError(f'no node {name} is there; "ros2 node list" tells the names')
    kind = kind.rpartition('/')[2]
    raise VprError(f'{name} takes no {kind}; is it active, and image_transport the right one?')


def _end_on_signal() -> None:
    if not rclpy.ok():
        raise KeyboardInterrupt


def choose_player(wanted: str, source: Folder | Recording) -> str:
    """'ros2' where `ros2 bag play` is there and can play the source, else 'own'.

    VprError where it cannot and is `wanted`.
    """
    reason = ''
    if not isinstance(source, Recording) or source.bag.is_ros1 or not source.path.is_dir():
        reason = f'{source.path}: only the folder of a ROS 2 bag can be played by ros2'
    elif source.hz:
        reason = f'{source.path}: ros2 bag play knows no --hz; use --rate'
    elif wanted != 'own' and not _has_ros2_bag():
        reason = '"ros2 bag play" does not work here; use --player own'
    if wanted == 'ros2' and reason:
        raise VprError(reason)
    return 'own' if reason or wanted == 'own' else 'ros2'


def _has_ros2_bag() -> bool:
    if not shutil.which('ros2'):
        return False
    return not subprocess.run(['ros2', 'bag', 'play', '--help'], capture_output=True).returncode


def play_with_ros2(
    source: Recording, image_topic: str, rate: float, watch: Callable[[], None]
) -> int:
    """As `play`, by `ros2 bag play`, its options those of Humble, Jazzy and Kilted alike."""
    topic = source.topic.name
    with tempfile.NamedTemporaryFile('w', suffix='.yaml') as qos:
        # As recorded it would be best effort for most cameras, which loses large images.
        json.dump({topic: {'reliability': 'reliable', 'depth': 5}}, qos)
        qos.flush()
        command = ['ros2', 'bag', 'play', str(source.path), '--rate', str(rate)]
        command += ['--topics', topic, '--remap', f'{topic}:={image_topic}']
        command += ['--qos-profile-overrides-path', qos.name, '--disable-keyboard-controls']
        # It waits for no subscriber, leaves before all is heard, reads a thousand images ahead.
        command += ['--delay', '2', '--wait-for-all-acked', '2000']
        command += ['--read-ahead-queue-size', '20']
        with running('ros2 bag play', command) as player:
            while player.process.poll() is None:
                watch()
                time.sleep(0.02)
            if player.process.returncode:
                raise player.failure()
    return source.topic.count


def record(args: argparse.Namespace, source: Folder | Recording, player: str) -> dict[str, object]:
    """Play the source through the node; what the file of answers holds."""
    node = running_node if args.node else own_node
    with node(args, source.compressed) as (observer, watch):
        observer.wait_until_active(watch)
        if player == 'ros2':
            observer.any_stamp = True
            sent = play_with_ros2(source, observer.topic, args.rate, watch)
        else:
            play(observer, source, args.rate, watch)
            sent = len(observer.sent)
        observer.wait_for_answers(sent, watch)
    return {
        'schema_version': SCHEMA_VERSION,
        'sent': sent,
        'rate': args.rate,
        'source': str(source.path.resolve()),
        'map': str(args.map.resolve()),
        'node': observer.node,
        'answers': [_answer(observer, stamp) for stamp in sorted(observer.answers)],
    }


def _answer(observer: Observer, stamp: Stamp) -> dict[str, object]:
    place, heard = observer.answers[stamp]
    sent = observer.sent.get(stamp)
    return {
        'stamp': stamp[0] + stamp[1] * 1e-9,
        'places': [int(result.class_id) for result in place.results],
        'scores': [result.score for result in place.results],
        'seconds': None if sent is None else heard - sent,
    }


def write_answers(path: Path, answers: dict[str, object]) -> None:
    """Write the file as a whole or not at all; VprError where it cannot be written."""
    new = path.with_name(f'.{path.name}.{os.getpid()}.new')
    try:
        new.write_text(json.dumps(answers) + '\n', encoding='utf-8')
        os.replace(new, path)
    except OSError as error:
        new.unlink(missing_ok=True)
        raise VprError(f'{path}: could not be written ({error.strerror})') from error


def main(argv: list[str] | None = None) -> None:
    """Command line."""
    argv = sys.argv if argv is None else ['live', *argv]
    parser = make_parser(__doc__)
    parser.add_argument('map', type=Path, help='folder made by build_map')
    add_source_options(parser)
    parser.add_argument('-o', '--out', type=Path, required=True, help='file of answers (JSON)')
    parser.add_argument('--model', type=Path, help='network (.onnx); default: the shipped student')
    parser.add_argument('--node', default='', help='full name of a node that runs already')
    parser.add_argument('--player', choices=PLAYERS, default='auto', help='who plays a bag')
    args = parser.parse_args(remove_ros_args(argv)[1:])

    def command() -> int:
        if args.node and args.model:
            raise VprError('--model is for a node that is started; leave it or --node out')
        if not args.out.resolve().parent.is_dir():
            raise VprError(f'{args.out}: its folder is not there; make it first')
        source, answers = open_source(args), None
        player = choose_player(args.player, source)
        with session(argv):
            answers = record(args, source, player)
        if answers is None:  # a signal came amid a call of rclpy
            raise KeyboardInterrupt
        write_answers(args.out, answers)
        print(f'{len(answers["answers"])} answers to {answers["sent"]} images: {args.out}')
        return 0

    run_command(command)


if __name__ == '__main__':
    main()

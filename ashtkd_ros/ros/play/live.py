# SPDX-License-Identifier: Apache-2.0
"""Play a rosbag or a folder through a vpr_node, and write down what it answers.

The node is started for it, with every candidate wanted, unless --node names one that runs.

example: ros2 run ashtkd_ros live ~/maps/campus tuesday.mcap -o answers.json --rate 2
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import rclpy
from rclpy.node import Node, NodeNameNonExistentError

from ashtkd_ros.bags.bag import COMPRESSED_TYPE, IMAGE_TYPE
from ashtkd_ros.cli.command import make_parser, run_command
from ashtkd_ros.cli.terminal import say
from ashtkd_ros.errors import VprError
from ashtkd_ros.evaluation.machine import measured_on
from ashtkd_ros.evaluation.metrics import RECALL_AT
from ashtkd_ros.evaluation.node_answers import SCHEMA_VERSION, check_answers
from ashtkd_ros.files.writing import check_output, write_text
from ashtkd_ros.maps.map_files import map_checksum
from ashtkd_ros.maps.place_map import PlaceMap
from ashtkd_ros.ros.play.message_stamps import Stamp
from ashtkd_ros.ros.play.observer import FIND_S, Observer, wait_for
from ashtkd_ros.ros.play.players import play
from ashtkd_ros.ros.play.replay import (
    add_source_options,
    open_playback,
    own_arguments,
)
from ashtkd_ros.ros.session import ros_session
from ashtkd_ros.stamps import NS_PER_S
from ashtkd_ros.traverses.traverse import Playback

PLAYERS = ('auto', 'own', 'ros2')
_PLACE_TYPE = 'vision_msgs/msg/Classification'
_END_S = 3.0
_TELL_S = 10.0


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
    command = [sys.executable, '-m', 'ashtkd_ros.ros.node.vpr_node', '--ros-args']
    command += ['--log-level', 'warn', '-r', f'__ns:={namespace}']
    for name, value in parameters.items():  # in YAML, of which JSON is a part
        command += ['-p', f'{name}:={json.dumps(value, ensure_ascii=False)}']
    image = 'image/compressed' if compressed else 'image'
    names = image, 'vpr_node/place', f'{namespace}/vpr_node'
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
        if wait_for(look, FIND_S, _end_on_signal):
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


def choose_player(wanted: str, source: Playback) -> str:
    """'ros2' where `ros2 bag play` is there and can play the source, else 'own'.

    VprError where it cannot and is `wanted`.
    """
    reason = ''
    if not source.ros2_topic:
        reason = f'{source.path}: only the folder of a ROS 2 bag can be played by ros2'
    elif source.hz:
        reason = f'{source.path}: ros2 bag play knows no --hz; use --rate'
    elif wanted == 'auto' and source.traverse.notes:  # it may read less of it, or nothing
        reason = f'{source.path}: {source.traverse.notes[0]}'
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
    source: Playback, image_topic: str, rate: float, watch: Callable[[], None]
) -> int:
    """As `play`, by `ros2 bag play`, its options those of Humble, Jazzy and Kilted alike."""
    topic = source.ros2_topic
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
    return source.traverse.count


def check_stamps(source: Playback) -> int:
    """How many images will be played; VprError where their stamps do not tell them apart.

    An answer bears the stamp of its image, and nothing else to know that by.
    """
    stamps = Counter(source.stamps())
    count = stamps.total()
    zero = stamps[0] if source.zero_is_unset else 0
    shared = sum(n for n in stamps.values() if n > 1)
    if zero or shared:
        what = f'{zero} of {count} images have stamp zero'
        if not zero:
            what = f'{shared} of {count} images share their stamp with another'
        raise VprError(f'{source.path}: {what}; evaluate offline, without the node')
    return count


def check_served(name: str, node: Mapping[str, str], folder: Path) -> None:
    """VprError where the diagnostics of a node tell of another map than the one in `folder`."""
    served, places = node.get('places in map'), len(PlaceMap.load(folder).places)
    if served != str(places):
        raise VprError(
            f'{name} serves {node.get("map")} of {served} places, {folder} has {places}; '
            'name the map that it serves'
        )


def record(args: argparse.Namespace, source: Playback, player: str) -> dict[str, object]:
    """Play the source through the node; what the file of answers holds."""
    checksum, count = map_checksum(args.map), check_stamps(source)
    node = running_node if args.node else own_node
    with node(args, source.compressed) as (observer, watch):
        observer.wait_until_active(watch)
        if args.node:
            check_served(args.node, observer.node, args.map)
        watch = _telling(observer, count, watch)
        if player == 'ros2':
            observer.any_stamp = True
            sent = play_with_ros2(source, observer.topic, args.rate, watch)
        else:
            sent = play(observer, source, args.rate, watch)
        observer.wait_for_answers(sent, watch)
    return {
        'schema_version': SCHEMA_VERSION,
        'sent': sent,
        'rate': args.rate,
        'hz': source.hz,
        'source': str(source.path.resolve()),
        'map': str(args.map.resolve()),
        'map_sha256': checksum,
        'node': observer.node,
        'machine': measured_on(),
        'answers': [_answer(observer, stamp) for stamp in sorted(observer.answers)],
    }


def _telling(observer: Observer, count: int, watch: Callable[[], None]) -> Callable[[], None]:
    """`watch`, which now and then prints how far things are."""
    told = time.monotonic()

    def watch_and_tell() -> None:
        nonlocal told
        watch()
        if time.monotonic() >= told + _TELL_S:
            told = time.monotonic()
            say(f'{len(observer.answers)} of {count} images answered')

    return watch_and_tell


def _answer(observer: Observer, stamp: Stamp) -> dict[str, object]:
    place, heard = observer.answers[stamp]
    sent = observer.sent.get(stamp)
    return {
        'stamp_ns': stamp[0] * NS_PER_S + stamp[1],
        'places': [int(result.class_id) for result in place.results],
        'scores': [result.score for result in place.results],
        'seconds': None if sent is None else heard - sent,
    }


def write_answers(path: Path, answers: dict[str, object]) -> None:
    """Write the file as a whole or not at all; VprError where it cannot be written."""
    try:
        write_text(path, json.dumps(answers) + '\n')
    except OSError as error:
        raise VprError(f'{path}: cannot be written ({error.strerror})') from error


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
    args = parser.parse_args(own_arguments(argv))

    def command() -> int:
        if args.node and args.model:
            raise VprError('--model is for a node that is started; leave it or --node out')
        source, answers = open_playback(args), None
        player = choose_player(args.player, source)
        check_output(args.out)
        check_answers(args.out)
        with ros_session(argv):
            answers = record(args, source, player)
        if answers is None:  # a signal came amid a call of rclpy
            raise KeyboardInterrupt
        write_answers(args.out, answers)
        say(f'{len(answers["answers"])} answers to {answers["sent"]} images: {args.out}')
        return 0

    run_command(command)


if __name__ == '__main__':
    main()

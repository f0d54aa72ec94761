# SPDX-License-Identifier: Apache-2.0
"""The whole product once: map of walk 1, the node as its own process, walk 2 as camera images.

make demo                 the rendered walks in test/data/town
make demo DATA=folder     your photos: an index.csv with roles, or two walks map/ and query/
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from vision_msgs.msg import Classification

from ashtkd_ros.cli.command import run_command
from ashtkd_ros.commands.evaluate import add_tolerance_options, tolerance_of
from ashtkd_ros.errors import VprError
from ashtkd_ros.evaluation.metrics import RECALL_AT, Metrics, Tolerance, positives
from ashtkd_ros.evaluation.report import Evaluation, Timing, Traffic, write_picture, write_report
from ashtkd_ros.evaluation.run import (
    SINGLE,
    EvaluationOptions,
    Queries,
    Replies,
    evaluate_traverse,
    needs_poses,
)
from ashtkd_ros.evaluation.salient_pictures import overlay
from ashtkd_ros.mapping.build import MapOptions, build_map
from ashtkd_ros.maps.place_map import PlaceMap, place_spacing
from ashtkd_ros.maps.place_pictures import PlacePictures
from ashtkd_ros.network.embedder import Embedder
from ashtkd_ros.network.shipped_model import shipped_model
from ashtkd_ros.ros.node.parameters import Parameters
from ashtkd_ros.ros.play.image_publisher import ImagePublisher
from ashtkd_ros.traverses.frame import Frame
from ashtkd_ros.traverses.opening import open_traverse
from ashtkd_ros.traverses.traverse import Traverse, TraverseOptions

TOWN = Path(__file__).resolve().parents[1] / 'test' / 'data' / 'town'
# Below this the node, left to itself, says "unknown"; the demo asks for the candidate even so.
TRUSTED = Parameters().min_confidence


@dataclass(frozen=True)
class Reply:
    """The node's answer to one image: candidates best first, seconds from sent to received."""

    ids: list[int]
    scores: list[float]
    seconds: float


class Observer:
    """Camera and listener in this process, the node in another."""

    def __init__(self, compressed: bool = False):
        rclpy.init()
        self.camera = ImagePublisher(compressed)
        self.received: dict[tuple[int, int], tuple[Classification, float]] = {}
        self.camera.create_subscription(Classification, 'vpr_node/place', self._hear, 10)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.camera)

    def _hear(self, place: Classification) -> None:
        stamp = place.header.stamp
        self.received[stamp.sec, stamp.nanosec] = place, time.perf_counter()

    def wait_for_node(self, timeout_s: float = 30.0) -> None:
        """Return when images reach the node and its answers reach us; VprError after a while."""
        self.camera.wait_for_subscriber(timeout_s)
        end = time.monotonic() + timeout_s
        while not self.camera.count_publishers('vpr_node/place'):
            if time.monotonic() > end:
                raise VprError('vpr_node offers no ~/place; see its messages above')
            time.sleep(0.02)
        time.sleep(0.5)  # both ends of a topic learn of each other one after the other

    def ask(self, frame: Frame, timeout_s: float = 5.0) -> Reply:
        """Publish one frame and wait for the place with its stamp; VprError when none comes."""
        message = self.camera.message(frame)
        stamp = message.header.stamp
        sent = time.perf_counter()
        self.camera.publish(message)
        while (stamp.sec, stamp.nanosec) not in self.received:
            if time.perf_counter() > sent + timeout_s:
                raise VprError(f'no place for {frame.name} in {timeout_s:.0f} s')
            self._executor.spin_once(timeout_sec=0.1)
        place, at = self.received.pop((stamp.sec, stamp.nanosec))
        ids = [int(r.class_id) for r in place.results]
        return Reply(ids, [r.score for r in place.results], at - sent)

    def close(self) -> None:
        """Leave ROS."""
        self._executor.shutdown()
        rclpy.try_shutdown()


@contextlib.contextmanager
def running_node(**parameters: str) -> Iterator[subprocess.Popen]:
    """The installed vpr_node as a process of its own, asked to stop at the end."""
    overrides = [x for name, v in parameters.items() for x in ('-p', f'{name}:={v}')]
    command = ['vpr_node', '--ros-args', '--log-level', 'warn', *overrides]
    try:
        process = subprocess.Popen(command)
    except OSError as error:
        raise VprError('vpr_node is not on the PATH; run make, then . .venv/env.sh') from error
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()


def traverses(data: Path | None) -> tuple[Traverse, Traverse]:
    """The mapping traverse and the one that asks."""

    def folder(path: Path, role: str = '') -> Traverse:
        return open_traverse(path, TraverseOptions(role=role))

    if data is None:
        return folder(TOWN / 'day'), folder(TOWN / 'dusk')
    if (data / 'index.csv').is_file():
        return folder(data, 'database'), folder(data, 'query')
    if (data / 'map').is_dir() and (data / 'query').is_dir():
        return folder(data / 'map'), folder(data / 'query')
    raise VprError(f'{data}: has neither an index.csv nor the folders map/ and query/')


def replay(observer: Observer, queries: list[Frame], place_map: PlaceMap, truth: np.ndarray):
    """Ask about every query once, in order of time, and print a line for each."""
    replies = []
    for i, frame in enumerate(queries):
        reply = observer.ask(frame)
        replies.append(reply)
        place = place_map.places[reply.ids[0]]
        verdict = 'right' if truth[i, place.id] else 'WRONG'
        doubt = '' if reply.scores[0] >= TRUSTED else '  (would be reported as unknown)'
        print(
            f'{frame.name:>16} → place {place.id:4d} ({place.source})  '
            f'confidence {reply.scores[0]:.2f}  {verdict}  {1000 * reply.seconds:5.1f} ms{doubt}',
            flush=True,
        )
    return replies


def judged(
    replies: list[Reply],
    queries: Queries,
    frames: list[Frame],
    place_map: PlaceMap,
    options: EvaluationOptions,
) -> Evaluation:
    """What the report shows."""
    answered = Replies(
        frames,
        np.array([r.ids for r in replies]),
        np.array([r.scores[0] for r in replies]),
        np.full(len(replies), np.nan),
        timing={'sent → answered': Timing.of([r.seconds for r in replies])},
        traffic=Traffic(len(frames), len(replies), 0),
    )
    where = {'Replayed': str(queries.traverse.path), 'How': 'by the node, live'}
    title = f'{queries.traverse.path.name} in map of {Path(place_map.traverses[0]["source"]).name}'
    pictures = PlacePictures(place_map)
    return evaluate_traverse(answered, place_map, pictures, queries, options, title, where)


def demo(data: Path | None, out: Path, tolerance: Tolerance, compressed: bool = False) -> Metrics:
    """Build, replay, print, report."""
    mapped, asked = traverses(data)
    embedder = Embedder(shipped_model(), num_threads=1)
    map_folder = out / 'map'
    place_map, _ = build_map([mapped], embedder, map_folder, MapOptions(replace=True))
    options = EvaluationOptions(tolerance, min_confidence=TRUSTED)
    queries = Queries(asked, needs_poses(place_map, asked, options), 0.0)
    frames = list(queries)
    truth = positives(frames, place_map.places, tolerance)
    spacing = place_spacing(place_map.places)
    apart = f', {spacing:.1f} m apart' if spacing else ''
    print(f'map: {len(place_map.places)} places{apart}, in {map_folder}')
    count = min(max(RECALL_AT), len(place_map.places))
    transport = 'compressed' if compressed else 'raw'
    observer = Observer(compressed)
    try:
        with running_node(
            map_path=map_folder, min_confidence=0.0, top_k=count, image_transport=transport
        ):
            observer.wait_for_node()
            print(f'vpr_node runs; {len(frames)} images follow as camera messages', flush=True)
            replies = replay(observer, frames, place_map, truth)
    finally:
        observer.close()
    evaluation = judged(replies, queries, frames, place_map, options)
    metrics, timing = evaluation.methods[SINGLE], evaluation.timing['sent → answered']
    print(metrics.line())
    print(
        'latency, camera message sent → place received: '
        f'p50 {timing.p50:.1f} ms, p95 {timing.p95:.1f} ms'
    )
    pictures = PlacePictures(place_map)
    write_report(
        out / 'report.html',
        evaluation,
        pictures,
        lambda image: overlay(image, embedder.salient_maps(image)),
    )
    write_picture(out / 'at_work.png', evaluation.answers, pictures)
    print(f'report: {out / "report.html"}')
    return metrics


def main(argv: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--data', type=Path, help='folder of own photos')
    parser.add_argument('-o', '--out', type=Path, default=Path('demo_output'))
    parser.add_argument('--compressed', action='store_true', help='send JPEG instead of raw')
    add_tolerance_options(parser)
    args = parser.parse_args(argv)

    def command() -> int:
        try:
            demo(args.data, args.out, tolerance_of(args), args.compressed)
        except ExternalShutdownException as error:  # SIGTERM, which rclpy takes
            raise VprError('told to end') from error
        return 0

    run_command(command)


if __name__ == '__main__':
    main()

# SPDX-License-Identifier: Apache-2.0
"""What stands at both ends of a node: the camera of its images and the listener to its answers."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import ExternalShutdownException
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CompressedImage, Image
from vision_msgs.msg import Classification

from ashtkd_ros.errors import VprError
from ashtkd_ros.evaluation.node_answers import NodeAnswer
from ashtkd_ros.ros.play.image_publisher import ImagePublisher
from ashtkd_ros.ros.play.message_stamps import stamp_ns_of
from ashtkd_ros.ros.session import QuietExecutor, end_on_signal
from ashtkd_ros.ros.status_texts import DISABLED
from ashtkd_ros.ros.threads import start_thread
from ashtkd_ros.traverses.frame import Frame

DISCOVERY_S = 30.0
_START_S, _SILENCE_S = 120.0, 5.0


@dataclass(frozen=True)
class NodeTopics:
    """Full names: of a node, of the topic it takes images from, of the topic with its answers."""

    node: str
    image: str
    place: str


class Observer(ImagePublisher):
    """Publishes a node's images and listens, in a thread of its own, to what it answers.

    `sent`: stamp of an image in ns → seconds of `time.perf_counter` when it was first sent.
    `answers`: stamp → the first answer to that image, and the seconds when it arrived.
    `repeated`: stamps of images with more than one answer.
    `diagnostics`: the values of the node's last diagnostics.
    `any_stamp`: whether answers to images that somebody else has sent count as well.
    """

    def __init__(
        self,
        topics: NodeTopics,
        compressed: bool = False,
        check_node: Callable[[], None] = lambda: None,
    ):
        """`check_node` raises VprError where the node has ended."""
        super().__init__(compressed, topic=topics.image, namespace=topics.node.rpartition('/')[0])
        self.sent: dict[int, float] = {}
        self.answers: dict[int, tuple[Classification, float]] = {}
        self.repeated: set[int] = set()
        self.diagnostics: dict[str, str] = {}
        self.any_stamp = False
        self._check_node, self._topics = check_node, topics
        self._status_text, self._arrived = '', threading.Event()
        # In this order: a node whose diagnostics are heard has learnt of both subscriptions.
        self.create_subscription(
            Classification, topics.place, self._keep_answer, QoSProfile(depth=1000)
        )
        self.create_subscription(DiagnosticArray, '/diagnostics', self._keep_status, 10)
        self._executor = QuietExecutor()
        self._executor.add_node(self)
        self._closed = False
        self._thread = start_thread('listener', self._receive_until_closed)

    def _receive_until_closed(self) -> None:
        try:
            while not self._closed:
                self._executor.spin_once(timeout_sec=0.1)
        except (ExternalShutdownException, RuntimeError):  # the signal that ends everything
            if rclpy.ok():
                raise

    def _keep_answer(self, place: Classification) -> None:
        now, stamp = time.perf_counter(), stamp_ns_of(place)
        if stamp in self.answers:
            self.repeated.add(stamp)
        elif self.any_stamp or stamp in self.sent:
            self.answers[stamp] = place, now
            self._arrived.set()

    def _keep_status(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name == f'{self._topics.node}: place recognition':
                self._status_text = status.message
                self.diagnostics = {pair.key: pair.value for pair in status.values}

    def check(self) -> None:
        """KeyboardInterrupt where a signal has come, VprError where the node has ended."""
        end_on_signal()
        self._check_node()

    def publish(self, message: Image | CompressedImage | bytes) -> None:
        """Send one message and note when."""
        self.sent.setdefault(stamp_ns_of(message), time.perf_counter())
        super().publish(message)

    def ask(self, frame: Frame, timeout_s: float = 5.0) -> NodeAnswer:
        """Send one frame and wait for its answer; VprError where none comes in time."""
        message = self.message(frame)
        stamp = stamp_ns_of(message)
        self.publish(message)
        end = time.monotonic() + timeout_s
        while stamp not in self.answers:
            self.check()
            if time.monotonic() > end:
                node = self._topics.node
                raise VprError(f'{node} has not answered {frame.name} within {timeout_s:.0f} s')
            self._arrived.wait(0.1)
            self._arrived.clear()
        return self.answer_to(stamp)

    def answer_to(self, stamp_ns: int) -> NodeAnswer:
        """The answer to the image with this stamp; VprError if its place IDs are not numbers."""
        place, heard = self.answers[stamp_ns]
        sent = self.sent.get(stamp_ns)
        try:
            places = [int(result.class_id) for result in place.results]
        except ValueError as error:
            topic = self._topics.place
            text = f'{topic}: the place IDs are not numbers; check that the node is a vpr_node'
            raise VprError(text) from error
        scores = [result.score for result in place.results]
        return NodeAnswer(places, scores, None if sent is None else heard - sent)

    def wait_until_active(self) -> None:
        """Return when images reach the node and its answers reach us.

        VprError with the node's own reason where it is not active.
        """
        name, place = self._topics.node, self._topics.place
        if not wait_for(lambda: self.diagnostics, _START_S, self.check):
            raise VprError(f'{name} sends no diagnostics; check that it runs in this ROS domain')
        if self.diagnostics['state'] != 'active':
            raise VprError(f'{name} is {self.diagnostics["state"]}: {self._status_text}')
        if self._status_text.startswith(DISABLED):
            raise VprError(f'{name} is {self._status_text}')
        self.wait_for_subscriber(DISCOVERY_S, self.check)
        if not wait_for(lambda: self.count_publishers(place), DISCOVERY_S, self.check):
            raise VprError(f'{name} does not publish {place}; check its remappings')

    def wait_for_answers(self, count: int, check: Callable[[], None] | None = None) -> None:
        """Return when `count` answers are there, or none has come for 5 s.

        The node's diagnostics then count all of them. `check`: called meanwhile in place of
        `self.check`.
        """
        heard, since = 0, time.monotonic()

        def ended() -> bool:
            nonlocal heard, since
            if len(self.answers) > heard:
                heard, since = len(self.answers), time.monotonic()
            return heard >= count or time.monotonic() > since + _SILENCE_S

        wait_for(ended, math.inf, check or self.check)
        before, self.diagnostics = self.diagnostics, {}
        wait_for(
            lambda: int(self.diagnostics.get('places published', -1)) >= heard,
            _SILENCE_S,
            check or self.check,
        )
        self.diagnostics = self.diagnostics or before

    def check_answered(self, sent: int) -> None:
        """VprError where none of so many images has been answered."""
        if sent and not self.answers:
            node, text = self._topics.node, self._status_text
            raise VprError(f'{node} has answered none of {sent} images; it says: {text}')

    def close(self) -> None:
        """End the listening."""
        self._closed = True
        self._thread.join()
        self._executor.shutdown()
        self.destroy_node()


def wait_for(
    condition: Callable[[], object], timeout_s: float, check: Callable[[], None]
) -> object:
    """Call `condition` until it is true or `timeout_s` are over. Returns what it returned last.

    `check` is called meanwhile, and ends the waiting by what it raises.
    """
    end = time.monotonic() + timeout_s
    while not (value := condition()) and time.monotonic() < end:
        check()
        time.sleep(0.01)
    return value

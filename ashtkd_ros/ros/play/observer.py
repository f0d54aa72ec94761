# SPDX-License-Identifier: Apache-2.0
"""Camera of a node and listener to its answers at once."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CompressedImage, Image
from vision_msgs.msg import Classification

from ashtkd_ros.errors import VprError
from ashtkd_ros.ros.play.image_publisher import ImagePublisher
from ashtkd_ros.ros.play.message_stamps import Stamp, stamp_of
from ashtkd_ros.ros.threads import start_thread

FIND_S = 30.0
_START_S, _QUIET_S = 120.0, 5.0


class Observer(ImagePublisher):
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
        self._thread = start_thread('listener', self._listen)

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
        if not wait_for(lambda: self.node, _START_S, watch):
            raise VprError(f'{name} tells nothing on /diagnostics; does it run in this domain?')
        if self.node['state'] != 'active':
            raise VprError(f'{name} is {self.node["state"]}: {self._status_text}')
        self.wait_for_subscriber(FIND_S)
        if not wait_for(lambda: self.count_publishers(self._place), FIND_S, watch):
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

        wait_for(ended, math.inf, watch)
        self.node, before = {}, self.node
        wait_for(lambda: int(self.node.get('places published', -1)) >= heard, _QUIET_S, watch)
        self.node = self.node or before

    def close(self) -> None:
        """End the listening."""
        self._closed = True
        self._thread.join()
        self._executor.shutdown()


def wait_for(condition: Callable[[], object], timeout_s: float, watch: Callable[[], None]):
    """What `condition` returned last: something true, or `timeout_s` are over."""
    end = time.monotonic() + timeout_s
    while not (value := condition()) and time.monotonic() < end:
        watch()
        time.sleep(0.01)
    return value

# SPDX-License-Identifier: Apache-2.0
"""Subscriptions to topics that come and go, with the quality of service that they offer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from nav_msgs.msg import Odometry
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription
from sensor_msgs.msg import BatteryState, CompressedImage, Image, NavSatFix

from ashtkd_ros.ros.trial.offered_qos import MOST_EMPTY

IMAGES = {'sensor_msgs/msg/Image': Image, 'sensor_msgs/msg/CompressedImage': CompressedImage}
FIXES = {'sensor_msgs/msg/NavSatFix': NavSatFix}
ODOMETRY = {'nav_msgs/msg/Odometry': Odometry}
BATTERIES = {'sensor_msgs/msg/BatteryState': BatteryState}
_DEPTH = 50
_MOST_NAMES = 3  # of topics, that a line has


class LateSubscription:
    """Subscribes to a topic as soon as somebody publishes messages of one of the kinds on it.

    `receive` is called with the class and the serialized bytes of each message. It is reliable
    where every publisher is, since large images are lost otherwise, else best effort. Empty ones,
    which Fast DDS may give without end for a damaged message, are dropped.
    """

    def __init__(
        self,
        node: Node,
        topic: str,
        kinds: Mapping[str, type],
        receive: Callable[[type, bytes], Any],
    ):
        self._node, self.topic, self._kinds, self._receive = node, topic, kinds, receive
        self._subscription: Subscription | None = None
        self._empty = 0
        self._offered: tuple[type, ReliabilityPolicy] | None = None

    def look(self) -> bool:
        """Look who publishes, and subscribe accordingly; whether there is a subscription.

        To be called now and then.
        """
        infos = self._node.get_publishers_info_by_topic(self.topic)
        fitting = [info for info in infos if info.topic_type in self._kinds]
        if not fitting:
            return self._subscription is not None
        reliable = all(i.qos_profile.reliability == ReliabilityPolicy.RELIABLE for i in fitting)
        policy = ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT
        offered = self._kinds[fitting[0].topic_type], policy
        if offered != self._offered or self._empty > MOST_EMPTY:
            self._subscribe(*offered)
        return True

    def _subscribe(self, kind: type, policy: ReliabilityPolicy) -> None:
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
        self._offered, self._empty = (kind, policy), 0
        self._subscription = self._node.create_subscription(
            kind,
            self.topic,
            partial(self._hear, kind),
            QoSProfile(depth=_DEPTH, reliability=policy),
            raw=True,
        )

    def _hear(self, kind: type, data: bytes) -> None:
        if data:
            self._receive(kind, data)
        else:
            self._empty += 1

    def why_not(self) -> str:
        """Why nothing may come."""
        infos = self._node.get_publishers_info_by_topic(self.topic)
        if not infos:
            found = self._node.get_topic_names_and_types()
            others = [name for name, types in found if not self._kinds.keys().isdisjoint(types)]
            others = [name for name in others if self._node.count_publishers(name)]
            but = f', but on {" and ".join(others[:_MOST_NAMES])}' if others else ''
            return f'nobody publishes on {self.topic}{but}'
        other = [info.topic_type for info in infos if info.topic_type not in self._kinds]
        if other:
            return f'{self.topic} has messages of type {other[0]}'
        return f'{infos[0].node_name} offers {self.topic}, but sends nothing'

# SPDX-License-Identifier: Apache-2.0
"""Subscriptions that are asked a few times a second what has come, without an executor.

An executor wakes up for each message and looks through everything that a node has; for a program
that shows something a few times a second that is most of its work.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription

try:
    from rclpy.event_handler import SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import SubscriptionEventCallbacks

_MOST = 1000  # messages of a topic at once


class PolledSubscriptions:
    """Of one node; none of them is served by an executor."""

    def __init__(self, node: Node):
        self._node = node
        self._subscriptions: dict[str, tuple[Subscription, Callable[[Any], None]]] = {}
        self._made_for: dict[str, tuple] = {}

    def hear(
        self, key: str, kind: type, topic: str, receive: Callable[[Any], None], depth: int = 10
    ) -> None:
        """Have `receive` called with the messages of a topic, in place of what `key` had before.

        The subscription fits the publishers that are there: it is latched or reliable only where
        all of them are. One that exists already and fits is kept.
        """
        topic = self._node.resolve_topic_name(topic)
        qos = self._fitting(topic, depth)
        wanted = topic, qos.durability, qos.reliability
        if self._made_for.get(key) == wanted:
            return
        self.forget(key)
        events = SubscriptionEventCallbacks(use_default_callbacks=False)
        created = self._node.create_subscription(
            kind, topic, lambda _: None, qos, event_callbacks=events
        )
        self._subscriptions[key], self._made_for[key] = (created, receive), wanted

    def forget(self, key: str) -> None:
        """Hear no more of it."""
        if self._made_for.pop(key, None):
            self._node.destroy_subscription(self._subscriptions.pop(key)[0])

    def poll(self) -> None:
        """Receive what has come since the last call, topic by topic in the order of `hear`."""
        for subscription, receive in list(self._subscriptions.values()):
            with subscription.handle:
                for _ in range(_MOST):
                    taken = subscription.handle.take_message(subscription.msg_type, False)
                    if taken is None:
                        break
                    receive(taken[0])

    def _fitting(self, topic: str, depth: int) -> QoSProfile:
        found = [i.qos_profile for i in self._node.get_publishers_info_by_topic(topic)]
        qos = QoSProfile(depth=depth)
        if found and all(q.durability == DurabilityPolicy.TRANSIENT_LOCAL for q in found):
            qos.durability = DurabilityPolicy.TRANSIENT_LOCAL
        if any(q.reliability == ReliabilityPolicy.BEST_EFFORT for q in found):
            qos.reliability = ReliabilityPolicy.BEST_EFFORT
        return qos

# SPDX-License-Identifier: Apache-2.0
"""Subscribes to topics as they appear, and hands on their messages as they are, in CDR."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial

from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription
from rclpy.topic_endpoint_info import TopicEndpointInfo

from ashtkd_ros.bags.mcap_writer import RecordedTopic
from ashtkd_ros.bags.message_definitions import MessageDefinitions
from ashtkd_ros.errors import error_text
from ashtkd_ros.ros.trial.message_types import fields_of, message_class
from ashtkd_ros.ros.trial.offered_qos import MOST_EMPTY, adapted, is_heard, offers_text

try:
    from rclpy.event_handler import (
        QoSMessageLostInfo,
        SubscriptionEventCallbacks,
        UnsupportedEventTypeError,
    )
except ImportError:  # Humble
    from rclpy.qos_event import (
        QoSMessageLostInfo,
        SubscriptionEventCallbacks,
        UnsupportedEventTypeError,
    )

_DEPTH, _LARGE_DEPTH = 1000, 50  # messages that the middleware keeps for us
_JOIN_S = 2.0  # what the middleware loses then was under way before we asked for it
_LARGE = ('sensor_msgs/msg/Image', 'sensor_msgs/msg/PointCloud2')


class TopicListeners:
    """Listens to `names`, full names of topics, in callbacks of `node`; see `look`.

    `keep` is called with each message and the time in ns of the system's clock when it came;
    `count_lost` with the number of messages that the middleware says it has lost.
    """

    def __init__(
        self,
        node: Node,
        names: Sequence[str],
        keep: Callable[[RecordedTopic, int, bytes], None],
        count_lost: Callable[[int], None],
    ):
        self._node, self._names, self._keep, self._count_lost = node, names, keep, count_lost
        self._definitions = MessageDefinitions(fields_of)
        self._subscriptions: dict[str, Subscription] = {}
        self._topics: dict[str, RecordedTopic] = {}
        self._told: set[str] = set()
        self._empty: Counter[str] = Counter()

    @property
    def waiting(self) -> list[str]:
        """The topics that cannot be heard yet."""
        return [name for name in self._names if name not in self._subscriptions]

    def look(self) -> None:
        """Subscribe to what has appeared in the graph; hear publishers that came later as well."""
        for name in self._names:
            publishers = self._node.get_publishers_info_by_topic(name)
            if publishers and name in self._subscriptions:
                self._follow(name, publishers)
            elif publishers:
                self._begin(name, publishers)

    def _begin(self, name: str, publishers: Sequence[TopicEndpointInfo]) -> None:
        first = min(publishers, key=lambda p: p.topic_type)
        kind, offers = first.topic_type, self._offers(name, first.topic_type, publishers)
        if message_class(kind) is None:
            advice = 'source the workspace that has it'
            self._tell(f'{name}: NOT recorded, for {kind} is not installed here; {advice}')
            return
        definition = self._definitions.text(kind)
        if definition is None:
            self._tell(f'{name}: the definition of {kind} is not found; recorded without it')
        type_hash = str(getattr(first, 'topic_type_hash', ''))  # Humble knows none
        type_hash = type_hash if type_hash.startswith('RIHS') else ''
        self._topics[name] = RecordedTopic(name, kind, definition, offers_text(offers), type_hash)
        try:
            self._subscribe(name, offers)
        except Exception as error:  # the middleware, or the type's own library
            self._tell(f'{name}: NOT recorded ({error_text(error)})')

    def _follow(self, name: str, publishers: Sequence[TopicEndpointInfo]) -> None:
        topic = self._topics[name]
        if not (offers := self._offers(name, topic.type, publishers)):
            return
        self._topics[name] = topic._replace(qos=offers_text(offers))
        if self._empty.pop(name, 0) > MOST_EMPTY:
            why = 'the middleware gives empty messages again and again; subscribing anew'
        elif not all(is_heard(o, self._subscriptions[name].qos_profile) for o in offers):
            why = 'a publisher with another QoS has come; subscribing anew, to hear it as well'
        else:
            return
        self._node.get_logger().warning(f'{name}: {why}')
        self._node.destroy_subscription(self._subscriptions.pop(name))
        self._subscribe(name, offers)

    def _offers(
        self, name: str, kind: str, publishers: Sequence[TopicEndpointInfo]
    ) -> list[QoSProfile]:
        """What the publishers of this type offer."""
        if others := sorted({p.topic_type for p in publishers} - {kind}):
            self._tell(f'{name}: has messages of {" and ".join(others)} as well, NOT recorded')
        return [p.qos_profile for p in publishers if p.topic_type == kind]

    def _subscribe(self, name: str, offers: Sequence[QoSProfile]) -> None:
        topic = self._topics[name]
        qos = adapted(offers, _LARGE_DEPTH if topic.type in _LARGE else _DEPTH)
        subscribe = partial(
            self._node.create_subscription,
            message_class(topic.type),
            name,
            partial(self._receive, name),
            qos,
            raw=True,
        )
        quiet = partial(SubscriptionEventCallbacks, use_default_callbacks=False)
        try:
            lose = partial(self._lose, time.monotonic() + _JOIN_S)
            found = subscribe(event_callbacks=quiet(message_lost=lose))
        except UnsupportedEventTypeError:  # the middleware does not tell what it loses
            found = subscribe(event_callbacks=quiet())
        self._subscriptions[name] = found
        reliable = qos.reliability == ReliabilityPolicy.RELIABLE
        how = 'reliable' if reliable else 'best effort'
        self._node.get_logger().info(f'records {name} ({topic.type}, {how})')

    def _receive(self, name: str, data: bytes) -> None:
        if data:
            self._keep(self._topics[name], time.time_ns(), data)
        else:  # no message: Fast DDS gives a damaged one as empty, and may do so without end
            self._empty[name] += 1

    def _lose(self, from_s: float, status: QoSMessageLostInfo) -> None:
        if time.monotonic() >= from_s:
            self._count_lost(status.total_count_change)

    def _tell(self, text: str) -> None:
        """Say something once."""
        if text not in self._told:
            self._told.add(text)
            self._node.get_logger().error(text)

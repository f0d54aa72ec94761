# SPDX-License-Identifier: Apache-2.0
"""The subscription to the images: it follows what the publisher offers, and says what is wrong."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import partial

from rclpy.lifecycle import LifecycleNode
from rclpy.qos import (
    QoSCompatibility,
    QoSPolicyKind,
    QoSProfile,
    ReliabilityPolicy,
    qos_check_compatible,
)
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.subscription import Subscription
from rclpy.topic_endpoint_info import TopicEndpointInfo
from sensor_msgs.msg import CompressedImage, Image

from ashtkd_ros.errors import VprError
from ashtkd_ros.ros.node.qos_overrides import OVERRIDABLE
from ashtkd_ros.ros.node.threaded_subscription import NoExecutorGroup, SubscriptionThread
from ashtkd_ros.ros.topic_names import COMPRESSED, image_topics

try:
    from rclpy.event_handler import SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import SubscriptionEventCallbacks

_RAW_TYPE = 'sensor_msgs/msg/Image'
_COMPRESSED_TYPE = 'sensor_msgs/msg/CompressedImage'
_UNKNOWN = '_NODE_NAME_UNKNOWN_'  # what ROS calls a node that it has not discovered yet
_RELIABLE = ReliabilityPolicy.RELIABLE
_ANEW_S = 5.0  # from one subscription to the next, where the middleware gives nothing


class ImageSubscription:
    """Subscription to `image`, or to `image/compressed`.

    `receive` is called with each message in a thread of its own, `on_error` with errors there.
    The subscription is reliable first, since best effort loses images above 0.5 MB with the
    defaults of Fast DDS; it is best effort as long as a camera offers only that. QoS overrides of
    the user are kept.
    """

    def __init__(self, node: LifecycleNode, transport: str, receive: Callable, on_error: Callable):
        self._node, self._receive, self._on_error = node, receive, on_error
        compressed = transport == 'compressed'
        self._kind = CompressedImage if compressed else Image
        self._subscription = self._thread = None
        self._anew = -math.inf  # when it was subscribed anew because nothing was given
        self._group = NoExecutorGroup()
        self._base = node.resolve_topic_name('image')
        # `image` itself may carry compressed images, and `image/compressed` may be remapped.
        expanded = node.resolve_topic_name('image/compressed', only_expand=True)
        given = node.resolve_topic_name('image/compressed')
        self._topics = image_topics(compressed, self._base, given if given != expanded else '')
        self._select(self._topics[0])

    def _select(self, topic: str) -> None:
        node, self.topic = self._node, topic
        given = node.get_parameters_by_prefix('qos_overrides')
        names = {f'{self.topic}.subscription.{k.name.lower()}': k for k in OVERRIDABLE}
        self._overridden = [names[name] for name in given if name in names]
        for name in sorted(set(given) - set(names)):
            node.get_logger().warning(
                f'qos_overrides.{name} has no effect; those with an effect are {", ".join(names)}'
            )

    def follow_publishers(self) -> None:
        """Subscribe to where the images are now, and reliably again where a camera that offered
        less is gone.

        To be called now and then, since publishers are discovered one after the other.
        """
        self._check_other_topic()
        old, infos = self._subscription, self._node.get_publishers_info_by_topic(self.topic)
        kept = old is None or QoSPolicyKind.RELIABILITY in self._overridden
        offered = {info.qos_profile.reliability for info in infos}
        if not kept and offered == {_RELIABLE} and old.qos_profile.reliability != _RELIABLE:
            self._start_again(old, _RELIABLE)

    def _check_other_topic(self) -> None:
        """Subscribe to the other topic of compressed images if they are only published there."""
        if len(self._topics) == 1 or self._node.count_publishers(self.topic):
            return
        (other,) = set(self._topics) - {self.topic}
        infos = self._node.get_publishers_info_by_topic(other)
        if infos and all(info.topic_type == _COMPRESSED_TYPE for info in infos):
            itself = ' itself' if other == self._base else ''
            self._node.get_logger().info(
                f'compressed images are published on {other}{itself}; subscribing there'
            )
            self._select(other)
            self.start()

    def start(self, reliability: ReliabilityPolicy = _RELIABLE) -> None:
        """Subscribe; an earlier subscription is closed."""
        self.close()
        self._subscription = self._node.create_subscription(
            self._kind,
            self.topic,
            self._receive,
            QoSProfile(depth=1, reliability=reliability),
            callback_group=self._group,
            event_callbacks=SubscriptionEventCallbacks(incompatible_qos=self._on_incompatible_qos),
            qos_overriding_options=QoSOverridingOptions(self._overridden),
        )
        self._thread = SubscriptionThread(
            self._node, self._subscription, self._receive, self._on_error, self._on_void
        )
        self._thread.start()

    def _on_incompatible_qos(self, event) -> None:
        kind = event.last_policy_kind
        if (
            kind == QoSPolicyKind.RELIABILITY
            and kind not in self._overridden
            and (old := self._subscription) is not None
            and old.qos_profile.reliability == _RELIABLE
        ):
            self._start_later(old, ReliabilityPolicy.BEST_EFFORT)
            return
        self._node.get_logger().warning(
            f'{self.topic}: the QoS of a publisher is not compatible '
            f'({QoSPolicyKind(kind).name.lower()})'
        )

    def _on_void(self) -> None:
        old, now = self._subscription, time.monotonic()
        if old is not None and now >= self._anew + _ANEW_S:
            self._anew = now
            text = f'{self.topic}: the middleware gives messages without content again and again'
            self._on_error(VprError(f'{text}; subscribing anew'))
            self._start_later(old, old.qos_profile.reliability)

    def _start_later(self, old: Subscription, reliability: ReliabilityPolicy) -> None:
        # Not here, in the thread of the subscription that will be closed.
        self._node.executor.create_task(partial(self._start_again, old, reliability))

    def _start_again(self, old: Subscription, reliability: ReliabilityPolicy) -> None:
        if old is not self._subscription:
            return
        if reliability != old.qos_profile.reliability:
            word = 'reliable' if reliability == _RELIABLE else 'best effort'
            text = f'the camera publishes {word}; the node subscribes {word} too'
            self._node.get_logger().info(text)
        try:
            self.start(reliability)
        except Exception as error:  # from the middleware; it would end the node here
            self._on_error(error)

    def diagnose(self) -> str:
        """Why no images may come, as far as the publishers on the topic show it."""
        mine = f'sensor_msgs/msg/{self._kind.__name__}'
        infos = self._node.get_publishers_info_by_topic(self.topic)
        if not infos:
            nobody = f'nobody publishes on {self.topic}'
            advice = self._advice_on_topic(mine)
            return f'{advice}; {nobody}' if advice else nobody
        if all(info.topic_type != mine for info in infos):
            return self._advice_on_type(infos[0], mine)
        offers = '; '.join(f'{_name(i)} publishes with QoS {_words(i.qos_profile)}' for i in infos)
        if self._subscription is None:
            return f'{self.topic} is not subscribed to: {offers}'
        wanted = self._subscription.qos_profile
        reasons = {
            reason.replace('ERROR: ', '').strip('; ').lower()
            for compatible, reason in (qos_check_compatible(i.qos_profile, wanted) for i in infos)
            if compatible == QoSCompatibility.ERROR
        }
        if reasons:
            return (
                f'{self.topic}: incompatible QoS ({"; ".join(sorted(reasons))}): {offers}; '
                f'this node requests {_words(wanted)}'
            )
        if self._thread.gives_nothing:
            return f'only messages without content come on {self.topic}; {offers}'
        return f'no message comes on {self.topic}; {offers}'

    def several(self) -> str:
        """Who publishes, to be put after what may come of it; empty where it is one at most."""
        names = sorted(map(_name, self._node.get_publishers_info_by_topic(self.topic)))
        return f' ({len(names)} publish on {self.topic}: {", ".join(names)})' if names[1:] else ''

    def _advice_on_type(self, info: TopicEndpointInfo, mine: str) -> str:
        """What to set where the topic has messages of another type."""
        transport = {_RAW_TYPE: 'raw', _COMPRESSED_TYPE: 'compressed'}.get(info.topic_type)
        advice = f'set image_transport to {transport}' if transport else 'set image_topic'
        return f'{advice}: {_name(info)} publishes {info.topic_type} on {self.topic}, not {mine}'

    def _advice_on_topic(self, mine: str) -> str:
        """What to set if images of the other transport are on another topic; else empty."""
        raw = self._base.removesuffix(COMPRESSED)
        for topic, transport, kind in (
            (self._base, 'raw', _RAW_TYPE),
            (raw, 'raw', _RAW_TYPE),
            (raw + COMPRESSED, 'compressed', _COMPRESSED_TYPE),
        ):
            infos = self._node.get_publishers_info_by_topic(topic)
            if topic == self.topic or all(info.topic_type != kind for info in infos):
                continue
            advice = [] if kind == mine else [f'set image_transport to {transport}']
            if self._base not in (topic, topic.removesuffix(COMPRESSED)):
                advice.append(f'{"" if advice else "set "}image_topic to {topic}')
            advice = advice or [f'remap image/compressed to {topic}']
            return f'there are images on {topic}: {" and ".join(advice)}'
        return ''

    def close(self) -> None:
        """Unsubscribe."""
        thread, subscription = self._thread, self._subscription
        self._thread = self._subscription = None
        if thread is not None:
            thread.close()
        if subscription is not None:
            self._node.destroy_subscription(subscription)


def _name(info: TopicEndpointInfo) -> str:
    if info.node_name == _UNKNOWN:
        return 'a node not yet known'
    return f'{info.node_namespace.rstrip("/")}/{info.node_name}'


def _words(qos: QoSProfile) -> str:
    words = (qos.reliability.name, qos.durability.name)
    return ', '.join(word.lower().replace('_', ' ') for word in words)

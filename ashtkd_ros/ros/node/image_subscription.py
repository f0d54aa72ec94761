# SPDX-License-Identifier: Apache-2.0
"""The camera topic: subscribed to as its publisher offers it, thinned by rate, watched."""

from __future__ import annotations

from collections.abc import Callable

from rclpy.lifecycle import LifecycleNode
from rclpy.qos import (
    QoSCompatibility,
    QoSPolicyKind,
    QoSProfile,
    ReliabilityPolicy,
    qos_check_compatible,
)
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CompressedImage, Image

from ashtkd_ros.ros.node.qos_overrides import OVERRIDABLE
from ashtkd_ros.ros.node.threaded_subscription import OffExecutor, Receiver
from ashtkd_ros.ros.topic_names import COMPRESSED, image_topics

try:
    from rclpy.event_handler import SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import SubscriptionEventCallbacks

_RAW_TYPE = 'sensor_msgs/msg/Image'
_COMPRESSED_TYPE = 'sensor_msgs/msg/CompressedImage'
_RELIABLE = ReliabilityPolicy.RELIABLE


class Camera:
    """Subscription to `image`, or to `image/compressed`.

    `receive` gets each message in a thread of its own, `failed` what goes wrong there.
    Reliable first, since best effort loses images above 0.5 MB under Fast DDS's defaults; best
    effort as soon as a camera offers no more. The user's QoS overrides stand.
    """

    def __init__(self, node: LifecycleNode, transport: str, receive: Callable, failed: Callable):
        self._node, self._receive, self._failed = node, receive, failed
        compressed = transport == 'compressed'
        self._kind = CompressedImage if compressed else Image
        self._subscription = self._receiver = None
        self._group = OffExecutor()
        self._base = node.resolve_topic_name('image')
        # `image` may name compressed images itself, and `image/compressed` may be remapped.
        asked = node.resolve_topic_name('image/compressed', only_expand=True)
        given = node.resolve_topic_name('image/compressed')
        self._places = image_topics(compressed, self._base, given if given != asked else '')
        self._look_at(self._places[0])

    def _look_at(self, topic: str) -> None:
        node, self.topic = self._node, topic
        given = node.get_parameters_by_prefix('qos_overrides')
        names = {f'{self.topic}.subscription.{k.name.lower()}': k for k in OVERRIDABLE}
        self._overridden = [names[name] for name in given if name in names]
        for name in sorted(set(given) - set(names)):
            node.get_logger().warning(
                f'qos_overrides.{name} has no effect; this node knows {", ".join(names)}'
            )

    def look_around(self) -> None:
        """Take compressed images from the other place, where they come there and nowhere else.

        Called now and then, as publishers are found one after the other.
        """
        if len(self._places) == 1 or self._node.count_publishers(self.topic):
            return
        (other,) = set(self._places) - {self.topic}
        infos = self._node.get_publishers_info_by_topic(other)
        if infos and all(info.topic_type == _COMPRESSED_TYPE for info in infos):
            itself = ' itself' if other == self._base else ''
            self._node.get_logger().info(f'compressed images are on {other}{itself}')
            self._look_at(other)
            self.start()

    def start(self, reliability: ReliabilityPolicy = _RELIABLE) -> None:
        """Subscribe, in the place of what was subscribed to before."""
        self.close()
        self._subscription = self._node.create_subscription(
            self._kind,
            self.topic,
            self._receive,
            QoSProfile(depth=1, reliability=reliability),
            callback_group=self._group,
            event_callbacks=SubscriptionEventCallbacks(incompatible_qos=self._refused),
            qos_overriding_options=QoSOverridingOptions(self._overridden),
        )
        self._receiver = Receiver(self._node, self._subscription, self._receive, self._failed)
        self._receiver.start()

    def _refused(self, event) -> None:
        kind = event.last_policy_kind
        if (
            kind == QoSPolicyKind.RELIABILITY
            and kind not in self._overridden
            and self._subscription.qos_profile.reliability == _RELIABLE
        ):
            # Not from within a callback of the subscription that is to go.
            self._node.executor.create_task(self._start_again)
            return
        self._node.get_logger().warning(
            f'{self.topic}: a publisher of another QoS ({QoSPolicyKind(kind).name.lower()})'
        )

    def _start_again(self) -> None:
        subscription = self._subscription
        if subscription is None or subscription.qos_profile.reliability != _RELIABLE:
            return
        self._node.get_logger().info('the camera publishes best effort; subscribing likewise')
        try:
            self.start(ReliabilityPolicy.BEST_EFFORT)
        except Exception as error:  # of the middleware; an executor's task would end the node
            self._failed(error)

    def trouble(self) -> str:
        """Why no image may come, from who publishes on the topic and how."""
        mine = f'sensor_msgs/msg/{self._kind.__name__}'
        infos = self._node.get_publishers_info_by_topic(self.topic)
        if not infos:
            nobody = f'nobody publishes on {self.topic}'
            advice = self._elsewhere(mine)
            return f'{advice}, {nobody}' if advice else nobody
        other = next((i for i in infos if i.topic_type != mine), None)
        if other is not None:
            transport = 'compressed' if other.topic_type == _COMPRESSED_TYPE else 'raw'
            return (
                f'set image_transport to {transport}, {_name(other)} publishes '
                f'{other.topic_type} on {self.topic}, not {mine}'
            )
        offers = '; '.join(f'{_name(i)} offers {_words(i.qos_profile)}' for i in infos)
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
                f'this node wants {_words(wanted)}'
            )
        return f'{self.topic} is silent: {offers}'

    def _elsewhere(self, mine: str) -> str:
        """What to set where the camera's images are on the topic of the other transport."""
        raw = self._base.removesuffix(COMPRESSED)
        for topic, transport, kind in (
            (self._base, 'raw', _RAW_TYPE),
            (raw, 'raw', _RAW_TYPE),
            (raw + COMPRESSED, 'compressed', _COMPRESSED_TYPE),
        ):
            infos = self._node.get_publishers_info_by_topic(topic)
            if topic == self.topic or all(info.topic_type != kind for info in infos):
                continue
            found = [] if kind == mine else [f'set image_transport to {transport}']
            if self._base not in (topic, topic.removesuffix(COMPRESSED)):
                found.append(f'{"" if found else "set "}image_topic to {topic}')
            found = found or ['remap image/compressed to it']
            return f'{" and ".join(found)}: there are images on {topic}'
        return ''

    def close(self) -> None:
        """Unsubscribe."""
        receiver, subscription = self._receiver, self._subscription
        self._receiver = self._subscription = None
        if receiver is not None:
            receiver.close()
        if subscription is not None:
            self._node.destroy_subscription(subscription)


def _name(info) -> str:
    return f'{info.node_namespace.rstrip("/")}/{info.node_name}'


def _words(qos) -> str:
    words = (qos.reliability.name, qos.durability.name)
    return ', '.join(word.lower().replace('_', ' ') for word in words)

# SPDX-License-Identifier: Apache-2.0
"""Listens to the topics of a trial for a few seconds, for the check list."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from rclpy.node import Node
from rclpy.serialization import deserialize_message

from ashtkd_ros.bags.message_header import stamp_ns_of
from ashtkd_ros.ros.session import QuietExecutor
from ashtkd_ros.ros.trial.subscribing import (
    BATTERIES,
    FIXES,
    IMAGES,
    ODOMETRY,
    LateSubscription,
)

_KEPT = 12  # of the last images, to be looked at
_LOOK_S = 0.2
_PATIENCE_S = 10.0  # for the first image


@dataclass
class Heard:
    """What came on one topic. `stamps`: of each message that of its header and the system's clock
    at its arrival, ns; `last`: class and bytes of the last ones; `first`: monotonic seconds."""

    topic: str
    messages: int = 0
    bytes: int = 0
    first: float = math.inf
    stamps: list[tuple[int, int]] = field(default_factory=list)
    last: deque[tuple[type, bytes]] = field(default_factory=lambda: deque(maxlen=_KEPT))

    def receive(self, kind: type, data: bytes) -> None:
        """One message."""
        self.first = min(self.first, time.monotonic())
        self.messages += 1
        self.bytes += len(data)
        if len(data) >= 12:
            self.stamps.append((stamp_ns_of(data), time.time_ns()))
        self.last.append((kind, data))

    def newest(self) -> object | None:
        """The last message; None if none came."""
        kind, data = self.last[-1] if self.last else (None, b'')
        return None if kind is None else deserialize_message(data, kind)

    @property
    def behind_s(self) -> float:
        """Seconds by which the last stamp was behind the system's clock; 0 without one."""
        stamp, now = self.stamps[-1] if self.stamps else (0, 0)
        return (now - stamp) / 1e9


class Measurement:
    """`cameras`: for each, the topics that its images may come on. The rest: topics, or empty."""

    def __init__(self, node: Node, cameras: Sequence[Sequence[str]], topics: dict[str, str]):
        self._node = node
        self.cameras = [[Heard(topic) for topic in group] for group in cameras]
        kinds = {'fix': FIXES, 'odom': ODOMETRY, 'battery': BATTERIES}
        self.robot = {name: Heard(topics.get(name) or '') for name in kinds}
        wanted = [(heard, IMAGES) for group in self.cameras for heard in group]
        wanted += [(self.robot[n], kind) for n, kind in kinds.items() if self.robot[n].topic]
        self._subscriptions = [
            LateSubscription(node, heard.topic, kind, heard.receive) for heard, kind in wanted
        ]
        self._executor = QuietExecutor()
        self._executor.add_node(node)
        self._begun = self.ended = 0.0

    def listen(self, seconds: float, check: Callable[[], None]) -> None:
        """Listen for so long after every camera has begun; 10 s at most for the first image."""
        self._begun = begun = looked = time.monotonic()
        for subscription in self._subscriptions:
            subscription.look()
        while (now := time.monotonic()) < self._end(begun, seconds):
            check()
            if now > looked + _LOOK_S:
                looked = now
                for subscription in self._subscriptions:
                    subscription.look()
            self._executor.spin_once(timeout_sec=_LOOK_S)
        self.ended = time.monotonic()
        self._executor.shutdown()

    def _end(self, begun: float, seconds: float) -> float:
        first = max(self.heard(group).first for group in self.cameras)
        return begun + max(_PATIENCE_S, seconds) if math.isinf(first) else first + seconds

    def heard(self, group: Sequence[Heard]) -> Heard:
        """The topic of a camera on which images came; the first, where none has any."""
        return max(group, key=lambda heard: heard.messages)

    def seconds_of(self, heard: Heard) -> float:
        """Seconds from the first message, or else from the begin, to the end."""
        first = heard.first if heard.messages else self._begun
        return max(self.ended - first, 1e-3)

    def why_not(self, topic: str) -> str:
        """Why nothing came on a topic."""
        found = [s for s in self._subscriptions if s.topic == topic]
        return found[0].why_not() if found else ''

    def published(self, topics: Sequence[str]) -> list[str]:
        """Those of the topics that somebody publishes."""
        return [topic for topic in topics if self._node.count_publishers(topic)]

    @property
    def bytes_per_s(self) -> float:
        """Of all that came."""
        heard = [h for group in self.cameras for h in group] + list(self.robot.values())
        return sum(h.bytes / self.seconds_of(h) for h in heard)

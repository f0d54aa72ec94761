# SPDX-License-Identifier: Apache-2.0
"""A subscription that hears whatever the publishers of a topic offer, as `ros2 bag record` has."""

from __future__ import annotations

from collections.abc import Sequence

from rclpy.duration import Duration
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

from ashtkd_ros.bags.bag_metadata import to_yaml
from ashtkd_ros.stamps import split_ns

# Empty messages, after which only another subscription helps: Fast DDS gives them without end.
MOST_EMPTY = 10


def adapted(offers: Sequence[QoSProfile], depth: int) -> QoSProfile:
    """What to ask for, to hear all these publishers.

    Reliable and latched messages come only where all publishers offer that.
    """
    reliable = all(o.reliability == ReliabilityPolicy.RELIABLE for o in offers)
    latched = all(o.durability == DurabilityPolicy.TRANSIENT_LOCAL for o in offers)
    return QoSProfile(
        depth=depth,
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )


def is_heard(offer: QoSProfile, request: QoSProfile) -> bool:
    """Whether a subscription that asked for `request` hears this publisher."""
    asks_reliable = request.reliability == ReliabilityPolicy.RELIABLE
    asks_latched = request.durability == DurabilityPolicy.TRANSIENT_LOCAL
    reliable = offer.reliability == ReliabilityPolicy.RELIABLE or not asks_reliable
    return reliable and (offer.durability == DurabilityPolicy.TRANSIENT_LOCAL or not asks_latched)


def offers_text(offers: Sequence[QoSProfile]) -> str:
    """The profiles in YAML, each different one once, as rosbag2 wrote them up to version 8."""
    values = []
    for offer in offers:
        value = {
            'history': int(offer.history),
            'depth': offer.depth,
            'reliability': int(offer.reliability),
            'durability': int(offer.durability),
            'deadline': _time(offer.deadline),
            'lifespan': _time(offer.lifespan),
            'liveliness': int(offer.liveliness),
            'liveliness_lease_duration': _time(offer.liveliness_lease_duration),
            'avoid_ros_namespace_conventions': offer.avoid_ros_namespace_conventions,
        }
        if value not in values:
            values.append(value)
    return to_yaml(values)


def _time(duration: Duration) -> dict[str, int]:
    return dict(zip(('sec', 'nsec'), split_ns(duration.nanoseconds), strict=True))

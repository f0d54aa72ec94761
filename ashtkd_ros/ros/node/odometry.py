# SPDX-License-Identifier: Apache-2.0
"""The subscription to `odom`, whose forward speeds the sequence filter may use."""

from __future__ import annotations

from nav_msgs.msg import Odometry
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data

from ashtkd_ros.recognition.odometer import Odometer
from ashtkd_ros.ros.node.patience import PATIENCE_S, Patience
from ashtkd_ros.stamps import stamp_to_s


class OdometrySubscription:
    """Adds the speeds of `odom` up while the node is active."""

    def __init__(self, node: Node):
        self._node, self.odometer = node, Odometer()
        self._asked: float | None = None
        self._patience = Patience()
        self._subscription = node.create_subscription(
            Odometry, 'odom', self._receive, qos_profile_sensor_data
        )

    def close(self) -> None:
        """Unsubscribe."""
        self._node.destroy_subscription(self._subscription)

    def moved_m(self, stamp_s: float) -> float | None:
        """Metres forward since the last call, to the moment of an image; None if unknown."""
        last, self._asked = self._asked, stamp_s
        moved = None if last is None else self.odometer.between(last, stamp_s)
        if self._patience.ends(stamp_s, moved is not None):
            self._node.get_logger().warning(
                f'{self._subscription.topic_name}: no speeds at the times of the images for '
                f'{PATIENCE_S:.0f} s; the filter goes on without; check the topic and its stamps'
            )
        return moved

    def _receive(self, message: Odometry) -> None:
        self.odometer.add(stamp_to_s(message.header.stamp), message.twist.twist.linear.x)
        if self.odometer.jumps:
            self._node.get_logger().warning(
                'odom: a speed is no number or above 50 m/s; the distance is unknown until the '
                'next image',
                once=True,
            )

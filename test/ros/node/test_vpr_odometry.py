# SPDX-License-Identifier: Apache-2.0
"""A node with odometry: speeds are used where asked for, and bad ones harm nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='rclpy cannot be imported')

from builtin_interfaces.msg import Time
from nav_msgs.msg import Odometry
from rclpy.qos import qos_profile_sensor_data
from ros_helpers import OddNode, Peer, image_message, until

from ashtkd_ros.stamps import s_to_ns, split_ns
from ashtkd_ros.traverses.image_folder import read_source

pytest_plugins = ['ros_fixtures']
pytestmark = pytest.mark.ros


def speed_message(stamp: float, speed: float) -> Odometry:
    seconds, nanoseconds = split_ns(s_to_ns(stamp))
    message = Odometry()
    message.header.stamp = Time(sec=seconds, nanosec=nanoseconds)
    message.twist.twist.linear.x = speed
    return message


class Trip:
    """Images with speeds around them, later and later; the node hears speeds best effort."""

    def __init__(self, peer: Peer, pictures: Sequence[np.ndarray]):
        self._peer, self._pictures, self._stamp = peer, pictures, 10.0
        create = peer.node.create_publisher
        self._speeds = create(Odometry, 'odom', qos_profile_sensor_data)
        peer.until(lambda: self._speeds.get_subscription_count() == 1, 'a subscription to odom')

    def is_told(self, text: str) -> bool:
        """Whether the diagnostics say so of the metres since the last image."""
        return self._peer.status(state='active')[1].get('metres since last image') == text

    def ask(self, count: int = 1) -> None:
        """So many images, 1 s apart, are answered."""
        for k in range(count):
            self._stamp += 1.0
            assert self._peer.ask(image_message(self._pictures[k % 4], self._stamp)).results

    def drive(self) -> None:
        """Two images at a speed of 2 m/s."""
        for k in range(41):
            self._speeds.publish(speed_message(self._stamp + 0.1 * k, 2.0))
            self._peer.spin(0.01)
        self.ask(2)

    def spoil(self) -> None:
        """An image and a speed that is none."""
        self._speeds.publish(speed_message(self._stamp + 1.0, math.nan))
        self._peer.spin(0.2)
        self.ask()


def test_distances_between_images_are_told_and_bad_speeds_cost_no_answer(
    ros, peer: Peer, town: Path, town_map: Path, tmp_path: Path
) -> None:
    settings = {'sequence_length': 5, 'use_odometry': True, 'num_threads': 1, 'frozen_after': 0}
    node = OddNode(tmp_path / 'node', map_path=town_map, min_confidence=0.0, **settings)
    lost = 'no speeds at the times of the images for 5 s'
    try:
        trip = Trip(peer, [frame.read() for frame in read_source(town / 'day')[:4]])
        trip.ask()
        peer.until(lambda: trip.is_told('unknown'), 'an unknown distance')
        until(lambda: trip.is_told('2.00'), 'two metres', trip.drive)
        until(lambda: 'a speed is no number' in node.stderr, 'a bad speed', trip.spoil)
        peer.until(lambda: trip.is_told('unknown'), 'an unknown distance')
        before = node.stderr.count(lost)
        trip.ask(12)
        peer.until(lambda: node.stderr.count(lost) > before, 'a warning')
        assert node.stderr.count(lost) == before + 1
        node.end()
    finally:
        node.kill()

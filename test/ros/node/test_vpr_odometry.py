# SPDX-License-Identifier: Apache-2.0
"""A node with odometry: speeds are used where asked for, and bad ones harm nothing."""

from __future__ import annotations

import math
from itertools import count
from pathlib import Path

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


def test_distances_between_images_are_told_and_bad_speeds_cost_no_answer(
    ros, peer: Peer, town: Path, town_map: Path, tmp_path: Path
) -> None:
    frames = read_source(town / 'day')[:4]
    settings = {'sequence_length': 5, 'use_odometry': True, 'num_threads': 1, 'frozen_after': 0}
    node = OddNode(tmp_path / 'node', map_path=town_map, min_confidence=0.0, **settings)
    try:
        publisher = peer.node.create_publisher(Odometry, 'odom', qos_profile_sensor_data)
        peer.until(lambda: publisher.get_subscription_count() == 1, 'the subscription to odom')

        def told(text: str):
            def found():
                values = peer.status(state='active')[1]
                return values.get('metres since last image') == text

            return found

        peer.ask(image_message(frames[0].read(), 10.0))
        peer.until(told('unknown'), 'an unknown distance')
        stamps, lost = count(20, 4), 'no speeds at the times of the images for 5 s'

        def drive() -> None:  # until it is heard: the node listens best effort
            stamp = next(stamps)
            for k in range(31):
                publisher.publish(speed_message(stamp - 1.0 + 0.1 * k, 2.0))
                peer.spin(0.01)
            for k in range(2):
                peer.ask(image_message(frames[k].read(), float(stamp + k)))

        def spoil() -> None:
            stamp = float(next(stamps))
            publisher.publish(speed_message(stamp, math.nan))
            peer.spin(0.2)
            assert peer.ask(image_message(frames[2].read(), stamp)).results

        until(told('2.00'), 'two metres', drive)
        until(lambda: 'a speed is no number' in node.stderr, 'a bad speed', spoil)
        peer.until(told('unknown'), 'an unknown distance')
        before, last = node.stderr.count(lost), float(next(stamps))
        for k in range(12):
            assert peer.ask(image_message(frames[3].read(), last + k)).results
        peer.until(lambda: node.stderr.count(lost) > before, 'a warning')
        assert node.stderr.count(lost) == before + 1
        node.end()
    finally:
        node.kill()

# SPDX-License-Identifier: Apache-2.0
"""Subscriptions of the watch and the check list, where the middleware is odd."""

from __future__ import annotations

import pytest

pytest.importorskip('rclpy', reason='rclpy cannot be imported')

from ros_helpers import Peer, image_message, picture, until

from ashtkd_ros.ros.trial.offered_qos import MOST_EMPTY
from ashtkd_ros.ros.trial.subscribing import IMAGES, LateSubscription

pytest_plugins = ['ros_fixtures']
pytestmark = pytest.mark.ros


def test_empty_messages_without_end_are_cured(peer: Peer) -> None:
    heard: list[bytes] = []
    late = LateSubscription(peer.node, 'image', IMAGES, lambda _, data: heard.append(data))
    message = image_message(picture())

    def step() -> None:
        peer.camera.publish(message)
        late.look()
        peer.spin(0.05)

    until(lambda: heard, 'an image', step)
    broken = late._subscription
    for _ in range(MOST_EMPTY):
        broken.callback(b'')
    late.look()
    assert late._subscription is broken
    broken.callback(b'')
    late.look()
    assert late._subscription is not broken and b'' not in heard
    heard.clear()
    until(lambda: heard, 'an image again', step)

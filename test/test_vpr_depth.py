# SPDX-License-Identifier: Apache-2.0
"""A camera of 12 bits in 16 at the node: recognised, also in the dark, and said once."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

pytest.importorskip('rclpy', reason='rclpy cannot be imported')

from ros_helpers import MAP_PLACES, Peer, image_message

pytest_plugins = ['ros_fixtures']
pytestmark = pytest.mark.ros


def test_twelve_bits_are_recognised_and_said_once(start_node, town_map, peer: Peer, walk) -> None:
    node = start_node(map_path=town_map, min_confidence=0.0, num_threads=1)
    for number in range(MAP_PLACES):
        grey = cv2.cvtColor(walk[number], cv2.COLOR_RGB2GRAY).astype(np.uint16) << 4
        grey[0, :2] = 4095
        dark = 0.6 if number > 3 else 1.0
        message = image_message((grey * dark).astype(np.uint16), 10.0 + number, 'mono16')
        assert abs(int(peer.ask(message).results[0].class_id) - number) <= 1
    node.end()
    said = [line for line in node.stderr.splitlines() if '16 bit values' in line]
    assert len(said) == 1 and 'use 12 bits: 0 to 4095' in said[0]

# SPDX-License-Identifier: Apache-2.0
"""A camera of 12 bits in 16 at the node: recognised, also in the dark, and said once."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

pytest.importorskip('rclpy', reason='rclpy cannot be imported')

from ros_helpers import MAP_PLACES, Peer, image_message

from ashtkd_ros.commands import build_map

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


def test_a_query_with_defective_pixels_is_read_as_the_map_was(
    start_node, tmp_path, peer: Peer, walk
) -> None:
    """A map of 10 bits; an image of the camera, some of whose pixels are 65535."""
    folder = tmp_path / 'walk'
    folder.mkdir()
    rows = ['file,stamp,x,y']
    for number in range(MAP_PLACES):
        grey = cv2.cvtColor(walk[number], cv2.COLOR_RGB2GRAY).astype(np.uint16) << 2
        cv2.imwrite(str(folder / f'{number}.png'), grey)
        rows.append(f'{number}.png,{number},{2 * number},0')
    (folder / 'poses.csv').write_text('\n'.join(rows))
    with pytest.raises(SystemExit):
        build_map.main([str(folder), '-o', str(tmp_path / 'map')])
    node = start_node(map_path=tmp_path / 'map', min_confidence=0.0, num_threads=1)
    for number in range(MAP_PLACES):
        grey = cv2.cvtColor(walk[number], cv2.COLOR_RGB2GRAY).astype(np.uint16) << 2
        grey[np.random.default_rng(number).random(grey.shape) < 0.03] = 65535
        message = image_message(grey, 10.0 + number, 'mono16')
        assert abs(int(peer.ask(message).results[0].class_id) - number) <= 1
    node.end()
    said = [line for line in node.stderr.splitlines() if '16 bit values' in line]
    assert len(said) == 2 and 'use 10 bits' in said[0] and 'brighter than the 10' in said[1]

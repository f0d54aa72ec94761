# SPDX-License-Identifier: Apache-2.0
"""The names of places as the node tells them: a topic, the diagnostics, the markers."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip('rclpy', reason='rclpy cannot be imported')

from conftest import change_place
from rclpy.qos import DurabilityPolicy, QoSProfile
from ros_helpers import Peer, image_message
from std_msgs.msg import String
from visualization_msgs.msg import Marker, MarkerArray

from ashtkd_ros.maps.place_map import PlaceMap

pytest_plugins = ['ros_fixtures']
pytestmark = pytest.mark.ros
NAMES = {2: 'Küche "1"', 3: 'odd \udcff\x1b[2J\nname\0'}
SHOWN = {2: 'Küche "1"', 3: 'odd \\udcff\\x1b[2J name\\x00', 4: ''}


@pytest.fixture
def named_map(town_map: Path, tmp_path: Path) -> Path:
    """The town with two names."""
    place_map = PlaceMap.load(town_map)
    for row, name in NAMES.items():
        change_place(place_map, row, label=name)
    place_map.save(tmp_path / 'map')
    return tmp_path / 'map'


def test_the_name_follows_each_place(start_node, peer: Peer, named_map: Path, walk) -> None:
    start_node(map_path=named_map, min_confidence=0.0, num_threads=1, image_timeout_s=30.0)
    names: list[str] = []
    markers: list[MarkerArray] = []
    listen = peer.node.create_subscription
    listen(String, 'vpr_node/place_name', lambda m: names.append(m.data), 100)
    latched = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    listen(MarkerArray, 'vpr_node/markers', markers.append, latched)
    peer.until(lambda: peer.node.count_publishers('vpr_node/place_name'), 'the topic')
    stamp = 0.0

    def marker() -> Marker | None:
        found = [m for array in markers for m in array.markers if m.ns == 'name']
        return found[-1] if found else None

    for number, name in [*SHOWN.items(), *SHOWN.items()]:  # discovery may lose the first ones
        stamp += 1.0
        heard = len(names)
        place = peer.ask(image_message(walk[number], stamp))
        assert place.results[0].class_id == str(number), 'the class stays the number'
        assert peer.status(state='active', place=number)[1]['place name'] == name
        if stamp > len(SHOWN):
            peer.until(lambda heard=heard: len(names) > heard, 'the name')
            assert names[-1] == name
            assert marker().text == name
            assert marker().action == (Marker.ADD if name else Marker.DELETE)
    peer.ask(image_message(walk[2], 50.0))
    assert peer.set_parameter('min_confidence', 1.0)
    assert peer.ask(image_message(walk[2], 51.0)).results == []
    peer.until(lambda: names[-1] == '', 'no name for an unknown place')
    assert peer.status(place='unknown')[1]['place name'] == ''
    peer.until(lambda: marker().action == Marker.DELETE, 'the marker to vanish')
    peer.ask(image_message(walk[2] * 0, 52.0))
    peer.until(lambda: len(names) >= 3 and names[-1] == '', 'no name for a covered camera')

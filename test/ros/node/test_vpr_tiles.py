# SPDX-License-Identifier: Apache-2.0
"""A node in a city: the tiles around the robot are loaded while it answers, damaged ones named."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip('rclpy', reason='rclpy cannot be imported')

from geometry_msgs.msg import PoseWithCovarianceStamped
from ros_helpers import ACTIVATE, DEACTIVATE, OddNode, Peer, image_message, stamped

from ashtkd_ros.maps.city import read_city
from ashtkd_ros.maps.place_map import PlaceMap
from ashtkd_ros.maps.tiling import cut_into_tiles

pytest_plugins = ['ros_fixtures']
pytestmark = pytest.mark.ros
METRES = 2.0  # of a tile
_LARGE = 'from ashtkd_ros.maps import tiled_map; tiled_map.ALL_AT_ONCE = 0'


@pytest.fixture
def city(town_map: Path, tmp_path: Path) -> Path:
    cut_into_tiles(PlaceMap.load(town_map), tmp_path / 'city', METRES)
    assert len(read_city(tmp_path / 'city').tiles) >= 3
    return tmp_path / 'city'


def test_a_small_city_is_loaded_whole_and_needs_no_prior(
    peer: Peer, city: Path, walk, start_node
) -> None:
    node = start_node(map_path=city, min_confidence=0.0, num_threads=1)
    assert peer.ask(image_message(walk[5], 1.0)).results[0].class_id == '5'
    values = peer.status(state='active')[1]
    count = len(read_city(city).tiles)
    assert (values['tiles in memory'], values['places in map']) == (f'{count} of {count}', '12')
    node.end()


class Robot:
    """Asks a node about the walk's pictures, with a prior where each was taken."""

    def __init__(self, peer: Peer, city_map: PlaceMap, walk: list):
        self.peer, self.walk, self.at = peer, walk, city_map.places.positions
        self.stamp = 10.0
        self.publisher = peer.node.create_publisher(PoseWithCovarianceStamped, 'where', 10)
        peer.until(self.publisher.get_subscription_count, 'the subscription to the prior')

    def ask(self, number: int):
        self.stamp += 10.0
        message = stamped(PoseWithCovarianceStamped(), self.stamp)
        message.header.frame_id = 'map'
        message.pose.pose.position.x, message.pose.pose.position.y = self.at[number, :2].tolist()
        self.publisher.publish(message)
        self.peer.spin(0.1)
        return self.peer.ask(image_message(self.walk[number], self.stamp))

    def until(self, number: int, wanted: Callable):
        """Ask until the answer is as wanted."""

        def asked():
            answer = self.ask(number)
            return answer if wanted(answer) else None

        return self.peer.until(asked, f'the answer about picture {number}')


def in_city(folder: Path, city: Path, **parameters: object) -> OddNode:
    """A node that takes every city for one too large to be loaded whole."""
    settings = {'map_path': city, 'min_confidence': 0.0, 'num_threads': 1, 'frozen_after': 0}
    settings |= {'prior_topic': 'where', 'tile_radius_m': 1.5, 'prior_radius_m': 1.0}
    settings |= parameters
    return OddNode(folder, before={'make': _LARGE}, **settings)


def test_tiles_follow_the_robot_and_a_damaged_one_is_named(
    peer: Peer, city: Path, town_map: Path, walk, tmp_path: Path
) -> None:
    city_map = PlaceMap.load(town_map)
    broken = read_city(city).near(*city_map.places.positions[6, :2], 0.0)[0]
    path = city / broken.path / 'places.npz'
    path.write_bytes(path.read_bytes()[:-1])
    node = in_city(tmp_path / 'node', city)
    try:
        assert not peer.ask(image_message(walk[0], 1.0)).results
        why = 'the tiles around the robot are loaded when'
        peer.until(
            lambda: peer.status(state='active')[1]['last refusal'].startswith(why), 'the refusal'
        )
        robot = Robot(peer, city_map, walk)
        for number in (0, 11):
            robot.until(number, lambda a, n=number: a.results and a.results[0].class_id == str(n))
            near = peer.status(state='active')[1]
            loaded = int(near['tiles in memory'].split()[0])
            assert 0 < loaded < len(read_city(city).tiles)
        loads = node.stderr.count('tiles in memory')
        robot.ask(0)  # a prior that jumps for a moment
        assert robot.ask(11).results[0].class_id == '11'
        assert node.stderr.count('tiles in memory') == loads
        robot.until(6, lambda _: f'{broken.path}/places.npz: is damaged' in node.stderr)
        for number in range(6, 12):
            assert robot.ask(number).header.stamp.sec == int(robot.stamp)
        assert peer.change_state(DEACTIVATE) and peer.change_state(ACTIVATE)
        peer.until(robot.publisher.get_subscription_count, 'the subscription to the prior')
        robot.until(11, lambda a: a.results and a.results[0].class_id == '11')
        shutil.rmtree(city)
        robot.until(0, lambda _: 'tiles were not loaded: ' in node.stderr)
        assert robot.ask(11).results[0].class_id == '11'
        node.end()
    finally:
        node.kill()


def test_tiles_that_cannot_be_used_are_not_tried_at_each_image(
    peer: Peer, city: Path, town_map: Path, walk, tmp_path: Path
) -> None:
    node, told = in_city(tmp_path / 'node', city), 'tiles were not loaded: MemoryError'
    try:
        robot = Robot(peer, PlaceMap.load(town_map), walk)
        robot.until(0, lambda answer: answer.results)
        node.be('spoil', 'raise MemoryError')
        robot.until(11, lambda _: told in node.stderr)
        for _ in range(10):
            robot.ask(11)
        assert node.stderr.count(told) == 1
        node.be('spoil', '')
        robot.until(11, lambda a: a.results and a.results[0].class_id == '11')
        node.end()
    finally:
        node.kill()


def test_without_a_prior_a_large_city_stays_unknown(
    peer: Peer, city: Path, walk, tmp_path
) -> None:
    node = in_city(tmp_path / 'node', city, prior_topic='""')
    try:
        assert not peer.ask(image_message(walk[0], 1.0)).results
        status, values = peer.status(state='active')
        assert 'the tiles around the robot are loaded when a prior tells' in status.message
        assert values['unknown places'] == values['places published']
        node.end()
    finally:
        node.kill()

# SPDX-License-Identifier: Apache-2.0
"""A node with a prior: fixes and poses limit its answers, and bad ones cost none."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='rclpy cannot be imported')

from diagnostic_msgs.msg import DiagnosticStatus
from geometry_msgs.msg import PoseWithCovarianceStamped
from nav_msgs.msg import Odometry
from ros_helpers import ACTIVATE, DEACTIVATE, NodeProcess, Peer, image_message, stamped
from sensor_msgs.msg import NavSatFix

from ashtkd_ros.geometry.geodesy import GeoOrigin
from ashtkd_ros.maps.place_map import PlaceMap

pytest_plugins = ['ros_fixtures']
pytestmark = pytest.mark.ros
ORIGIN = GeoOrigin(48.1, 11.5, 520.0)


@pytest.fixture
def earth_map(town_map: Path, tmp_path: Path) -> Path:
    """The same map with an origin."""
    place_map = PlaceMap.load(town_map)
    place_map.info.built['origin'] = {'lat': ORIGIN.lat, 'lon': ORIGIN.lon, 'alt': ORIGIN.alt}
    place_map.save(tmp_path / 'earth')
    return tmp_path / 'earth'


def pose_at(x: float, y: float, stamp: float, frame: str = 'map', variance: float = 1.0):
    message = stamped(PoseWithCovarianceStamped(), stamp)
    message.header.frame_id = frame
    message.pose.pose.position.x, message.pose.pose.position.y = float(x), float(y)
    message.pose.covariance[0] = message.pose.covariance[7] = variance
    return message


def fix_at(x: float, y: float, stamp: float, **values: float) -> NavSatFix:
    message = stamped(NavSatFix(), stamp)
    ((lat, lon, alt),) = ORIGIN.to_geodetic(np.array([[x, y, 0.0]])).tolist()
    message.latitude, message.longitude, message.altitude = lat, lon, alt
    message.position_covariance = [values.get('variance', 4.0)] * 9
    message.position_covariance_type = 2
    message.status.status = values.get('status', 0)
    message.latitude = values.get('lat', message.latitude)
    return message


class Asker:
    """Asks the node about the same picture with one prior after another."""

    def __init__(self, peer: Peer, node: NodeProcess, kind: type, pixels: np.ndarray):
        self.peer, self.node, self.stamp, self.pixels = peer, node, 10.0, pixels
        self.publisher = peer.node.create_publisher(kind, 'where', 10)
        peer.until(self.publisher.get_subscription_count, 'the subscription to the prior')

    def __call__(self, make: Callable, x: float, y: float, said: str, **values: object):
        """The answer once the diagnostics begin to say what is expected of the prior."""

        def told():
            self.stamp += 10.0  # so that no earlier prior is young enough
            self.publisher.publish(make(x, y, self.stamp, **values))
            self.peer.spin(0.2)
            answer = self.peer.ask(image_message(self.pixels, self.stamp))
            text = self.peer.status(state='active')[1].get('prior', '')
            return (answer, text) if text.startswith(said) else None

        return self.peer.until(told, f'diagnostics that say "{said}"')


@pytest.mark.parametrize('kind', [PoseWithCovarianceStamped, NavSatFix])
def test_answers_lie_near_the_prior_and_bad_ones_are_ignored(
    peer: Peer, earth_map: Path, walk, start_node, kind: type
) -> None:
    made = pose_at if kind is PoseWithCovarianceStamped else fix_at
    places = PlaceMap.load(earth_map).places
    node = start_node(
        map_path=earth_map, prior_topic='where', prior_radius_m=1.0, min_confidence=0.0,
        num_threads=1, frozen_after=0,
    )  # fmt: skip
    answer = peer.ask(image_message(walk[2], 1.0))
    assert answer.results[0].class_id == '2'
    ask = Asker(peer, node, kind, walk[2])
    x, y = places.positions[2, :2]
    assert ask(made, x, y, 'used: ')[0].results[0].class_id == '2'
    far = places.positions[-1, :2]
    answer, text = ask(made, *far, 'used: ')
    inside = np.hypot(*(places.positions[:, :2] - far).T) <= 1.0 + 2.5 * 2.0
    assert not inside[2] and inside.any()
    assert {int(r.class_id) for r in answer.results} <= set(np.flatnonzero(inside).tolist())
    assert 'a place outside of it is more similar' in text
    assert not ask(made, 5000.0, 0.0, 'used: 0 pictures')[0].results
    assert ask(made, x, y, 'ignored: the covariance', variance=math.nan)[0].results
    assert ask(made, x, y, 'ignored: the position is uncertain', variance=1e6)[0].results
    if kind is NavSatFix:
        assert ask(made, x, y, 'ignored: the receiver has no fix', status=-1)[0].results
        assert ask(made, x, y, 'ignored: the receiver has no fix', lat=math.nan)[0].results
    else:
        assert ask(made, x, y, 'ignored: the position is in frame "odom"', frame='odom')[0].results
        assert ask(made, math.nan, y, 'ignored: the prior nan')[0].results
        assert ask(made, x, math.nan, f'ignored: the prior {x}, nan')[0].results
    assert ask(made, x, y, 'used: ')[0].results
    for _ in range(3):
        ask.stamp += 4.0
        assert peer.ask(image_message(walk[2], ask.stamp)).results
    peer.until(lambda: 'no prior for 5 s, the node goes on without' in node.stderr, 'a warning')
    assert node.stderr.count('no prior for 5 s, the node goes on without: the nearest') == 1
    node.end()


def test_a_topic_of_another_type_and_a_map_without_origin_are_told(
    peer: Peer, town_map: Path, walk, start_node
) -> None:
    node = start_node(
        map_path=town_map, prior_topic='where', min_confidence=0.0, num_threads=1, frozen_after=0
    )
    other = peer.node.create_publisher(Odometry, 'where', 10)
    said = '/where is of type nav_msgs/msg/Odometry, not NavSatFix or PoseWithCovarianceStamped'
    stamps = iter(range(1, 1000, 4))

    def told() -> bool:
        assert peer.ask(image_message(walk[0], float(next(stamps)))).results
        return peer.status(state='active')[1]['prior'] == f'ignored: {said}'

    peer.until(told, said)
    for _ in range(3):
        told()
    peer.until(lambda: 'no prior for 5 s' in node.stderr, 'a warning')
    peer.node.destroy_publisher(other)
    ask = Asker(peer, node, NavSatFix, walk[2])
    assert ask(fix_at, 0.0, 0.0, 'ignored: the map has no origin on earth')[0].results
    peer.node.destroy_publisher(ask.publisher)

    def left() -> bool:
        assert peer.ask(image_message(walk[0], float(next(stamps)))).results
        return peer.status(state='active')[1]['prior'] == 'ignored: nobody publishes on /where'

    peer.until(left, 'nobody')
    ask = Asker(peer, node, PoseWithCovarianceStamped, walk[2])
    x, y = PlaceMap.load(town_map).places.positions[2, :2]
    assert ask(pose_at, x, y, 'used: ')[0].results
    node.end()


def test_a_node_that_rests_does_not_listen_and_odd_numbers_harm_nothing(
    peer: Peer, town_map: Path, walk, start_node
) -> None:
    node = start_node(map_path=town_map, prior_topic='/where', min_confidence=0.0, num_threads=1)
    where = peer.node.create_publisher(PoseWithCovarianceStamped, 'where', 10)
    for k in range(3):
        peer.until(lambda: where.get_subscription_count() == 1, 'the subscription to the prior')
        for odd in (1e300, -1e300, math.inf, math.nan):
            where.publish(pose_at(odd, odd, 1.0 + k, variance=odd))
        where.publish(pose_at(0.0, 0.0, 1.0 + k, frame='\x1b[31m' * 100))
        peer.spin(0.2)
        assert peer.ask(image_message(walk[k], 1.0 + k)).results[0].class_id == str(k)
        assert peer.change_state(DEACTIVATE)
        peer.until(lambda: where.get_subscription_count() == 0, 'no subscription')
        assert peer.change_state(ACTIVATE)
    assert '\x1b' not in node.stderr
    node.end()


def test_without_a_topic_nothing_is_told_of_a_prior(peer: Peer, town_map, walk, start_node):
    node = start_node(map_path=town_map, min_confidence=0.0, num_threads=1)
    assert peer.ask(image_message(walk[0], 1.0)).results
    assert 'prior' not in peer.status(state='active')[1]
    node.end()


def test_a_name_that_is_none_is_refused(peer: Peer, town_map: Path, start_node) -> None:
    node = start_node(map_path=town_map, prior_topic='"no name"', on_start_failure='retry')
    status, _ = peer.status(state='unconfigured')
    told = 'parameter prior_topic is "no name"; it must be the name of a topic, such as /gps/fix'
    assert status.level == DiagnosticStatus.ERROR and status.message == told
    assert told in node.stderr
    node.end()

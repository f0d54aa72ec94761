# SPDX-License-Identifier: Apache-2.0
"""Services, live parameters, markers, the picture for people: the rest of the node's surface."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='rclpy cannot be imported')

from diagnostic_msgs.msg import DiagnosticStatus
from geometry_msgs.msg import PoseWithCovarianceStamped
from rcl_interfaces.srv import SetParameters, SetParametersAtomically
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile
from ros_helpers import DEACTIVATE, MAP_PLACES, NodeProcess, Peer, image_message
from sensor_msgs.msg import Image
from std_srvs.srv import SetBool, Trigger
from visualization_msgs.msg import Marker, MarkerArray

pytest_plugins = ['ros_fixtures']
SERVICES = {SetParameters: 'set_parameters', SetParametersAtomically: 'set_parameters_atomically'}
pytestmark = pytest.mark.ros


@pytest.fixture
def map_copy(town_map: Path, tmp_path: Path) -> Path:
    """A map that a test may spoil."""
    return shutil.copytree(town_map, tmp_path / 'map')


@pytest.fixture
def node(ros, map_copy: Path, tmp_path: Path) -> Iterator[NodeProcess]:
    """A node of the test's own; it ends well or the test fails."""
    node = NodeProcess(
        tmp_path / 'node',
        map_path=map_copy,
        min_confidence=0.0,
        num_threads=1,
        image_timeout_s=60.0,
    )
    yield node
    try:
        node.end()
    finally:
        node.kill()


class Operator:
    """Calls the node's services through a peer."""

    def __init__(self, peer: Peer):
        self.initial_poses = []
        kinds = {'enable': SetBool, 'reload_map': Trigger, 'relocalize': Trigger}
        self._call = {name: peer.service(name, kind) for name, kind in kinds.items()}
        kind = PoseWithCovarianceStamped
        peer.node.create_subscription(kind, 'initialpose', self.initial_poses.append, 10)

    def call(self, name: str, request=None):
        """The response of a service."""
        return self._call[name](request)


@pytest.fixture
def operator(node, peer: Peer) -> Operator:
    return Operator(peer)


def answered(peer: Peer, key: str, count: int) -> None:
    """The node is done with so many images or more; their places come before that."""

    def done() -> bool:
        return int(peer.status(state='active')[1][key]) >= count

    peer.until(done, f'{count} {key}')


def first(place) -> int:
    return int(place.results[0].class_id)


def test_disabled_it_looks_at_nothing(node, peer: Peer, operator: Operator, walk) -> None:
    assert first(peer.ask(image_message(walk[3], 1.0))) == 3
    assert operator.call('enable', SetBool.Request(data=False)).success
    before = peer.status(state='active')[1]['images received']

    def received() -> DiagnosticStatus | None:
        peer.camera.publish(image_message(walk[4], 2.0))
        status, values = peer.status(state='active')
        return status if values['images received'] != before else None

    status = peer.until(received, 'an image that is passed over')
    assert not [p for p in peer.places if p.header.stamp.sec == 2]
    assert status.level == DiagnosticStatus.WARN and 'disabled' in status.message
    refused = operator.call('relocalize')
    assert not refused.success and 'disabled' in refused.message
    assert operator.call('enable', SetBool.Request(data=True)).success
    assert first(peer.ask(image_message(walk[4], 20.0))) == 4


def test_relocalize_publishes_the_current_pose_once(node, peer, operator, walk) -> None:
    refused = operator.call('relocalize')
    assert not refused.success
    peer.ask(image_message(walk[5], 1.0))
    peer.until(lambda: peer.poses, 'a pose')
    answered(peer, 'places published', 1)
    assert operator.call('relocalize').success
    peer.until(lambda: operator.initial_poses, 'the initial pose')
    assert operator.initial_poses[0].pose.pose == peer.poses[-1].pose.pose
    assert operator.initial_poses[0].header == peer.poses[-1].header
    assert peer.set_parameter('min_confidence', 1.0)
    assert peer.ask(image_message(walk[6], 2.0)).results == []
    answered(peer, 'unknown places', 1)
    refused = operator.call('relocalize')
    assert not refused.success and 'min_confidence' in refused.message
    assert peer.set_parameter('min_confidence', 0.0)
    peer.ask(image_message(walk[7], 3.0))
    peer.until(lambda: peer.poses[-1].header.stamp.sec == 3, 'its pose')
    assert peer.set_parameter('image_timeout_s', 0.5)
    peer.until(lambda: 'no image for' in peer.status(state='active')[0].message, 'silence')
    refused = operator.call('relocalize')
    assert not refused.success and 'old' in refused.message
    assert peer.change_state(DEACTIVATE)
    assert 'inactive' in operator.call('relocalize').message
    assert len(operator.initial_poses) == 1


def test_relocalize_says_first_that_amcl_takes_another_frame(node, peer, operator, walk) -> None:
    peer.ask(image_message(walk[5], 1.0))
    peer.until(lambda: peer.poses, 'a pose')
    answered(peer, 'places published', 1)
    frame = peer.poses[-1].header.frame_id
    agreed = operator.call('relocalize')
    assert agreed.success and 'AMCL' not in agreed.message and f'in {frame}' in agreed.message
    assert peer.set_parameter('initialpose_frame', 'elsewhere')
    peer.ask(image_message(walk[5], 2.0))
    warned = operator.call('relocalize')
    assert warned.success and warned.message.startswith(
        f'the pose is in "{frame}", but AMCL ignores'
    )
    peer.until(lambda: len(operator.initial_poses) == 2, 'the initial pose')
    assert 'relocalize: the pose is in' in node.stderr
    assert peer.set_parameter('initialpose_frame', '')
    assert 'AMCL' not in operator.call('relocalize').message


def test_live_parameters_apply_from_the_next_image_on(node, peer: Peer, walk) -> None:
    assert len(peer.ask(image_message(walk[1], 1.0)).results) == 5
    assert peer.set_parameter('top_k', 2)
    assert len(peer.ask(image_message(walk[2], 2.0)).results) == 2
    assert peer.set_parameter('min_confidence', 1.0)
    assert peer.ask(image_message(walk[3], 3.0)).results == []
    for name, value, why in (
        ('top_k', 0, 'top_k is 0; it must be from 1 to 100'),
        ('top_k', 2.5, 'top_k is 2.5; it must be a whole number'),
        ('top_k', None, 'top_k cannot be removed'),
        ('min_confidence', 1.5, 'min_confidence is 1.5; it must be from -1.0 to 1.0'),
        ('min_confidence', float('nan'), 'min_confidence is nan; it must be from'),
        ('max_rate_hz', 1, 'max_rate_hz is the integer 1; write 1.0'),
        ('image_transport', 'theora', 'image_transport is "theora"; it must be raw or compressed'),
        ('image_transport', 5000 * 'x', 'image_transport is "xxxx'),
        ('providers', [], 'parameter providers'),
        ('use_sim_time', 'x', 'use_sim_time is "x"; it must be true or false'),
        ('max_rate', 1.0, 'unknown parameter "max_rate"; did you mean max_rate_hz?'),
        ('qos_overrides./image.subscription.depth', 1, 'can only be given when the node starts'),
    ):
        changed = [Parameter(name, value=value), Parameter('verify_top', value=7)]
        for kind in (SetParameters, SetParametersAtomically):
            request = kind.Request(parameters=[p.to_parameter_msg() for p in changed])
            answer = peer.service(SERVICES[kind], kind)(request)
            result = answer.results[0] if kind is SetParameters else answer.result
            assert not result.successful and why in result.reason
            assert len(result.reason) < 1000
        assert peer.set_parameter('verify_top', 30)
    assert peer.set_parameter('min_confidence', 0.0)
    assert len(peer.ask(image_message(walk[4], 4.0)).results) == 2


def test_what_is_said_of_images_is_of_those_of_now(node, peer: Peer, operator, walk) -> None:
    """Not of an image before, nor of an error before."""
    assert peer.set_parameter('image_timeout_s', 1.5)
    peer.ask(image_message(walk[3], 1.0))
    assert float(peer.status(place=3)[1]['last confidence']) >= 0.0

    def told_while(message: Image, told: str) -> bool:
        peer.camera.publish(message)
        return told in peer.status()[0].message

    unusable = image_message(walk[3], 1.5, 'rgb9' + 10000 * '\n')
    peer.until(lambda: told_while(unusable, 'could be used'), 'a warning')
    status, values = peer.status(place='none')
    assert (values['last confidence'], values['last agreement']) == ('nan', 'none')
    assert len(values['last error']) < 300
    for enabled in (False, True):
        assert operator.call('enable', SetBool.Request(data=enabled)).success
        assert 'could be used' not in peer.status(place='none')[0].message
    assert peer.set_parameter('max_rate_hz', 1.0)
    same = image_message(walk[4], 20.0)
    peer.ask(same)
    told = 'by their stamps, which advanced by 0.00 s only'
    peer.until(lambda: told_while(same, told), 'the reason for which no image is answered')


def test_it_is_told_that_stamps_go_back_and_who_publishes_or_that_there_are_none(
    node, peer: Peer, walk
) -> None:
    peer.node.create_publisher(Image, 'image', 10)
    peer.ask(image_message(walk[0], 100.0))
    peer.ask(image_message(walk[0], 90.0))
    told = 'back by 10.0 s (2 publish on /image: /peer, /peer)'
    peer.until(lambda: told in peer.status()[0].message, 'who publishes')
    peer.ask(image_message(walk[0], 0.0))
    told = 'the images have no stamps, so ~/pose has none'
    peer.until(lambda: told in peer.status()[0].message, 'that stamps are missing')


def test_max_rate_goes_by_header_stamps(node, peer: Peer, walk) -> None:
    assert peer.set_parameter('max_rate_hz', 1.0)
    peer.ask(image_message(walk[0], 100.0))
    for i in range(1, 8):
        peer.camera.publish(image_message(walk[i], 100.0 + 0.1 * i))
        peer.spin(0.1)

    def passed_over() -> bool:
        return int(peer.status(state='active')[1]['images above max_rate_hz']) >= 1

    peer.until(passed_over, 'an image that is skipped')
    assert [p for p in peer.places if p.header.stamp.sec == 100 and p.header.stamp.nanosec] == []
    peer.ask(image_message(walk[1], 101.0))
    peer.ask(image_message(walk[2], 50.0))  # the clock went back: begin anew
    peer.status(stamps_going_back=1)


def test_a_changed_map_is_told_of_and_reloaded(node, peer, operator, map_copy, walk) -> None:
    peer.ask(image_message(walk[0], 1.0))
    other = map_copy.with_name('other')
    shutil.copytree(map_copy, other)
    shutil.rmtree(map_copy)

    def told(word: str) -> bool:
        return word in peer.status(state='active')[0].message

    peer.until(lambda: told('gone from the disk'), 'a warning')
    assert first(peer.ask(image_message(walk[2], 2.0))) == 2
    refused = operator.call('reload_map')
    assert not refused.success and 'no such map' in refused.message
    assert 'the old map stays in use' in refused.message
    assert first(peer.ask(image_message(walk[3], 3.0))) == 3
    other.rename(map_copy)
    response = operator.call('reload_map')
    assert response.success and f'{MAP_PLACES} places' in response.message
    peer.until(lambda: peer.infos[-1].database_version == 2, 'the second load')
    assert first(peer.ask(image_message(walk[4], 4.0))) == 4
    peer.until(lambda: not told('disk'), 'the end of the warning')
    (map_copy / 'index.faiss').write_bytes(b'spoilt')
    assert 'index.faiss: has 6 bytes' in operator.call('reload_map').message
    assert first(peer.ask(image_message(walk[5], 5.0))) == 5


def test_markers_show_the_map_and_the_match(node, peer: Peer, walk) -> None:
    peer.ask(image_message(walk[0], 1.0))
    heard: list[MarkerArray] = []
    latched = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    peer.node.create_subscription(MarkerArray, 'vpr_node/markers', heard.append, latched)

    def marker(name: str) -> Marker | None:
        markers = [m for array in reversed(heard) for m in array.markers if m.ns == name]
        return markers[0] if markers else None

    def stamp_of(found: Marker | None) -> int:
        return -1 if found is None else found.header.stamp.sec

    places = peer.until(lambda: marker('places'), 'the places')
    assert places.header.frame_id == 'map' and len(places.points) == MAP_PLACES
    peer.ask(image_message(walk[6], 2.0))
    peer.until(lambda: stamp_of(marker('match')) == 2, 'the match, which may come after the place')
    match = marker('match')
    assert match.action == Marker.ADD
    expected = places.points[6]
    assert (match.pose.position.x, match.pose.position.y) == (expected.x, expected.y)
    assert len(marker('candidates').points) == 5
    assert peer.set_parameter('min_confidence', 1.0)
    peer.ask(image_message(walk[7], 3.0))
    peer.until(lambda: marker('match').action == Marker.DELETE, 'the match to vanish')
    late: list[MarkerArray] = []
    peer.node.create_subscription(MarkerArray, 'vpr_node/markers', late.append, latched)
    peer.until(lambda: [m for a in late for m in a.markers if m.ns == 'places'], 'the places')


def test_debug_image_only_while_somebody_looks(node, peer: Peer, walk) -> None:
    peer.ask(image_message(walk[0], 1.0))
    pictures: list[Image] = []
    watcher = peer.node.create_subscription(Image, 'vpr_node/debug_image', pictures.append, 10)
    peer.until(lambda: peer.node.count_publishers('vpr_node/debug_image'), 'the topic')
    number = 1

    def shown() -> bool:
        nonlocal number
        number += 1
        peer.ask(image_message(walk[number % MAP_PLACES], 10.0 + number))
        return bool(pictures)

    peer.until(shown, 'a picture')
    message = pictures[0]
    assert (message.encoding, message.height, message.width) == ('rgb8', 268, 640)
    pixels = np.frombuffer(message.data, np.uint8).reshape(268, 640, 3)
    assert pixels[28:, :320].std() > 10
    peer.node.destroy_subscription(watcher)


def test_bad_pictures_of_the_camera_are_named_and_not_matched(node, peer: Peer, walk) -> None:
    peer.ask(image_message(walk[0], 1.0))
    black, white = np.zeros_like(walk[0]), np.full_like(walk[0], 255)
    smear = np.repeat(walk[0].mean(axis=1, keepdims=True), walk[0].shape[1], axis=1)
    for i, (pixels, kind) in enumerate(
        ((black, 'nearly black'), (white, 'over-exposed'), (smear.astype(np.uint8), 'blurred'))
    ):
        assert peer.ask(image_message(pixels, 10.0 + i)).results == []
        peer.until(lambda kind=kind: kind in peer.status()[0].message, f'a warning of {kind}')
    for i in range(14):  # equal, and yet not frozen: white has no noise
        peer.ask(image_message(white, 13.0 + i / 10))
    assert first(peer.ask(image_message(walk[3], 20.0))) == 3
    for i in range(14):
        peer.ask(image_message(walk[4], 30.0 + i))
    assert [p for p in peer.places if p.header.stamp.sec == 43][0].results == []
    peer.until(lambda: 'frozen' in peer.status()[0].message, 'a warning of the frozen camera')
    assert 'set frozen_after to 0' in peer.status()[0].message[:128]
    assert first(peer.ask(image_message(walk[5], 50.0))) == 5
    status, values = peer.status(state='active')
    # `ask` sends an image again where the machine is slow
    least = {'frozen': 1, 'blurred': 1, 'over-exposed': 15}
    assert all(int(values[f'camera faults: {kind}']) >= n for kind, n in least.items())

# SPDX-License-Identifier: Apache-2.0
"""vpr_node as a process of its own: what it answers to good and bad images."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='rclpy cannot be imported')

from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.qos import qos_profile_sensor_data
from ros_helpers import (
    ACTIVATE,
    CLEANUP,
    CONFIGURE,
    DEACTIVATE,
    MAP_PLACES,
    TOWN,
    NodeProcess,
    Peer,
    compressed_message,
    image_message,
)
from sensor_msgs.msg import CompressedImage, Image

from ashtkd_ros.network.embedder import Embedder
from ashtkd_ros.network.shipped_model import shipped_model
from ashtkd_ros.traverses.image_folder import read_source

pytest_plugins = ['ros_fixtures']
pytestmark = pytest.mark.ros
TIMEOUT_S = 6.0


@pytest.fixture(scope='module')
def raw_node(ros, town_map: Path, tmp_path_factory) -> Iterator[NodeProcess]:
    """Answers every image with its best guess."""
    folder = tmp_path_factory.mktemp('raw')
    node = NodeProcess(
        folder, map_path=town_map, min_confidence=0.0, image_timeout_s=TIMEOUT_S, num_threads=1
    )
    yield node
    try:
        node.end()
    finally:
        node.kill()


@pytest.fixture(scope='module')
def jpeg_node(ros, town_map: Path, tmp_path_factory) -> Iterator[NodeProcess]:
    """The same for compressed images, in a namespace."""
    folder = tmp_path_factory.mktemp('jpeg')
    remaps = ('-r', 'image:=jpeg', '-r', '__ns:=/robot')
    parameters = {'image_transport': 'compressed', 'min_confidence': 0.0, 'num_threads': 1}
    node = NodeProcess(folder, *remaps, map_path=town_map, **parameters)
    yield node
    try:
        node.end()
    finally:
        node.kill()


@pytest.fixture
def robot(ros) -> Iterator[Peer]:
    """Peer in the namespace of `jpeg_node`."""
    peer = Peer('/robot')
    yield peer
    peer.close()


def check_answer(place, message, number: int) -> None:
    """`place` answers the map's own image `number`."""
    assert place.header == message.header
    scores = [result.score for result in place.results]
    assert scores == sorted(scores, reverse=True)
    assert all(0.0 <= score <= 1.0 for score in scores)
    ids = [int(result.class_id) for result in place.results]
    assert len(set(ids)) == len(ids) == 5
    assert ids[0] == number


def test_an_image_is_answered_by_its_place(raw_node, peer: Peer, walk) -> None:
    message = image_message(walk[7], 1234.5)
    check_answer(peer.ask(message), message, 7)


def test_the_pose_is_the_places(raw_node, peer: Peer, walk) -> None:
    message = image_message(walk[4], 20.25)
    peer.ask(message)
    pose = peer.until(lambda: peer.poses, 'a pose')[-1]
    assert pose.header.frame_id == 'map'
    assert pose.header.stamp == message.header.stamp
    expected = read_source(TOWN / 'day')[4].pose
    position, orientation = pose.pose.pose.position, pose.pose.pose.orientation
    found = (position.x, position.y, position.z, orientation.z, orientation.w)
    wanted = (expected.x, expected.y, expected.z, expected.qz, expected.qw)
    assert found == pytest.approx(wanted)
    covariance = pose.pose.covariance.reshape(6, 6)
    assert (np.diag(covariance) > 0).all()
    assert np.array_equal(covariance, covariance.T)
    # within the places' spacing (1.75 m) and doubt; the yaw is wider than roll and pitch
    assert 1.0 < covariance[0, 0] < 1000.0
    assert covariance[5, 5] > covariance[3, 3]


def test_a_late_listener_gets_the_vision_info(raw_node, peer: Peer, town_map, walk) -> None:
    peer.ask(image_message(walk[0], 30.0))
    late = Peer()
    info = late.until(lambda: late.infos, 'the latched vision info')[0]
    late.close()
    embedder = Embedder(shipped_model(), num_threads=1)
    assert info.method == f'{embedder.name} {embedder.hash[:16]}'
    assert info.database_location == str(town_map)
    assert info.database_version == 1


def troubles(status: DiagnosticStatus) -> list[str]:
    """What diagnostics warn of, the stamps apart, which these tests choose as they like."""
    said = [] if status.level == DiagnosticStatus.OK else status.message.split('; ')
    return [trouble for trouble in said if 'stamps jumped' not in trouble]


def test_diagnostics_count_and_warn_of_silence(raw_node, peer: Peer, town_map, walk) -> None:
    before = int(peer.status(state='active')[1]['places published'])
    for number in range(3):
        peer.ask(image_message(walk[number], 40.0 + number))

    def published() -> bool:
        return int(peer.status(state='active')[1]['places published']) >= before + 3

    peer.until(published, 'three more places')
    status, values = peer.status(state='active')
    assert troubles(status) == []
    assert values['map'] == str(town_map)
    assert values['places in map'] == str(MAP_PLACES)
    assert values['execution provider'] == 'CPUExecutionProvider'
    assert 0.0 < float(values['latency p50 ms']) <= float(values['latency p95 ms'])
    assert 0.0 < float(values['last similarity']) <= 1.001
    assert int(values['images received']) >= int(values['places published'])
    silent = peer.until(lambda: [s for s in peer.diagnostics if troubles(s)], 'a warning')[0]
    assert silent.level == DiagnosticStatus.WARN and 'no image for' in silent.message


def truncated(message: Image) -> None:
    message.data = message.data[:1000]


def wrong_step(message: Image) -> None:
    message.step = message.width


def zero_size(message: Image) -> None:
    message.width = message.height = message.step = 0
    message.data = b''


def unknown_encoding(message: Image) -> None:
    message.encoding = 'rgb9'


def odd_size(message: Image) -> None:
    message.encoding, message.width = 'yuv422', 319


@pytest.mark.parametrize(
    ('spoil', 'kind'),
    [
        (truncated, 'truncated data'),
        (wrong_step, 'wrong step'),
        (zero_size, 'zero size'),
        (unknown_encoding, 'unknown encoding'),
        (odd_size, 'odd size'),
    ],
)
def test_a_bad_image_is_counted(
    raw_node, peer: Peer, walk, spoil: Callable[[Image], None], kind: str
) -> None:
    peer.ask(image_message(walk[0], 50.0))
    bad = image_message(walk[1], 51.0)
    spoil(bad)
    peer.camera.publish(bad)
    status, values = peer.status(**{f'bad images: {kind}': 1})
    assert troubles(status) == []
    assert values['last error']
    good = image_message(walk[2], 52.0)
    check_answer(peer.ask(good), good, 2)
    assert not [p for p in peer.places if p.header.stamp.sec == 51]
    assert raw_node.alive
    assert 'image not used' in raw_node.stderr


def test_compressed_images(jpeg_node, robot: Peer, walk) -> None:
    for number, kind in ((3, 'jpg'), (8, 'png')):
        message = compressed_message(walk[number], 60.0 + number, kind)
        check_answer(robot.ask(message, robot.compressed_camera), message, number)


@pytest.mark.parametrize(
    ('data', 'kind'),
    [
        (b'', 'truncated data'),
        (b'no JPEG at all', 'not decodable'),
        (b'\xff\xd8' + bytes(3000), 'not decodable'),
    ],
)
def test_garbage_for_a_jpeg_is_counted(jpeg_node, robot, walk, data: bytes, kind: str) -> None:
    camera = robot.compressed_camera
    robot.ask(compressed_message(walk[0], 70.0), camera)
    before = int(robot.status(state='active')[1].get(f'bad images: {kind}', 0))
    camera.publish(CompressedImage(format='jpeg', data=data))
    robot.status(**{f'bad images: {kind}': before + 1})
    good = compressed_message(walk[1], 71.0)
    check_answer(robot.ask(good, camera), good, 1)


def test_an_unknown_place_has_no_results_and_no_pose(jpeg_node, robot: Peer, walk) -> None:
    """Last of this node: it is configured anew, which raises the map's version."""
    robot.ask(compressed_message(walk[5], 80.0), robot.compressed_camera)
    robot.until(lambda: robot.poses, 'the pose of an accepted match')
    assert robot.set_parameter('min_confidence', 1.0)
    for transition in (DEACTIVATE, CLEANUP, CONFIGURE, ACTIVATE):
        assert robot.change_state(transition)
    robot.poses.clear()
    message = compressed_message(walk[5], 81.0)
    place = robot.ask(message, robot.compressed_camera)
    assert place.header == message.header
    assert place.results == []

    def refused() -> dict[str, str]:
        _, values = robot.status(state='active')
        return values if int(values['unknown places']) else {}

    values = robot.until(refused, 'an unknown place')  # two where `ask` had to ask again
    assert 'below min_confidence 1.00' in values['last refusal']
    assert robot.poses == []
    robot.until(
        lambda: robot.infos[-1].database_version == 2, 'the vision info of the second load'
    )


def test_every_image_of_a_replay_is_answered_once_and_in_order(raw_node, peer: Peer, walk) -> None:
    peer.ask(image_message(walk[0], 90.0))

    def answers() -> list:
        return [place for place in peer.places if place.header.stamp.sec >= 100]

    for i in range(40):
        # Answered before the next is sent: the latest wins, and a machine that stalls drops one.
        peer.camera.publish(image_message(walk[i % MAP_PLACES], 100.0 + i / 10))
        peer.until(lambda i=i: len(answers()) > i, f'place {i}')
    stamps = [p.header.stamp.sec + p.header.stamp.nanosec * 1e-9 for p in answers()]
    assert stamps == pytest.approx([100.0 + i / 10 for i in range(40)])
    expected = [i % MAP_PLACES for i in range(40)]
    assert [int(p.results[0].class_id) for p in answers()] == expected


def test_a_best_effort_camera_is_heard(raw_node, peer: Peer, walk) -> None:
    camera = peer.node.create_publisher(Image, 'image', qos_profile_sensor_data)
    message = image_message(walk[6], 110.0)
    check_answer(peer.ask(message, camera), message, 6)

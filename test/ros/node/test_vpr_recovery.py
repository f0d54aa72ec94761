# SPDX-License-Identifier: Apache-2.0
"""What goes wrong around a node that runs: it says what, and goes on by itself when mended."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='rclpy cannot be imported')

from conftest import TINY_PREPROCESSING
from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from ros_helpers import (
    ACTIVATE,
    DEACTIVATE,
    NodeProcess,
    Peer,
    compressed_message,
    image_message,
    until,
)
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import String

from ashtkd_ros.maps.place_map import Place, PlaceMap
from ashtkd_ros.network.embedder import Embedder

pytest_plugins = ['ros_fixtures']
pytestmark = pytest.mark.ros
RELIABLE = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
BEST_EFFORT = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


@pytest.fixture
def start(ros, town_map: Path, tmp_path: Path) -> Iterator[Callable[..., NodeProcess]]:
    """Starts a node with parameters; it ends well or the test fails."""
    nodes = []

    def make(**parameters: object) -> NodeProcess:
        parameters = {'map_path': town_map, 'image_timeout_s': 1.0, **parameters}
        fixed = {'min_confidence': 0.0, 'num_threads': 1}
        nodes.append(NodeProcess(tmp_path / 'node', '-r', 'image:=scene', **fixed, **parameters))
        return nodes[-1]

    yield make
    for node in nodes:
        try:
            node.end()
        finally:
            node.kill()


def warned(peer: Peer, *words: str) -> None:
    """The node's diagnostics come to warn with these words."""

    def found() -> bool:
        status, _ = peer.status(state='active')
        return status.level == DiagnosticStatus.WARN and all(w in status.message for w in words)

    peer.until(found, f'a warning of {words}')


def well(peer: Peer, camera, walk, number: int, stamp: float) -> None:
    """An image is recognised and nothing is warned of."""
    place = peer.ask(image_message(walk[number], stamp), camera)
    assert int(place.results[0].class_id) == number

    def film() -> None:  # else the next diagnostics may come when the last image is old
        camera.publish(image_message(walk[number], stamp + 0.5))
        peer.spin(0.1)

    def fine() -> bool:
        return bool(peer.diagnostics) and peer.diagnostics[-1].level == DiagnosticStatus.OK

    peer.diagnostics.clear()
    until(fine, 'diagnostics without a warning', film)


def test_a_camera_unplugged_and_back(start, peer: Peer, walk) -> None:
    start(frozen_after=0)
    warned(peer, 'no image yet', 'nobody publishes on /scene')
    for turn in range(2):
        camera = peer.node.create_publisher(Image, 'scene', RELIABLE)
        well(peer, camera, walk, 2 + turn, 10.0 * (turn + 1))
        warned(peer, 'no image for', 'no message comes on /scene')
        warned(peer, '/peer publishes with QoS reliable')
        peer.node.destroy_publisher(camera)
        warned(peer, 'no image for', 'nobody publishes on /scene')


@pytest.mark.parametrize(
    ('wanted', 'offered', 'reason'),
    [
        ({'reliability': 'reliable'}, BEST_EFFORT, 'best effort publisher'),
        ({'durability': 'transient_local'}, RELIABLE, 'volatile publisher'),
    ],
)
def test_qos_that_cannot_meet(start, peer: Peer, walk, wanted, offered, reason) -> None:
    overrides = {f'qos_overrides./scene.subscription.{k}': v for k, v in wanted.items()}
    start(frozen_after=0, **overrides)
    camera = peer.node.create_publisher(Image, 'scene', offered)
    warned(peer, f'incompatible QoS ({reason}', '/peer publishes with QoS', 'this node requests')
    peer.node.destroy_publisher(camera)
    better = RELIABLE if 'reliability' in wanted else LATCHED
    well(peer, peer.node.create_publisher(Image, 'scene', better), walk, 3, 5.0)


def test_a_camera_that_turns_best_effort_and_reliable_again(start, peer: Peer, walk) -> None:
    start(frozen_after=0)

    def subscribed() -> ReliabilityPolicy | None:
        found = peer.node.get_subscriptions_info_by_topic('/scene')
        return found[0].qos_profile.reliability if len(found) == 1 else None

    for turn, qos in enumerate((RELIABLE, BEST_EFFORT, RELIABLE, BEST_EFFORT)):
        camera = peer.node.create_publisher(Image, 'scene', qos)
        well(peer, camera, walk, 4 + turn, 10.0 * (turn + 1))
        peer.until(lambda qos=qos: subscribed() == qos.reliability, 'what the camera offers')
        peer.node.destroy_publisher(camera)


def test_a_best_effort_camera_that_was_there_before(start, peer: Peer, walk) -> None:
    camera = peer.node.create_publisher(Image, 'scene', BEST_EFFORT)
    node = start(**{'qos_overrides./scene.subscription.depth': 2})
    for turn in range(12):
        place = peer.ask(image_message(walk[turn], 1.0 + turn), camera)
        assert int(place.results[0].class_id) == turn
        assert peer.change_state(DEACTIVATE) and peer.change_state(ACTIVATE)
    assert 'not received' not in node.stderr and 'Traceback' not in node.stderr


def test_overrides_of_another_topic_are_told_of(start, peer: Peer) -> None:
    node = start(**{'qos_overrides./image.subscription.depth': 2})
    peer.status(state='active')
    assert 'qos_overrides./image.subscription.depth has no effect' in node.stderr


def test_images_of_which_none_can_be_used(start, peer: Peer, walk) -> None:
    start(frozen_after=0)
    camera = peer.node.create_publisher(Image, 'scene', RELIABLE)
    peer.ask(image_message(walk[0], 1.0), camera)

    def complained() -> bool:
        camera.publish(image_message(walk[0], 2.0, 'secret_raw12'))
        status, _ = peer.status()
        words = ('no image could be used for', 'secret_raw12')
        return status.level == DiagnosticStatus.WARN and all(w in status.message for w in words)

    peer.until(complained, 'a warning of the encoding')
    well(peer, camera, walk, 3, 5.0)


def test_messages_without_content_make_it_subscribe_anew(start, peer: Peer, walk) -> None:
    """As Fast DDS gives them, without end, once in many times that a stream is joined."""
    node = start(frozen_after=0)
    camera = peer.node.create_publisher(Image, 'scene', RELIABLE)
    well(peer, camera, walk, 3, 5.0)
    told = 'messages without content again and again; subscribing anew'

    def warned() -> bool:
        for _ in range(50):
            camera.publish(Image())
        status, _ = peer.status(state='active')
        return 'only messages without content come on /scene' in status.message

    peer.until(warned, 'a warning of it')
    assert told in node.stderr
    well(peer, camera, walk, 4, 15.0)
    assert int(peer.status(state='active')[1]['bad images: not received']) >= 1


def test_diagnostics_come_though_the_ros_clock_stands_still(start, peer: Peer) -> None:
    start(use_sim_time=True)
    warned(peer, 'no image yet')


def test_a_camera_of_the_other_transport(start, peer: Peer, walk) -> None:
    start()
    camera = peer.node.create_publisher(CompressedImage, 'scene', 1)
    camera.publish(compressed_message(walk[0]))
    warned(peer, 'publishes sensor_msgs/msg/CompressedImage', 'set image_transport to compressed')


def test_a_topic_that_is_no_camera_s(start, peer: Peer) -> None:
    start()
    peer.node.create_publisher(String, 'scene', 1)
    warned(peer, 'set image_topic: /peer publishes std_msgs/msg/String on /scene, not sensor_msgs')


@pytest.mark.parametrize('topic', ['scene/compressed', 'scene'])
def test_compressed_images_are_found_under_the_base_topic(start, peer: Peer, walk, topic) -> None:
    """As image_transport names them, or on the very topic that `image` is."""
    node = start(image_transport='compressed')
    assert '/compressed/compressed' not in node.stderr
    raw = peer.node.create_publisher(Image, 'scene', 1) if '/' in topic else None
    camera = peer.node.create_publisher(CompressedImage, topic, 1)
    place = peer.ask(compressed_message(walk[2], 1.0), camera)
    assert int(place.results[0].class_id) == 2
    if raw is not None:
        peer.node.destroy_publisher(raw)
    peer.node.destroy_publisher(camera)
    silent = 'nobody publishes on /scene'
    warned(peer, silent)


def test_compressed_is_not_appended_twice(ros, peer: Peer, town_map, tmp_path, walk) -> None:
    parameters = {'map_path': town_map, 'min_confidence': 0.0, 'num_threads': 1}
    node = NodeProcess(
        tmp_path, '-r', 'image:=scene/compressed', image_transport='compressed', **parameters
    )
    try:
        camera = peer.node.create_publisher(CompressedImage, 'scene/compressed', 1)
        assert peer.ask(compressed_message(walk[3], 1.0), camera).results[0].class_id == '3'
        assert 'images from /scene/compressed (compressed)' in node.stderr
        node.end()
    finally:
        node.kill()


def test_the_advice_comes_before_topic_echo_cuts_the_message(start, peer: Peer, walk) -> None:
    start(image_transport='compressed')
    camera = peer.node.create_publisher(Image, 'scene', 1)
    camera.publish(image_message(walk[0]))

    def advised() -> bool:
        shown = peer.status(state='active')[0].message[:128]
        return 'no image' in shown and 'set image_transport to raw' in shown

    peer.until(advised, 'the advice')


ELSEWHERE = [  # image, image_transport, where images are
    ('/x', 'raw', '/x/compressed', 'set image_transport to compressed'),
    ('/x', 'compressed', '/x', 'set image_transport to raw'),
    ('/x/compressed', 'compressed', '/x', 'set image_transport to raw and image_topic to /x'),
    ('/x/compressed', 'raw', '/x', 'set image_topic to /x'),
]


@pytest.mark.parametrize(('image', 'transport', 'topic', 'advice'), ELSEWHERE)
def test_images_of_the_other_transport_are_told_of(
    start_node, peer, town_map, image, transport, topic, advice
) -> None:
    parameters = {'map_path': town_map, 'image_timeout_s': 1.0, 'num_threads': 1}
    start_node('-r', f'image:={image}', image_transport=transport, **parameters)
    kind = CompressedImage if topic.endswith('/compressed') else Image
    camera = peer.node.create_publisher(kind, topic, 1)
    warned(peer, f'no image yet: there are images on {topic}: {advice}')
    peer.node.destroy_publisher(camera)


def test_compressed_images_are_found_again_where_they_come_next(start, peer: Peer, walk) -> None:
    start(image_transport='compressed', frozen_after=0)
    for turn, topic in enumerate(('scene', 'scene/compressed', 'scene')):
        camera = peer.node.create_publisher(CompressedImage, topic, 1)
        place = peer.ask(compressed_message(walk[2 + turn], 1.0 + turn), camera)
        assert place.results[0].class_id == str(2 + turn)
        peer.node.destroy_publisher(camera)


def test_no_image_yet_is_not_said_before_its_time(start_node, peer: Peer, town_map) -> None:
    node = start_node(map_path=town_map, image_timeout_s=4.0, num_threads=1)
    status, _ = peer.status(state='active')
    assert (status.level, status.message) == (DiagnosticStatus.OK, 'active')
    peer.until(lambda: 'diagnostics WARN: no image yet' in node.stderr, 'a warning')
    active, told = (
        float(re.search(rf'\[([0-9.]+)\] \[vpr_node\]: {text}', node.stderr)[1])
        for text in ('active: ', 'diagnostics WARN: no image yet')
    )
    assert told - active > 3.0


def test_stamps_that_stand_still_are_named(start, peer: Peer, walk) -> None:
    start(frozen_after=3, image_timeout_s=60.0)
    camera = peer.node.create_publisher(Image, 'scene', RELIABLE)
    peer.ask(image_message(walk[4], 1.0), camera)

    def told() -> bool:
        for _ in range(5):
            camera.publish(image_message(walk[4], 1.0))
            peer.spin(0.1)
        message = peer.status(state='active')[0].message
        return 'camera: frozen images (their stamps do not change' in message

    peer.until(told, 'stamps')


def test_a_simulated_camera_that_stands_still_is_answered(start, peer: Peer, walk) -> None:
    start()
    camera = peer.node.create_publisher(Image, 'scene', RELIABLE)
    for i in range(15):
        assert peer.ask(image_message(walk[4], 1.0 + 0.1 * i), camera).results, i
    assert peer.status(state='active')[0].level == DiagnosticStatus.OK


def test_a_clock_that_jumps(start, peer: Peer, walk) -> None:
    start(max_rate_hz=5.0, frozen_after=0)
    camera = peer.node.create_publisher(Image, 'scene', RELIABLE)
    for number, stamp in enumerate((1e9, 2e9, 5.0, 5.5, 0.0)):
        place = peer.ask(image_message(walk[number], stamp), camera)
        assert int(place.results[0].class_id) == number
    told = "the images' stamps jumped back by 1999999995.0 s"
    peer.until(lambda: any(told in s.message for s in peer.diagnostics), told)
    _, values = peer.status(state='active')
    assert int(values['stamps going back']) >= 1 and int(values['stamps jumping ahead']) >= 1


def failing_model(path: Path) -> Path:
    """The mean colour as descriptor; pictures brighter than 0.6 fail while running."""
    onnx = pytest.importorskip('onnx', reason='onnx is not installed: no model can be made')
    height, width = TINY_PREPROCESSING['size']
    helper, kind = onnx.helper, onnx.TensorProto
    node = helper.make_node

    def constant(name: str, value) -> object:
        array = onnx.numpy_helper.from_array(np.asarray(value), name)
        return node('Constant', [], [name], value=array)

    nodes = [
        constant('limit', np.float32([0.6])),
        constant('far', np.int64([1000])),
        constant('one', np.float32([1.0])),
        node('GlobalAveragePool', ['image'], ['pooled']),
        node('Flatten', ['pooled'], ['flat']),
        node('ReduceMax', ['flat'], ['brightest'], keepdims=0),
        node('Greater', ['brightest', 'limit'], ['bright']),
        node('Cast', ['bright'], ['number'], to=kind.INT64),
        node('Mul', ['number', 'far'], ['index']),
        node('Gather', ['one', 'index'], ['factor']),
        node('Mul', ['flat', 'factor'], ['scaled']),
        node('LpNormalization', ['scaled'], ['descriptor'], axis=1, p=2),
    ]
    image = helper.make_tensor_value_info('image', kind.FLOAT, ['batch', 3, height, width])
    out = helper.make_tensor_value_info('descriptor', kind.FLOAT, ['batch', 3])
    graph = helper.make_graph(nodes, 'failing', [image], [out])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=8)
    preprocessing = {**TINY_PREPROCESSING, 'mean': [0.0] * 3, 'std': [1.0] * 3}
    helper.set_model_props(model, {'preprocessing': json.dumps(preprocessing)})
    onnx.save(model, str(path))
    return path


def test_a_network_that_keeps_failing(start, peer: Peer, tmp_path: Path, walk) -> None:
    model = failing_model(tmp_path / 'failing.onnx')
    embedder = Embedder(model)
    dark = [(0.15 * walk[i]).astype(np.uint8) for i in range(3)]
    places = [Place(i, float(i), i, None, f'{i}.jpg') for i in range(3)]
    descriptors = np.stack([embedder.embed(image) for image in dark])
    PlaceMap.build(descriptors, places, embedder).save(tmp_path / 'map')
    open_wide = {'max_blur': 1.0, 'min_light': 0.0, 'frozen_after': 0}
    start(model_path=model, map_path=tmp_path / 'map', **open_wide)
    camera = peer.node.create_publisher(Image, 'scene', RELIABLE)
    peer.ask(image_message(dark[0], 1.0), camera)
    bright = np.full_like(walk[0], 200)

    def given_up() -> bool:
        camera.publish(image_message(bright, 2.0))
        peer.spin(0.1)
        return peer.state() == 'inactive'

    peer.until(given_up, 'the node to give up')
    status, values = peer.status(state='inactive')
    assert status.level == DiagnosticStatus.ERROR
    assert 'recognition failed 10 times in a row' in status.message
    assert int(values['bad images: recognition failed']) >= 10
    assert peer.change_state(ACTIVATE)
    assert peer.ask(image_message(dark[1], 3.0), camera).results

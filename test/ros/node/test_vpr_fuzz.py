# SPDX-License-Identifier: Apache-2.0
"""Malformed messages by the thousand, and calls of every service amid images: the node lives on.

NODE_FUZZ=20000 sets how many messages; the suite sends fewer.
"""

from __future__ import annotations

import array
import os
import random
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip('rclpy', reason='rclpy cannot be imported')

from rcl_interfaces.srv import GetParameters, ListParameters, SetParameters
from rclpy.parameter import Parameter
from ros_helpers import (
    ACTIVATE,
    DEACTIVATE,
    NodeProcess,
    Peer,
    compressed_message,
    image_message,
    stamped,
)
from sensor_msgs.msg import CompressedImage, Image
from std_srvs.srv import SetBool, Trigger

pytest_plugins = ['ros_fixtures']
pytestmark = pytest.mark.ros
MESSAGES = int(os.environ.get('NODE_FUZZ', 600))
CALLS = max(60, MESSAGES // 20)
ENCODINGS = ('rgb8', 'bgr8', 'mono8', 'mono16', 'bgra8', '16UC1', '32FC1', 'nv12', 'yuv422')
ENCODINGS += ('bayer_rggb8', 'RGB8', '', 'ü' * 300, '8UC99', 'rgb8 ')


@pytest.fixture
def transport(request) -> str:
    return getattr(request, 'param', 'raw')


@pytest.fixture
def node(ros, town_map: Path, tmp_path: Path, transport: str) -> Iterator[NodeProcess]:
    remap = ('-r', 'image:=jpeg') if transport == 'compressed' else ()
    parameters = {'image_transport': transport, 'min_confidence': 0.0, 'frozen_after': 0}
    node = NodeProcess(tmp_path, *remap, map_path=town_map, num_threads=1, **parameters)
    yield node
    try:
        node.end()
    finally:
        node.kill()


def bad_image(rng: random.Random) -> Image:
    """An Image with something wrong, or all of it random."""
    size = rng.choice((0, 1, 3, 17, 64, 320, 65536, 2**32 - 1))
    other = rng.choice((0, 1, 2, 48, 240, 2**31))
    message = Image(height=other, width=size, encoding=rng.choice(ENCODINGS))
    message.step = rng.choice((0, 1, size, min(3 * size, 2**32 - 1), 2**32 - 1))
    message.is_bigendian = rng.randrange(256)
    message.data = array.array('B', rng.randbytes(rng.choice((0, 1, 100, 5000))))
    return message


def bad_jpeg(rng: random.Random, jpeg: bytes) -> CompressedImage:
    """A JPEG cut, spoilt, or none at all."""
    data = bytearray(jpeg)
    kind = rng.randrange(4)
    if kind == 0:
        data = data[: rng.randrange(len(data))]
    elif kind == 1:
        data = bytearray(rng.randbytes(rng.randrange(4000)))
    elif kind == 2:  # the header: sizes, tables
        for _ in range(rng.randrange(1, 40)):
            data[rng.randrange(2, 600)] = rng.randrange(256)
    else:
        data = bytearray(b'\x89PNG\r\n\x1a\n' + rng.randbytes(200) + b'IEND')
    return CompressedImage(format=rng.choice(('jpeg', 'png', '')), data=bytes(data))


@pytest.mark.parametrize('transport', ['raw', 'compressed'], indirect=True)
def test_malformed_messages_are_counted_and_survived(node, peer: Peer, walk, transport) -> None:
    rng = random.Random(1)
    camera = peer.camera if transport == 'raw' else peer.compressed_camera
    make = image_message if transport == 'raw' else compressed_message
    jpeg = cv2.imencode('.jpg', walk[0][..., ::-1])[1].tobytes()
    peer.ask(make(walk[0], 1.0), camera)
    for i in range(MESSAGES):
        message = bad_image(rng) if transport == 'raw' else bad_jpeg(rng, jpeg)
        camera.publish(stamped(message, 10.0 + i))
        peer.spin(0.001)
        if i % 500 == 499:
            assert node.alive, node.stderr
            peer.ask(make(walk[i % 7], 9.0), camera)
            peer.places.clear()
    message = make(walk[3], 5.0)
    assert int(peer.ask(message, camera).results[0].class_id) == 3
    _, values = peer.status(state='active')
    known = [int(values[k]) for k in ('bad images', 'images dropped', 'places published')]
    assert sum(known) == int(values['images received'])
    assert int(values['bad images']) > 0
    by_kind = [int(v) for k, v in values.items() if k.startswith('bad images: ')]
    assert sum(by_kind) == int(values['bad images'])
    assert 'Traceback' not in node.stderr


def test_calls_of_every_service_amid_images(node, peer: Peer, walk) -> None:
    rng = random.Random(2)
    services = {
        'enable': (SetBool, lambda: SetBool.Request(data=rng.random() < 0.7)),
        'reload_map': (Trigger, Trigger.Request),
        'relocalize': (Trigger, Trigger.Request),
        'set_parameters': (SetParameters, lambda: parameters(rng)),
        'get_parameters': (GetParameters, lambda: GetParameters.Request(names=['top_k', 'none'])),
        'list_parameters': (ListParameters, ListParameters.Request),
    }
    clients = {n: peer.node.create_client(k, f'vpr_node/{n}') for n, (k, _) in services.items()}
    for name, client in clients.items():
        peer.until(client.service_is_ready, f'the service {name}')
    peer.service('relocalize')  # the node has met all clients before it
    peer.ask(image_message(walk[0], 1.0))
    for i in range(CALLS):
        for number in range(3):
            peer.camera.publish(image_message(walk[(i + number) % 7], 10.0 + i + 0.1 * number))
        if i % 50 == 49:
            assert peer.change_state(DEACTIVATE) and peer.change_state(ACTIVATE)
        names = rng.sample(sorted(services), 3)
        futures = [clients[name].call_async(services[name][1]()) for name in names]
        peer.until(lambda futures=futures: all(f.done() for f in futures), f'answers of {names}')
        assert node.alive, node.stderr
    for name, value in (('top_k', 5), ('min_confidence', 0.0), ('max_rate_hz', 0.0)):
        assert peer.set_parameter(name, value)
    for name, value in (('max_blur', 1.0), ('min_light', 0.0), ('frozen_after', 0)):
        assert peer.set_parameter(name, value)
    request = SetBool.Request(data=True)
    peer.until(clients['enable'].call_async(request).done, 'the node to be enabled')
    peer.places.clear()
    assert int(peer.ask(image_message(walk[5], 9.0)).results[0].class_id) == 5
    assert 'Traceback' not in node.stderr


def parameters(rng: random.Random) -> SetParameters.Request:
    """One to three parameters, good ones and bad."""
    names = ('min_confidence', 'top_k', 'max_rate_hz', 'map_frame', 'image_timeout_s', 'max_blur')
    names += ('min_light', 'frozen_after', 'publish_pose', 'providers', 'num_threads', 'nonsense')
    values = (0, 1, -1, 7, 2**40, 0.0, 0.5, 1e300, float('nan'), float('inf'), '', 'x', True)
    values += (['a', 'b'], [1.0, np.pi], [])
    chosen = [Parameter(rng.choice(names), value=rng.choice(values)) for _ in range(3)]
    return SetParameters.Request(parameters=[p.to_parameter_msg() for p in chosen])

# SPDX-License-Identifier: Apache-2.0
"""What a running vpr_node must not have imported: start-up time and memory of a robot."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip('rclpy', reason='rclpy cannot be imported')

from ros_helpers import (
    TOWN,
    NodeProcess,
    Peer,
    compressed_message,
    image_message,
    picture,
)
from sensor_msgs.msg import Image

from ashtkd_ros.commands.build_map import main as build_map

pytest_plugins = ['ros_fixtures']
pytestmark = pytest.mark.ros
UNUSED = {'rosbags', 'tqdm', 'sqlite3', 'matplotlib', 'jinja2', 'rich', 'torch', 'onnx'}
UNUSED |= {'cv_bridge', 'scipy', 'pandas', 'pydantic', 'PIL', 'launch', 'multiprocessing', 'tools'}
NAMES_OF_BAGS = {'ashtkd_ros.bags', 'ashtkd_ros.bags.bag_names'}  # no reader of bags
STOREYS = ('bags', 'mapping', 'evaluation', 'trials', 'commands', 'ros.play', 'ros.trial')


class LeanNode(NodeProcess):
    """vpr_node, see `lean_node`."""

    module = 'lean_node'


@pytest.fixture(scope='module')
def folder_map(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Map of the day walk without thumbnails: its pictures stay in the folder of the walk."""
    folder = tmp_path_factory.mktemp('map') / 'day'
    command = [TOWN / 'day', '-o', folder, '--no-thumbnails', '--keyframes', 'distance']
    command += ['--metres', 20]
    with pytest.raises(SystemExit) as end:
        build_map([str(word) for word in command])
    assert end.value.code == 0 and not (folder / 'thumbnails').exists()
    return folder


@pytest.fixture
def node(request, folder_map: Path, peer: Peer, tmp_path: Path) -> Iterator[LeanNode]:
    remap = '-r', 'image:=jpeg' if request.param == 'compressed' else 'image:=image'
    settings = {'map_path': folder_map, 'image_transport': request.param, 'min_confidence': 0.0}
    started = LeanNode(tmp_path / 'node', *remap, num_threads=1, **settings)
    yield started
    started.kill()


def shows_a_place(message: Image) -> bool:
    """Whether the debug picture has the image of a place beside the query."""
    pixels = np.frombuffer(message.data, np.uint8).reshape(message.height, message.width, 3)
    return pixels[28:, message.width // 2 :].std() > 10


@pytest.mark.parametrize('node', ['raw', 'compressed'], indirect=True, ids=str)
def test_a_node_at_work_has_imported_nothing_that_it_does_not_use(
    node: LeanNode, peer: Peer, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    shown: list[Image] = []
    debug = peer.node.create_subscription(Image, 'vpr_node/debug_image', shown.append, 1)
    peer.until(lambda: peer.node.count_publishers(debug.topic_name), 'the debug image')
    peer.until(lambda: peer.infos, 'the map')
    if request.node.callspec.params['node'] == 'compressed':
        camera, message = peer.compressed_camera, compressed_message(picture())
    else:
        grey = cv2.cvtColor(picture(), cv2.COLOR_RGB2GRAY).astype(np.uint16) * 16
        camera, message = peer.camera, image_message(grey, encoding='mono16')
    assert peer.service('reload_map')().success
    peer.ask(message, camera)
    peer.until(lambda: any(shows_a_place(m) for m in shown), 'the image of a place')
    node.end()
    modules = (tmp_path / 'node' / 'modules.txt').read_text().splitlines()
    assert 'ashtkd_ros.ros.node.vpr_node' in modules
    assert 'ashtkd_ros.traverses.folder_traverse' in modules
    assert UNUSED & {module.partition('.')[0] for module in modules} == set()
    assert 'ashtkd_ros.ros.node.location_prior' not in modules
    ours = tuple(f'ashtkd_ros.{storey}' for storey in STOREYS)
    assert {module for module in modules if module.startswith(ours)} <= NAMES_OF_BAGS

# SPDX-License-Identifier: Apache-2.0
"""Which topics of a running node are those of its images and its places."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.importorskip('rclpy', reason='rclpy cannot be imported')

import rclpy
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, Image
from vision_msgs.msg import Classification

from ashtkd_ros.errors import VprError
from ashtkd_ros.ros.play import node_graph
from ashtkd_ros.ros.play.observer import NodeTopics

pytest_plugins = ['ros_fixtures']
pytestmark = pytest.mark.ros
NAME = '/robot/vpr_node'


@pytest.fixture
def node(ros, monkeypatch: pytest.MonkeyPatch) -> Iterator[Node]:
    """A node that publishes an image and a place, and hears places of another node."""
    monkeypatch.setattr(node_graph, 'DISCOVERY_S', 2.0)
    node = rclpy.create_node('vpr_node', namespace='/robot')
    node.create_publisher(Image, '/debug', 1)
    node.create_publisher(Classification, '/said', 1)
    node.create_subscription(Classification, '/heard', lambda _: None, 1)
    yield node
    node.destroy_node()


def refusal(compressed: bool = False, name: str = NAME) -> str:
    with pytest.raises(VprError) as error:
        node_graph.topics_of(name, compressed)
    return str(error.value)


def test_what_is_heard_and_what_is_said_are_not_mixed(node: Node) -> None:
    node.create_subscription(Image, '/camera', lambda _: None, 1)
    node.create_subscription(CompressedImage, '/jpeg', lambda _: None, 1)
    assert node_graph.topics_of(NAME, False) == NodeTopics(NAME, '/camera', '/said')
    assert node_graph.topics_of(NAME, True) == NodeTopics(NAME, '/jpeg', '/said')


def test_an_image_that_is_only_published_is_no_camera(node: Node) -> None:
    assert refusal().startswith(f'{NAME} subscribes to no Image; check that it is active')
    assert refusal(compressed=True).startswith(f'{NAME} subscribes to no CompressedImage;')


def test_several_cameras_are_no_choice_to_make_silently(node: Node) -> None:
    for topic in ('/rear', '/front'):
        node.create_subscription(Image, topic, lambda _: None, 1)
    assert refusal().startswith(f'{NAME} has /front and /rear, where one topic must be;')


def test_a_node_without_places_and_no_node(ros, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_graph, 'DISCOVERY_S', 2.0)
    viewer = rclpy.create_node('viewer')
    viewer.create_subscription(Image, '/camera', lambda _: None, 1)
    assert refusal(name='viewer').startswith('/viewer publishes no places;')
    viewer.destroy_node()
    assert refusal(name='nobody').startswith('no node is called /nobody;')

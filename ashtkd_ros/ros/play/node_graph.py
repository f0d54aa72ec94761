# SPDX-License-Identifier: Apache-2.0
"""The topics of a node that is running already, whatever they were remapped to."""

from __future__ import annotations

import contextlib

import rclpy
from rclpy.node import NodeNameNonExistentError

from ashtkd_ros.bags.bag import COMPRESSED_TYPE, IMAGE_TYPE
from ashtkd_ros.errors import VprError
from ashtkd_ros.ros.play.observer import DISCOVERY_S, NodeTopics, end_on_signal, wait_for

_PLACE_TYPE = 'vision_msgs/msg/Classification'


def topics_of(name: str, compressed: bool) -> NodeTopics:
    """The topics that the node `name` takes images from and publishes places on.

    VprError where no such node appears, or it does not take images of that kind.
    """
    name = '/' + name.lstrip('/')
    image_type = COMPRESSED_TYPE if compressed else IMAGE_TYPE
    graph, found = rclpy.create_node('live'), {}

    def look() -> bool:
        found.update(_topics_by_type(graph, name))
        return {image_type, _PLACE_TYPE} <= found.keys()

    try:
        if wait_for(look, DISCOVERY_S, end_on_signal):
            return NodeTopics(name, found[image_type], found[_PLACE_TYPE])
    finally:
        graph.destroy_node()
    if not found:
        raise VprError(f'no node is called {name}; "ros2 node list" shows the names')
    kind = image_type.rpartition('/')[2]
    raise VprError(
        f'{name} subscribes to no {kind}; check that it is active and what image_transport it has'
    )


def _topics_by_type(graph: rclpy.node.Node, name: str) -> dict[str, str]:
    """Type → a topic of that type, of all that a node subscribes to and publishes."""
    namespace, _, base = name.rpartition('/')
    found = {}
    with contextlib.suppress(NodeNameNonExistentError):
        for topic, types in (
            *graph.get_subscriber_names_and_types_by_node(base, namespace or '/'),
            *graph.get_publisher_names_and_types_by_node(base, namespace or '/'),
        ):
            found.update(dict.fromkeys(types, topic))
    return found

# SPDX-License-Identifier: Apache-2.0
"""The topics of a node that is running already, whatever they were remapped to."""

from __future__ import annotations

import rclpy

from ashtkd_ros.bags.bag import COMPRESSED_TYPE, IMAGE_TYPE
from ashtkd_ros.errors import VprError
from ashtkd_ros.ros.node_topics import topics_by_type
from ashtkd_ros.ros.play.observer import DISCOVERY_S, NodeTopics, wait_for
from ashtkd_ros.ros.session import end_on_signal

_PLACE_TYPE = 'vision_msgs/msg/Classification'


def topics_of(name: str, compressed: bool) -> NodeTopics:
    """The topics that the node `name` takes images from and publishes places on.

    VprError where no such node appears, it does not take images of that kind, or its name tells
    too little, since it takes images of that kind from several topics.
    """
    name = '/' + name.lstrip('/')
    image_type = COMPRESSED_TYPE if compressed else IMAGE_TYPE
    graph = rclpy.create_node('live')
    subscribed: dict[str, list[str]] = {}
    published: dict[str, list[str]] = {}

    def look() -> bool:
        nonlocal subscribed, published
        subscribed, published = topics_by_type(graph, name)
        return image_type in subscribed and _PLACE_TYPE in published

    try:
        wait_for(look, DISCOVERY_S, end_on_signal)
    finally:
        graph.destroy_node()
    if not (subscribed or published):
        raise VprError(f'no node is called {name}; "ros2 node list" shows the names')
    kind = image_type.rpartition('/')[2]
    advice = f'subscribes to no {kind}; check that it is active and what image_transport it has'
    image = _only(subscribed.get(image_type, []), name, advice)
    advice = 'publishes no places; check that it is an active vpr_node'
    return NodeTopics(name, image, _only(published.get(_PLACE_TYPE, []), name, advice))


def _only(topics: list[str], name: str, advice: str) -> str:
    """The only one of these topics of a node; `advice`: what a node lacks that has none."""
    if not topics:
        raise VprError(f'{name} {advice}')
    if len(topics) > 1:
        found = ' and '.join(sorted(topics))
        raise VprError(
            f'{name} has {found}, where one topic must be; check that its name is unique'
        )
    return topics[0]

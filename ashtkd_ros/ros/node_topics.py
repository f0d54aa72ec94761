# SPDX-License-Identifier: Apache-2.0
"""What topics a node has, as the graph tells."""

from __future__ import annotations

import contextlib

from rclpy.node import Node, NodeNameNonExistentError


def topics_by_type(graph: Node, name: str) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Type → topics of that type: those that a node subscribes to, and those it publishes.

    `graph`: any node of this process; `name`: full name of the node that is asked about.
    """
    namespace, _, base = name.rpartition('/')
    subscribed: dict[str, list[str]] = {}
    published: dict[str, list[str]] = {}
    with contextlib.suppress(NodeNameNonExistentError):
        for found, topics in (
            (subscribed, graph.get_subscriber_names_and_types_by_node(base, namespace or '/')),
            (published, graph.get_publisher_names_and_types_by_node(base, namespace or '/')),
        ):
            for topic, types in topics:
                for kind in types:
                    found.setdefault(kind, []).append(topic)
    return subscribed, published

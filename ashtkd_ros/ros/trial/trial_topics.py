# SPDX-License-Identifier: Apache-2.0
"""The dashboard's ears: the topics of a vpr_node and of a trial, found in the graph."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseWithCovarianceStamped
from std_msgs.msg import String
from vision_msgs.msg import Classification, VisionInfo
from visualization_msgs.msg import MarkerArray

from ashtkd_ros.errors import VprError
from ashtkd_ros.ros.node_topics import topics_by_type
from ashtkd_ros.ros.topic_names import FULL_NAME
from ashtkd_ros.ros.trial.polled_subscriptions import PolledSubscriptions
from ashtkd_ros.trials.dashboard.state import NODE_STATUS, STALE_S, DashboardState
from ashtkd_ros.trials.vocabulary import EVENT_TOPIC, MARK_TOPIC, MARKED_TOPIC

_LOOK_S = 1.0  # from one look at the graph to the next
_SETTLED_S = 2.0  # every node has sent its diagnostics within this time
_SILENT_S = 5.0  # nodes that send no diagnostics are looked for in the graph
_PLACES = 'places'  # namespace of the markers that are the map
_PLACE_TYPE, _INFO_TYPE = 'vision_msgs/msg/Classification', 'vision_msgs/msg/VisionInfo'
_POSE_TYPE = 'geometry_msgs/msg/PoseWithCovarianceStamped'
_ALSO_A_POSE = '/initialpose'  # what a vpr_node tells others once
_MARKERS_TYPE = 'visualization_msgs/msg/MarkerArray'


class TrialTopics:
    """Feeds a state with what is said, and sends marks."""

    def __init__(self, state: DashboardState, wanted: str = ''):
        """`wanted`: full name of the vpr_node; empty: the only one. VprError if it is no name."""
        self._wanted = f'/{wanted.lstrip("/")}' if wanted else ''
        if self._wanted and not FULL_NAME.fullmatch(self._wanted):
            raise VprError(f'"{wanted}" is no name of a node; "ros2 node list" shows the names')
        self._state = state
        self._node = rclpy.create_node(
            'vpr_dashboard', start_parameter_services=False, enable_rosout=False
        )
        self._topics = PolledSubscriptions(self._node)
        self._marker_topic, self._trial = '', ''
        self._mark = self._node.create_publisher(String, MARK_TOPIC, 10)
        self._heard: dict[str, float] = {}  # name of a vpr_node → when its diagnostics came last
        self._first, self._began, self._next = math.inf, state.now(), -math.inf

    def poll(self) -> None:
        """Take in what has come since the last call; VprError where the node is not clear."""
        now = self._state.now()
        if now >= self._next:
            self._next = now + _LOOK_S
            self._look()
        self._topics.poll()

    def mark(self, kind: str, text: str) -> None:
        """Send a mark; the state tells whether it has been saved."""
        sent = self._state.marks.send(kind, text)
        self._mark.publish(String(data=f'{sent.kind} {sent.text}'.rstrip()))

    def close(self) -> None:
        """Leave the graph."""
        self._node.destroy_node()

    def _look(self) -> None:
        self._topics.hear('diagnostics', DiagnosticArray, '/diagnostics', self._on_status, 100)
        if not self._state.node and (name := self._wanted or self._only_node()):
            self._state.follow(name)
        if self._state.node:
            self._hear_node()
        self._hear_trial()

    def _only_node(self) -> str:
        """The vpr_node that is there; empty if there is none yet. VprError if there are more."""
        now = self._state.now()
        if self._heard:
            if now - self._first < _SETTLED_S:
                return ''
            names = {name for name, at in self._heard.items() if now - at < STALE_S}
        else:
            names = self._silent_nodes() if now - self._began > _SILENT_S else set()
        if len(names) > 1:
            raise VprError(f'there are {" and ".join(sorted(names))}; name one of them by --node')
        return next(iter(names), '')

    def _silent_nodes(self) -> set[str]:
        """Names of the nodes that publish what a vpr_node does."""
        topics = self._node.get_topic_names_and_types()
        places, infos = (
            self._publishers(name for name, types in topics if kind in types)
            for kind in (_PLACE_TYPE, _INFO_TYPE)
        )
        return places & infos

    def _publishers(self, topics: Iterable[str]) -> set[str]:
        found = [i for t in topics for i in self._node.get_publishers_info_by_topic(t)]
        names = {f'{i.node_namespace.rstrip("/")}/{i.node_name}' for i in found}
        return {name for name in names if FULL_NAME.fullmatch(name)}

    def _hear_node(self) -> None:
        _, published = topics_by_type(self._node, self._state.node)
        for key, kind, type_name, receive in (  # the name comes after its place
            ('place', Classification, _PLACE_TYPE, self._on_place),
            ('place_name', String, 'std_msgs/msg/String', self._on_name),
            ('pose', PoseWithCovarianceStamped, _POSE_TYPE, self._on_pose),
            ('vision_info', VisionInfo, _INFO_TYPE, self._on_info),
        ):
            if topic := self._topic_of(key, published.get(type_name, [])):
                self._topics.hear(key, kind, topic, receive)
        markers = self._topic_of('markers', published.get(_MARKERS_TYPE, []))
        self._marker_topic = markers or self._marker_topic

    def _topic_of(self, name: str, topics: list[str]) -> str:
        """Which of a node's topics of one type is its ~/name, perhaps remapped; '' if none."""
        if (own := f'{self._state.node}/{name}') in topics:
            return own
        return next((t for t in sorted(topics) if not t.endswith(_ALSO_A_POSE)), '')

    def _hear_trial(self) -> None:
        trial = self._trial_namespace()
        if trial != self._trial:
            self._trial = trial
            self._node.destroy_publisher(self._mark)
            self._mark = self._node.create_publisher(String, trial + MARK_TOPIC, 10)
        event, marked = trial + EVENT_TOPIC, trial + MARKED_TOPIC
        self._topics.hear('event', String, event, self._on_event, 100)
        self._topics.hear('marked', String, marked, self._on_marked, 100)

    def _trial_namespace(self) -> str:
        """What stands before the topics of the trial; empty: the namespace of this node."""
        if self._node.count_publishers(self._trial + MARKED_TOPIC):
            return self._trial
        names = [name for name, _ in self._node.get_topic_names_and_types()]
        found = [n for n in names if n.endswith(f'/{MARKED_TOPIC}')]
        found = [n.removesuffix(MARKED_TOPIC) for n in found if self._node.count_publishers(n)]
        around = [n for n in found if self._state.node.startswith(n)]
        if around:
            return max(around, key=len)
        return found[0] if len(found) == 1 else self._trial

    def _on_status(self, message: DiagnosticArray) -> None:
        for status in message.status:
            name = status.name.removesuffix(NODE_STATUS)
            if name != status.name and FULL_NAME.fullmatch(name):
                self._heard[name] = self._state.now()
                self._first = min(self._first, self._heard[name])
            self._state.hear_status(
                status.name,
                int.from_bytes(status.level, 'little'),
                status.message,
                status.hardware_id,
                {pair.key: pair.value for pair in status.values},
            )

    def _on_place(self, message: Classification) -> None:
        self._state.hear_place([(r.class_id, r.score) for r in message.results])

    def _on_name(self, message: String) -> None:
        self._state.hear_name(message.data)

    def _on_pose(self, message: PoseWithCovarianceStamped) -> None:
        at, q = message.pose.pose.position, message.pose.pose.orientation
        yaw = math.atan2(2 * (q.w * q.z + q.x * q.y), 1 - 2 * (q.y * q.y + q.z * q.z))
        self._state.hear_pose(at.x, at.y, yaw)

    def _on_info(self, _: VisionInfo) -> None:
        """A map has been loaded: its places come once, and then a match with each image."""
        if self._marker_topic:
            self._topics.hear('markers', MarkerArray, self._marker_topic, self._on_markers)

    def _on_markers(self, message: MarkerArray) -> None:
        for marker in message.markers:
            if marker.ns == _PLACES:
                points = [(p.x, p.y) for p in marker.points]
                self._state.hear_places(np.array(points, float).reshape(-1, 2))
                self._topics.forget('markers')

    def _on_event(self, message: String) -> None:
        self._state.hear_event(message.data)

    def _on_marked(self, message: String) -> None:
        self._state.hear_marked(message.data)

# SPDX-License-Identifier: Apache-2.0
"""Stand-ins for a vpr_node and for watch and recorder of a trial, as the dashboard hears them."""

from __future__ import annotations

from collections.abc import Mapping

import rclpy
from dashboard_helpers import NODE_VALUES, RECORDER_VALUES
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from geometry_msgs.msg import Point, PoseWithCovarianceStamped
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from std_msgs.msg import String
from vision_msgs.msg import Classification, ObjectHypothesis, VisionInfo
from visualization_msgs.msg import Marker, MarkerArray

from ashtkd_ros.trials.trial_log import LogEntry

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
EVENTS = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)
BEST_EFFORT = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)


def status(
    name: str, values: Mapping[str, str], level: int = 0, text: str = ''
) -> DiagnosticArray:
    pairs = [KeyValue(key=key, value=value) for key, value in values.items()]
    told = DiagnosticStatus(level=bytes([level]), name=name, message=text, values=pairs)
    return DiagnosticArray(status=[told])


class FakeNode:
    """Publishes what a vpr_node does, when it is told to."""

    def __init__(self, namespace: str = '/front', place_qos: QoSProfile | int = 10):
        self.node = rclpy.create_node('vpr_node', namespace=namespace)
        create = self.node.create_publisher
        self._info = create(VisionInfo, '~/vision_info', LATCHED)
        self._place = create(Classification, '~/place', place_qos)
        self._name = create(String, '~/place_name', place_qos)
        create(PoseWithCovarianceStamped, 'initialpose', 10)
        self._pose = create(PoseWithCovarianceStamped, '~/pose', 10)
        self._markers = create(MarkerArray, '~/markers', LATCHED)
        self._diagnostics = create(DiagnosticArray, '/diagnostics', 10)

    def load_map(self, count: int = 3) -> None:
        self._info.publish(VisionInfo(method='student'))
        points = [Point(x=float(i), y=2.0 * i) for i in range(count)]
        self._markers.publish(MarkerArray(markers=[Marker(ns='places', points=points)]))

    def beat(self, **values: str) -> None:
        """Diagnostics, as once a second."""
        name = f'{self.node.get_fully_qualified_name()}: place recognition'
        self._diagnostics.publish(status(name, NODE_VALUES | values, text='active'))

    def answer(self, place: str = '12', confidence: float = 0.87, name: str = 'Gate') -> None:
        self._place.publish(
            Classification(results=[ObjectHypothesis(class_id=place, score=confidence)])
        )
        self._name.publish(String(data=name))
        pose = PoseWithCovarianceStamped()
        pose.pose.pose.position.x, pose.pose.pose.orientation.w = 1.5, 1.0
        self._pose.publish(pose)

    def marker_subscribers(self) -> int:
        return self._markers.get_subscription_count()

    def close(self) -> None:
        self.node.destroy_node()


class FakeTrial:
    """Watch and recorder; marks are acknowledged while `acknowledges`."""

    def __init__(self, namespace: str = '', events: QoSProfile = EVENTS):
        self.node = rclpy.create_node('trial_watch', namespace=namespace or None)
        self.acknowledges, self.marks = True, []
        self._events = self.node.create_publisher(String, 'trial/event', events)
        self._marked = self.node.create_publisher(String, 'trial/marked', 10)
        self._diagnostics = self.node.create_publisher(DiagnosticArray, '/diagnostics', 10)
        self.node.create_subscription(String, 'trial/mark', self._on_mark, 10)

    def _on_mark(self, message: String) -> None:
        self.marks.append(message.data)
        kind, _, text = message.data.partition(' ')
        if self.acknowledges:
            self._marked.publish(String(data=LogEntry(kind, text).to_json()))

    def happen(self, kind: str, text: str) -> None:
        self._events.publish(String(data=LogEntry(kind, text).to_json()))

    def beat(self) -> None:
        """Diagnostics, as once a second; marks that have come are acknowledged."""
        self._diagnostics.publish(status('trial: recorder', RECORDER_VALUES, text='recording'))
        self._diagnostics.publish(status('trial: watch', {}))
        rclpy.spin_once(self.node, timeout_sec=0.0)

    def close(self) -> None:
        self.node.destroy_node()

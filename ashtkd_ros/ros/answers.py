# SPDX-License-Identifier: Apache-2.0
"""What the node publishes about an image: place, pose, markers, and a picture for people."""

from __future__ import annotations

import array
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from geometry_msgs.msg import Point, Pose, PoseWithCovarianceStamped
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import Image
from std_msgs.msg import ColorRGBA
from vision_msgs.msg import Classification, ObjectHypothesis, VisionInfo
from visualization_msgs.msg import Marker, MarkerArray

from ashtkd_ros.debug_picture import debug_picture
from ashtkd_ros.matcher import Candidate
from ashtkd_ros.place_map import Place
from ashtkd_ros.recogniser import Recogniser, Recognition
from ashtkd_ros.ros.map_watch import MapWatch
from ashtkd_ros.ros.parameters import Parameters
from ashtkd_ros.ros.quiet import quiet_publisher

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
_GREY, _GREEN = (0.5, 0.5, 0.5, 0.6), (0.1, 0.7, 0.3, 1.0)


@dataclass(frozen=True)
class Current:
    """What ~/relocalize would tell: a pose of that map, or why there is none; and since when."""

    served: Served | None
    pose: Callable[[], PoseWithCovarianceStamped] | None
    why: str
    at: float = field(default_factory=time.monotonic)


@dataclass(frozen=True)
class Served:
    """A map in use: with the parameters it was loaded under, replaced as a whole."""

    recogniser: Recogniser
    parameters: Parameters
    picture_of: Callable[[Place], np.ndarray | None]
    watch: MapWatch
    spacing: float  # metres between places

    @property
    def frame(self) -> str:
        """Frame of the places' poses."""
        return self.parameters.map_frame or self.recogniser.matcher.map.info.frame

    @property
    def places(self) -> list[Place]:
        """All places of the map."""
        return self.recogniser.matcher.map.places


class Answers:
    """The publishers of the node; made at configure, destroyed at cleanup."""

    def __init__(self, node: LifecycleNode):
        self._node = node
        make = partial(quiet_publisher, node)
        self._info = make(VisionInfo, '~/vision_info', LATCHED)
        self._place = make(Classification, '~/place', 10)
        self._pose = make(PoseWithCovarianceStamped, '~/pose', 10)
        self._markers = make(MarkerArray, '~/markers', LATCHED)
        self._debug = make(Image, '~/debug_image', 1)
        self._watchers = 0
        self._map_markers = MarkerArray()

    def serve(self, served: Served, version: int) -> None:
        """Tell of a map that was loaded, the `version`-th."""
        embedder = served.recogniser.embedder
        message = VisionInfo(method=f'{embedder.name} {embedder.hash[:16]}')
        message.header.stamp = self._node.get_clock().now().to_msg()
        message.database_location = served.parameters.map_path
        message.database_version = version
        self._info.publish(message)
        self._map_markers = self._markers_of(served)
        self._markers.publish(self._map_markers)

    def destroy(self) -> None:
        """Take the publishers away."""
        for publisher in (self._info, self._place, self._pose, self._markers, self._debug):
            self._node.destroy_publisher(publisher)

    def greet(self) -> None:
        """Show the map again to who has come since: the latch holds only the last match."""
        watchers = self._markers.get_subscription_count()
        if watchers > self._watchers:
            self._markers.publish(self._map_markers)
        self._watchers = watchers

    def unknown(self, served: Served, header, image: np.ndarray, order: str, reason: str) -> None:
        """An image that was not matched at all."""
        self._place.publish(Classification(header=header))
        self.forget(served, header.stamp)
        self._show(served, header, image, order, None, reason)

    def forget(self, served: Served, stamp) -> None:
        """Take the last match out of the markers."""
        if self._markers.get_subscription_count():
            self._markers.publish(self._match_markers(served, stamp, None))

    def answer(
        self, served: Served, header, image: np.ndarray, order: str, found: Recognition
    ) -> Callable[[], PoseWithCovarianceStamped] | None:
        """Publish all about one image; gives the pose of an accepted match with a pose."""
        place = Classification(header=header)
        if found.accepted:
            place.results = [
                ObjectHypothesis(class_id=str(c.place.id), score=c.confidence)
                for c in found.candidates
            ]
        self._place.publish(place)
        best, pose = found.candidates[0], None
        if found.accepted and best.place.pose is not None:
            pose = partial(self._pose_message, served, header, best)
            if served.parameters.publish_pose and self._pose.get_subscription_count():
                self._pose.publish(pose())
        if self._markers.get_subscription_count():
            self._markers.publish(self._match_markers(served, header.stamp, found))
        self._show(served, header, image, order, best if found.accepted else None, found.refusal)
        return pose

    def _pose_message(self, served: Served, header, best: Candidate) -> PoseWithCovarianceStamped:
        """The place's pose; its spread grows as places lie apart and confidence falls."""
        message = PoseWithCovarianceStamped()
        message.header.stamp, message.header.frame_id = header.stamp, served.frame
        message.pose.pose = _pose(best.place)
        p = served.parameters
        metres = p.position_stddev or max(served.spacing, 0.5)
        doubt = 1.0 / max(best.confidence, 0.05)
        spread = [metres**2] * 3 + [0.1**2] * 2 + [p.yaw_stddev**2]
        message.pose.covariance[::7] = [value * doubt for value in spread]
        return message

    def _markers_of(self, served: Served) -> MarkerArray:
        marker = self._marker(served, 'places', Marker.SPHERE_LIST, _GREY)
        marker.points = [_point(p) for p in served.places if p.pose is not None]
        marker.action = Marker.ADD if marker.points else Marker.DELETE
        return MarkerArray(markers=[marker])

    def _match_markers(self, served: Served, stamp, found: Recognition | None) -> MarkerArray:
        match = self._marker(served, 'match', Marker.ARROW, _GREEN)
        others = self._marker(served, 'candidates', Marker.SPHERE_LIST, _GREEN)
        for marker in (match, others):
            marker.header.stamp = stamp
        best = found.candidates[0].place if found and found.accepted else None
        if best is not None and best.pose is not None:
            match.pose = _pose(best)
            length = 2.0 * max(served.spacing, 0.5)
            match.scale.x, match.scale.y, match.scale.z = length, length / 4, length / 4
            shown = [c for c in found.candidates if c.place.pose is not None]
            others.points = [_point(c.place) for c in shown]
            others.colors = [_colour((1.0, 0.7, 0.0, 0.2 + 0.8 * c.confidence)) for c in shown]
        else:
            match.action = others.action = Marker.DELETE
        return MarkerArray(markers=[match, others])

    def _marker(self, served: Served, name: str, kind: int, colour) -> Marker:
        marker = Marker(ns=name, type=kind, action=Marker.ADD, color=_colour(colour))
        marker.header.frame_id = served.frame
        marker.pose.orientation.w = 1.0
        size = 0.4 * max(served.spacing, 0.5)
        marker.scale.x = marker.scale.y = marker.scale.z = size
        return marker

    def _show(
        self, served: Served, header, image, order: str, best: Candidate | None, reason: str
    ) -> None:
        """Query beside its match, only while somebody looks."""
        if not self._debug.get_subscription_count():
            return
        picture = served.picture_of(best.place) if best is not None else None
        text = f'place {best.place.id}, {best.confidence:.2f}' if best else f'unknown: {reason}'
        shown = debug_picture(image, order, picture, text)
        height, width = shown.shape[:2]
        message = Image(header=header, height=height, width=width, encoding='rgb8', step=3 * width)
        message.data = array.array('B', shown.tobytes())
        self._debug.publish(message)


def _pose(place: Place) -> Pose:
    p, pose = place.pose, Pose()
    pose.position.x, pose.position.y, pose.position.z = p.x, p.y, p.z
    pose.orientation.x, pose.orientation.y = p.qx, p.qy
    pose.orientation.z, pose.orientation.w = p.qz, p.qw
    return pose


def _point(place: Place) -> Point:
    return Point(x=place.pose.x, y=place.pose.y, z=place.pose.z)


def _colour(values: tuple[float, float, float, float]) -> ColorRGBA:
    r, g, b, a = values
    return ColorRGBA(r=r, g=g, b=b, a=a)

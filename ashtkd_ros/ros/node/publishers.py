# SPDX-License-Identifier: Apache-2.0
"""What the node publishes about an image: place, pose, markers, and a picture for people."""

from __future__ import annotations

import array
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from geometry_msgs.msg import PoseWithCovarianceStamped
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import Image
from vision_msgs.msg import Classification, VisionInfo
from visualization_msgs.msg import MarkerArray

from ashtkd_ros.maps.place_map import Place
from ashtkd_ros.recognition.matcher import Candidate
from ashtkd_ros.recognition.recogniser import Recogniser, Recognition
from ashtkd_ros.ros.node import messages
from ashtkd_ros.ros.node.debug_picture import debug_picture
from ashtkd_ros.ros.node.map_watch import MapWatch
from ashtkd_ros.ros.node.parameters import Parameters
from ashtkd_ros.ros.quiet_publisher import quiet_publisher

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


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
    markers: MarkerArray = field(default_factory=MarkerArray)

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
        info = messages.vision_info(served)
        info.header.stamp = self._node.get_clock().now().to_msg()
        info.database_version = version
        self._info.publish(info)
        self._markers.publish(served.markers)
        self._map_markers = served.markers

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
        self._place.publish(messages.place_message(header, None))
        self.forget(served, header.stamp)
        self._show(served, header, image, order, None, reason)

    def forget(self, served: Served, stamp) -> None:
        """Take the last match out of the markers."""
        if self._markers.get_subscription_count():
            self._markers.publish(messages.match_markers(served, stamp, None))

    def answer(
        self, served: Served, header, image: np.ndarray, order: str, found: Recognition
    ) -> Callable[[], PoseWithCovarianceStamped] | None:
        """Publish all about one image; gives the pose of an accepted match with a pose."""
        self._place.publish(messages.place_message(header, found))
        best, pose = found.candidates[0], None
        if found.accepted and best.place.pose is not None:
            pose = partial(messages.pose_message, served, header, best)
            if served.parameters.publish_pose and self._pose.get_subscription_count():
                self._pose.publish(pose())
        if self._markers.get_subscription_count():
            self._markers.publish(messages.match_markers(served, header.stamp, found))
        self._show(served, header, image, order, best if found.accepted else None, found.refusal)
        return pose

    def _show(
        self, served: Served, header, image, order: str, best: Candidate | None, reason: str
    ) -> None:
        """Query beside its match, only while somebody looks."""
        if not self._debug.get_subscription_count():
            return
        picture = served.picture_of(best.place) if best is not None else None
        text = f'place {best.place.id}, {best.confidence:.2f}' if best else f'unknown: {reason}'
        without = 'the map has no picture of it' if best else ''
        shown = debug_picture(image, order, picture, text, without)
        height, width = shown.shape[:2]
        message = Image(header=header, height=height, width=width, encoding='rgb8', step=3 * width)
        message.data = array.array('B', shown.tobytes())
        self._debug.publish(message)

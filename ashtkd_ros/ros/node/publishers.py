# SPDX-License-Identifier: Apache-2.0
"""What the node publishes about a map and about each image."""

from __future__ import annotations

import array
from collections.abc import Callable
from functools import partial

import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import PoseWithCovarianceStamped
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import Image
from std_msgs.msg import Header, String
from vision_msgs.msg import Classification, VisionInfo
from visualization_msgs.msg import MarkerArray

from ashtkd_ros.errors import error_text
from ashtkd_ros.recognition.recogniser import Recognition
from ashtkd_ros.ros.eventless_publisher import create_eventless_publisher
from ashtkd_ros.ros.node import messages
from ashtkd_ros.ros.node.debug_picture import debug_picture
from ashtkd_ros.ros.node.loaded_map import LoadedMap

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class Publishers:
    """The node's publishers of results; created at configure, destroyed at cleanup."""

    def __init__(self, node: LifecycleNode):
        self._node = node
        create = partial(create_eventless_publisher, node)
        self._info = create(VisionInfo, '~/vision_info', LATCHED)
        self._place = create(Classification, '~/place', 10)
        self._name = create(String, '~/place_name', 10)
        self._pose = create(PoseWithCovarianceStamped, '~/pose', 10)
        self._markers = create(MarkerArray, '~/markers', LATCHED)
        self._debug = create(Image, '~/debug_image', 1)
        self._marker_subscribers = 0
        self._map_markers = MarkerArray()

    def destroy(self) -> None:
        """Destroy all publishers."""
        places = (self._place, self._name, self._pose)
        for publisher in (self._info, *places, self._markers, self._debug):
            self._node.destroy_publisher(publisher)

    def publish_map(self, loaded: LoadedMap, version: int) -> None:
        """Announce a map; `version` is the number of maps loaded so far."""
        info = messages.vision_info(loaded)
        info.header.stamp = self._node.get_clock().now().to_msg()
        info.database_version = version
        self._info.publish(info)
        self._markers.publish(loaded.markers)
        self._map_markers = loaded.markers

    def publish_map_to_new_subscribers(self) -> None:
        """Publish the markers of the map again if a subscriber is new.

        The latched message may only hold the last match.
        """
        subscribers = self._markers.get_subscription_count()
        if subscribers > self._marker_subscribers:
            self._markers.publish(self._map_markers)
        self._marker_subscribers = subscribers

    def publish_unknown(
        self, loaded: LoadedMap, header: Header, image: np.ndarray, order: str, reason: str
    ) -> None:
        """Answer "unknown place" for an image that was not matched at all."""
        self._publish_place(header, None)
        self.clear_match(loaded, header.stamp)
        self._publish_debug(loaded, header, image, order, reason)

    def clear_match(self, loaded: LoadedMap, stamp: Time) -> None:
        """Remove the last match from the markers."""
        if self._markers.get_subscription_count():
            self._markers.publish(messages.match_markers(loaded, stamp, None))

    def publish_match(
        self,
        loaded: LoadedMap,
        header: Header,
        image: np.ndarray,
        order: str,
        recognition: Recognition,
    ) -> Callable[[], PoseWithCovarianceStamped] | None:
        """Publish everything about one image.

        Returns a function that makes the pose message; None if the match was refused, or its
        place has no pose.
        """
        self._publish_place(header, recognition)
        best, pose = recognition.candidates[0], None
        if recognition.accepted and best.place.pose is not None:
            belief = recognition.followed.pose if recognition.followed else None
            pose = partial(messages.pose_message, loaded, header, best, belief)
            if loaded.parameters.publish_pose and self._pose.get_subscription_count():
                self._pose.publish(pose())
        if self._markers.get_subscription_count():
            self._markers.publish(messages.match_markers(loaded, header.stamp, recognition))
        self._publish_debug(loaded, header, image, order, recognition.refusal, recognition)
        return pose

    def _publish_place(self, header: Header, recognition: Recognition | None) -> None:
        """The place, and then its name if anybody subscribes."""
        self._place.publish(messages.place_message(header, recognition))
        if self._name.get_subscription_count():
            self._name.publish(messages.name_message(recognition))

    def _publish_debug(
        self,
        loaded: LoadedMap,
        header: Header,
        image: np.ndarray,
        order: str,
        reason: str,
        recognition: Recognition | None = None,
    ) -> None:
        """Show the query beside its match, but only if anybody subscribes.

        `reason`: why there is no match, empty if there is one.
        """
        if not self._debug.get_subscription_count():
            return
        try:
            shown = _shown(loaded, image, order, reason, recognition)
        except Exception as error:  # whatever a picture does to OpenCV: the place is published
            text = f'no ~/debug_image: {error_text(error)}'
            self._node.get_logger().warning(text, throttle_duration_sec=5.0)
            return
        height, width = shown.shape[:2]
        message = Image(header=header, height=height, width=width, encoding='rgb8', step=3 * width)
        message.data = array.array('B', shown.tobytes())
        self._debug.publish(message)


def _shown(
    loaded: LoadedMap,
    image: np.ndarray,
    order: str,
    reason: str,
    recognition: Recognition | None,
) -> np.ndarray:
    """The picture of ~/debug_image, uint8 RGB."""
    if reason or recognition is None:
        return debug_picture(image, order, None, f'unknown: {reason}')
    best = recognition.candidates[0]
    text, none = f'place {best.place.id}, {best.confidence:.2f}', 'the map has no picture of it'
    picture, matches = loaded.picture_of(best.place), recognition.matches
    if best.check is not None:
        text += f', {100 * best.check.agreement:.0f} % agrees'
    return debug_picture(image, order, picture, text, none, matches)

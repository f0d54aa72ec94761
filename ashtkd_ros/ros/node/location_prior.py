# SPDX-License-Identifier: Apache-2.0
"""The subscription to `prior_topic`, which tells about where the robot is."""

from __future__ import annotations

import math
from collections.abc import Sequence

from geometry_msgs.msg import PoseWithCovarianceStamped
from rclpy.clock import Clock, ClockType
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import NavSatFix

from ashtkd_ros.errors import VprError
from ashtkd_ros.geometry.geodesy import GeoOrigin
from ashtkd_ros.recognition.prior import Prior, PriorTrack
from ashtkd_ros.ros.node.loaded_map import LoadedMap
from ashtkd_ros.ros.node.node_state import NodeState
from ashtkd_ros.ros.node.patience import PATIENCE_S, Patience
from ashtkd_ros.stamps import stamp_to_s
from ashtkd_ros.text import name_of

_TYPES = {
    'sensor_msgs/msg/NavSatFix': NavSatFix,
    'geometry_msgs/msg/PoseWithCovarianceStamped': PoseWithCovarianceStamped,
}
_Position = tuple[float, float, float]  # x, y and the standard deviation, metres
_EVERY_S = 0.5  # between looks at who publishes


class LocationPrior:
    """Keeps the last positions while the node is active.

    It subscribes to the type of messages that a publisher tells, and anew where another one comes
    in its place.
    """

    def __init__(self, node: NodeState):
        self._node, self._map, self._track = node, node.loaded_map, PriorTrack()
        self._topic = node.parameters.prior_topic
        self._why = self._absent = f'nobody publishes on {self._topic}'
        self._patience = Patience()
        self._subscription = None
        # The node's own clock may stop or go back.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = node.create_timer(_EVERY_S, self._follow_publishers, clock=steady)

    def close(self) -> None:
        """Unsubscribe."""
        self._node.destroy_timer(self._timer)
        self._unsubscribe()

    def at(self, stamp_s: float, loaded: LoadedMap, radius_m: float) -> Prior | None:
        """The prior for an image, None where there is none; why is told, and a warning if that
        lasts."""
        if _place_of(loaded) != _place_of(self._map):
            self._track = PriorTrack()
        self._map = loaded
        prior, why = self._track.at(stamp_s, radius_m)
        why = why and (self._why or why)
        if not loaded.places.posed.any():
            prior, why = None, 'the map has no poses'
        self._node.health.prior = why and f'ignored: {why}'
        if self._patience.ends(stamp_s, prior is not None):
            self._node.get_logger().warning(
                f'{self._topic}: no prior for {PATIENCE_S:.0f} s, the node goes on without: {why}'
            )
        return prior

    def _follow_publishers(self) -> None:
        """Subscribe to what is published there now, if it is of a known type."""
        kinds = [p.topic_type for p in self._node.get_publishers_info_by_topic(self._topic)]
        fitting = [_TYPES[kind] for kind in kinds if kind in _TYPES]
        if not fitting:
            wanted = 'NavSatFix or PoseWithCovarianceStamped'
            other = f'{self._topic} is of type {kinds[0]}, not {wanted}' if kinds else ''
            self._why = self._absent = other or f'nobody publishes on {self._topic}'
            return
        if self._why == self._absent:
            self._why = ''
        if self._subscription is None or self._subscription.msg_type not in fitting:
            self._unsubscribe()
            self._subscription = self._node.create_subscription(
                fitting[0], self._topic, self._receive, qos_profile_sensor_data
            )

    def _unsubscribe(self) -> None:
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)

    def _receive(self, message: NavSatFix | PoseWithCovarianceStamped) -> None:
        read = _of_fix if isinstance(message, NavSatFix) else _of_pose
        try:
            self._track.add(stamp_to_s(message.header.stamp), *read(message, self._map))
            self._why = ''
        except VprError as error:
            self._why = str(error)


def _place_of(loaded: LoadedMap) -> tuple[str, GeoOrigin | None]:
    """What positions depend on."""
    return loaded.frame, loaded.recogniser.matcher.map.info.origin


def _of_fix(message: NavSatFix, loaded: LoadedMap) -> _Position:
    origin = loaded.recogniser.matcher.map.info.origin
    if origin is None:
        raise VprError('the map has no origin on earth; give poses in its frame instead')
    lat, lon = message.latitude, message.longitude
    on_earth = abs(lat) <= 90.0 and abs(lon) <= 180.0  # false for NaN
    unset = not (lat or lon) and bool(round(origin.lat, 1) or round(origin.lon, 1))
    if message.status.status < 0 or not on_earth or unset:
        raise VprError('the receiver has no fix')
    covariance, known = message.position_covariance, message.position_covariance_type
    deviation = _deviation(covariance[0:5:4]) if known else 0.0
    ((x, y, _),) = origin.to_enu([(lat, lon, origin.alt)]).tolist()
    return x, y, deviation


def _of_pose(message: PoseWithCovarianceStamped, loaded: LoadedMap) -> _Position:
    frame = message.header.frame_id.lstrip('/')
    if frame != loaded.frame.lstrip('/'):
        raise VprError(f'the position is in frame "{name_of(frame)}", not "{loaded.frame}"')
    at = message.pose.pose.position
    return at.x, at.y, _deviation(message.pose.covariance[0:8:7])


def _deviation(variances: Sequence[float]) -> float:
    """The larger of two standard deviations; VprError where a variance is none."""
    if not all(variance >= 0 for variance in variances):  # NaN as well
        raise VprError('the covariance of the position is none')
    return math.sqrt(max(variances))

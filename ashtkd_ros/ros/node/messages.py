# SPDX-License-Identifier: Apache-2.0
"""The messages of the node, made from a map and a recognition; `publishers` publishes them."""

from __future__ import annotations

import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Point, Pose, PoseWithCovarianceStamped
from rclpy.serialization import serialize_message
from std_msgs.msg import ColorRGBA, Header, String
from vision_msgs.msg import Classification, ObjectHypothesis, VisionInfo
from visualization_msgs.msg import Marker, MarkerArray

from ashtkd_ros.errors import VprError
from ashtkd_ros.geometry.pose import Pose as PlacePose
from ashtkd_ros.maps.place_map import Place
from ashtkd_ros.network.local_features import Look
from ashtkd_ros.recognition.following import PoseBelief
from ashtkd_ros.recognition.matcher import Candidate
from ashtkd_ros.recognition.recogniser import Recognition
from ashtkd_ros.ros.node.loaded_map import LoadedMap
from ashtkd_ros.text import reason_of

_Colour = tuple[float, float, float, float]  # red, green, blue, opacity, from 0 to 1
_GREY, _GREEN = (0.5, 0.5, 0.5, 0.6), (0.1, 0.7, 0.3, 1.0)


def vision_info(loaded: LoadedMap) -> VisionInfo:
    """Network and map in use; stamp and version are not set."""
    embedder = loaded.recogniser.embedder
    message = VisionInfo(method=f'{embedder.name} {embedder.hash[:16]}')
    message.database_location = loaded.parameters.map_path
    return message


def place_message(header: Header, recognition: Recognition | None) -> Classification:
    """The candidates of an accepted match, best first; no candidates for an unknown place."""
    place = Classification(header=header)
    if recognition is not None and recognition.accepted:
        place.results = [
            ObjectHypothesis(class_id=str(c.place.id), score=c.confidence)
            for c in recognition.candidates
        ]
    return place


def name_message(recognition: Recognition | None) -> String:
    """The name of the place; empty for an unknown place, and for one without a name."""
    return String(data='' if recognition is None else recognition.name)


def pose_message(
    loaded: LoadedMap, header: Header, best: Candidate, belief: PoseBelief | None = None
) -> PoseWithCovarianceStamped:
    """The pose of the place, or of a filter's `belief`, with the image's stamp.

    Its covariance grows with the distance between places, with the spread of the belief, and as
    the confidence falls.
    """
    message = PoseWithCovarianceStamped()
    message.header.stamp, message.header.frame_id = header.stamp, loaded.frame
    message.pose.pose = _pose(best.place.pose if belief is None else belief.pose)
    p = loaded.parameters
    metres = p.position_stddev or loaded.spacing
    doubt = 1.0 / max(best.confidence, 0.05)
    spread = [metres**2] * 3 + [0.1**2] * 2 + [p.yaw_stddev**2]
    if belief is not None:
        x, y, z, yaw = belief.variance
        spread = [v + m for v, m in zip(spread, (x, y, z, 0.0, 0.0, yaw), strict=True)]
    message.pose.covariance[::7] = [value * doubt for value in spread]
    return message


def map_markers(loaded: LoadedMap) -> MarkerArray:
    """Markers of all places that have a pose."""
    marker = _marker(loaded, 'places', Marker.SPHERE_LIST, _GREY)
    marker.points = [_point(p) for p in loaded.places if p.pose is not None]
    marker.action = Marker.ADD if marker.points else Marker.DELETE
    return MarkerArray(markers=[marker])


def match_markers(loaded: LoadedMap, stamp: Time, recognition: Recognition | None) -> MarkerArray:
    """Markers of the last match and its candidates; they are deleted if there is no match."""
    match = _marker(loaded, 'match', Marker.ARROW, _GREEN)
    others = _marker(loaded, 'candidates', Marker.SPHERE_LIST, _GREEN)
    name = _marker(loaded, 'name', Marker.TEXT_VIEW_FACING, _GREEN)
    for marker in (match, others, name):
        marker.header.stamp = stamp
    best = recognition.candidates[0].place if recognition and recognition.accepted else None
    if best is not None and best.pose is not None:
        match.pose = _pose(best.pose)
        length = 2.0 * loaded.spacing
        match.scale.x, match.scale.y, match.scale.z = length, length / 4, length / 4
        name.text, name.scale.z = recognition.name, loaded.spacing
        name.pose.position = _point(best)
        name.pose.position.z += length / 2
        shown = [c for c in recognition.candidates if c.place.pose is not None]
        others.points = [_point(c.place) for c in shown]
        others.colors = [_colour((1.0, 0.7, 0.0, 0.2 + 0.8 * c.confidence)) for c in shown]
    else:
        match.action = others.action = Marker.DELETE
    if not name.text:
        name.action = Marker.DELETE
    return MarkerArray(markers=[match, others, name])


def check_messages(loaded: LoadedMap) -> None:
    """Match one of the map's own places and make every kind of message; VprError if one fails.

    What would fail at the first image fails here, while the old map is still in use.
    """
    matcher, header = loaded.recogniser.matcher, Header()
    try:
        loaded.picture_of(loaded.places[-1])
        local = loaded.recogniser.embedder.local
        black = None if local is None else np.zeros((local.positions, local.channels), np.int8)
        candidates = matcher.answer(Look(matcher.map.index.rows([0])[0], black)).candidates
        recognition = Recognition(candidates, True, '', 0.0, 0.0)
        made = [vision_info(loaded), loaded.markers, place_message(header, recognition)]
        made += [name_message(recognition), match_markers(loaded, header.stamp, recognition)]
        made += [pose_message(loaded, header, c) for c in candidates if c.place.pose]
        for message in made:
            serialize_message(message)
    except VprError:
        raise
    except Exception as error:  # any value of the map may cause any error
        raise VprError(
            f'{loaded.parameters.map_path}: the map cannot be used '
            f'({type(error).__name__}: {reason_of(error)}); rebuild the map'
        ) from error


def _marker(loaded: LoadedMap, name: str, kind: int, colour: _Colour) -> Marker:
    marker = Marker(ns=name, type=kind, action=Marker.ADD, color=_colour(colour))
    marker.header.frame_id = loaded.frame
    marker.pose.orientation.w = 1.0
    size = 0.4 * loaded.spacing
    marker.scale.x = marker.scale.y = marker.scale.z = size
    return marker


def _pose(p: PlacePose) -> Pose:
    pose = Pose()
    pose.position.x, pose.position.y, pose.position.z = p.x, p.y, p.z
    pose.orientation.x, pose.orientation.y = p.qx, p.qy
    pose.orientation.z, pose.orientation.w = p.qz, p.qw
    return pose


def _point(place: Place) -> Point:
    return Point(x=place.pose.x, y=place.pose.y, z=place.pose.z)


def _colour(values: _Colour) -> ColorRGBA:
    r, g, b, a = values
    return ColorRGBA(r=r, g=g, b=b, a=a)

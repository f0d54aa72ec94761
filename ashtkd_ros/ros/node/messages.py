# SPDX-License-Identifier: Apache-2.0
"""What the node says, as messages: made of a map and a recognition, and published elsewhere."""

from __future__ import annotations

from geometry_msgs.msg import Point, Pose, PoseWithCovarianceStamped
from rclpy.serialization import serialize_message
from std_msgs.msg import ColorRGBA, Header
from vision_msgs.msg import Classification, ObjectHypothesis, VisionInfo
from visualization_msgs.msg import Marker, MarkerArray

from ashtkd_ros.errors import VprError
from ashtkd_ros.maps.place_map import Place
from ashtkd_ros.recognition.matcher import Candidate
from ashtkd_ros.recognition.recogniser import Recognition
from ashtkd_ros.text import reason_of

_GREY, _GREEN = (0.5, 0.5, 0.5, 0.6), (0.1, 0.7, 0.3, 1.0)


def vision_info(served) -> VisionInfo:
    """Network and map in use, without stamp and version."""
    embedder = served.recogniser.embedder
    message = VisionInfo(method=f'{embedder.name} {embedder.hash[:16]}')
    message.database_location = served.parameters.map_path
    return message


def place_message(header, found: Recognition | None) -> Classification:
    """The candidates of an accepted match, best first; none for anything else."""
    place = Classification(header=header)
    if found is not None and found.accepted:
        place.results = [
            ObjectHypothesis(class_id=str(c.place.id), score=c.confidence)
            for c in found.candidates
        ]
    return place


def pose_message(served, header, best: Candidate) -> PoseWithCovarianceStamped:
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


def map_markers(served) -> MarkerArray:
    """All places that have a pose."""
    marker = _marker(served, 'places', Marker.SPHERE_LIST, _GREY)
    marker.points = [_point(p) for p in served.places if p.pose is not None]
    marker.action = Marker.ADD if marker.points else Marker.DELETE
    return MarkerArray(markers=[marker])


def match_markers(served, stamp, found: Recognition | None) -> MarkerArray:
    """The last match with its candidates, or that there is none."""
    match = _marker(served, 'match', Marker.ARROW, _GREEN)
    others = _marker(served, 'candidates', Marker.SPHERE_LIST, _GREEN)
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


def rehearse(served) -> None:
    """Match the map's own places and make every kind of message; VprError says what it spoils.

    Whatever would fail at the first image fails here, while the map before is still in use.
    """
    matcher, header = served.recogniser.matcher, Header()
    try:
        served.picture_of(served.places[-1])
        candidates = matcher.match(matcher.map.index.reconstruct(0))
        found = Recognition(candidates, True, '', 0.0, 0.0)
        made = [vision_info(served), served.markers, place_message(header, found)]
        made.append(match_markers(served, header.stamp, found))
        made += [pose_message(served, header, c) for c in found.candidates if c.place.pose]
        for message in made:
            serialize_message(message)
    except VprError:
        raise
    except Exception as error:  # whatever a value of the map leads to
        raise VprError(
            f'{served.parameters.map_path}: the map cannot be served '
            f'({type(error).__name__}: {reason_of(error)}); rebuild the map'
        ) from error


def _marker(served, name: str, kind: int, colour) -> Marker:
    marker = Marker(ns=name, type=kind, action=Marker.ADD, color=_colour(colour))
    marker.header.frame_id = served.frame
    marker.pose.orientation.w = 1.0
    size = 0.4 * max(served.spacing, 0.5)
    marker.scale.x = marker.scale.y = marker.scale.z = size
    return marker


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

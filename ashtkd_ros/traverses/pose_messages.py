# SPDX-License-Identifier: Apache-2.0
"""Poses from ROS messages of every kind that has some; no ROS package is needed.

Only the fields of messages count, so that messages of rosbags, rclpy and rospy can all be read.
Each kind has a reader: `add` every message of one topic (for tf, of /tf and /tf_static together),
then ask for the `trajectory`.
"""

from __future__ import annotations

import math
from array import array
from collections import Counter
from typing import Any, ClassVar

import numpy as np

from ashtkd_ros.errors import VprError
from ashtkd_ros.geometry.geodesy import HIGHEST_M, GeoOrigin
from ashtkd_ros.geometry.pose_checks import LOST, NO_FIX_VARIANCE, check_poses, is_odometry, lost
from ashtkd_ros.geometry.tf_chain import with_body_axes
from ashtkd_ros.geometry.tf_tree import TransformTree
from ashtkd_ros.geometry.trajectory import (
    USE_RECEIVE,
    PoseTrack,
    Trajectory,
    TrajectoryBuilder,
    time_order,
)
from ashtkd_ros.geometry.travel_heading import travel_yaw
from ashtkd_ros.stamps import stamp_to_s
from ashtkd_ros.text import one_line

ODOMETRY_TYPE = 'nav_msgs/msg/Odometry'
_OTHER_FRAMES, _FRAMES_LISTED = 0.1, 3  # share of the poses that may be left out for that
_USE_HEADER = 'use --stamps header'
_SIMULATED_DEG = 0.01  # fixes this near to 0, 0, in the sea, are those of a simulator


class PoseReader:
    """Collects the messages of one kind; `types`: the names of their types, as in rosbags.

    `use_received`: poses have the time at which their message was received; else the time in its
    header.
    """

    types: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, use_received: bool = False):
        self.use_received = use_received
        self.remedy = _USE_HEADER if use_received else USE_RECEIVE

    def add(self, topic: str, message: Any, received_s: float) -> None:
        """Take one message, received at a time in seconds."""
        raise NotImplementedError

    def trajectory(self, camera_frame: str = '') -> PoseTrack:
        """The poses of all messages added; VprError if there are none or their times are bad.

        `camera_frame`: the header.frame_id of the images, which only transforms need.
        """
        raise NotImplementedError

    def _stamp(self, header: Any, received_s: float) -> float:
        if self.use_received:
            return received_s
        return stamp_to_s(header.stamp)


class BodyPoses(PoseReader):
    """Poses of the robot's body as published, in the frame that the headers name, else `map`.

    `camera_frame_is`: see `tf_chain.with_body_axes`.
    """

    types = frozenset(
        {
            ODOMETRY_TYPE,
            'geometry_msgs/msg/PoseStamped',
            'geometry_msgs/msg/PoseWithCovarianceStamped',
        }
    )

    def __init__(self, use_received: bool = False, camera_frame_is: str = 'auto'):
        super().__init__(use_received)
        self.camera_frame_is = camera_frame_is
        self._builder: TrajectoryBuilder | None = None
        self._variances: Any = array('d')  # of each pose, as its frame, a row of `_frames`
        self._frame_of: Any = array('q')
        self._frames: dict[str, int] = {}
        self._children: Counter[str] = Counter()

    def add(self, topic: str, message: Any, received_s: float) -> None:
        """See PoseReader."""
        if self._builder is None:
            self._builder = TrajectoryBuilder(topic, remedy=self.remedy)
        pose = getattr(message.pose, 'pose', message.pose)  # inside a PoseWithCovariance
        stamp = self._stamp(message.header, received_s)
        self._builder.add(stamp, _xyz(pose.position), _xyzw(pose.orientation))
        self._variances.append(_variance(message.pose))
        frame = message.header.frame_id.lstrip('/') or 'map'
        self._frame_of.append(self._frames.setdefault(frame, len(self._frames)))
        if hasattr(message, 'child_frame_id'):  # an Odometry
            self._children[message.child_frame_id] += 1

    @property
    def frame(self) -> str:
        """The frame that most messages name."""
        return list(self._frames)[int(np.bincount(self._frame_of).argmax())]

    def trajectory(self, camera_frame: str = '') -> Trajectory:
        """See PoseReader; VprError if many poses are in another frame than most.

        A few in another one, and impossible poses, are left out: see `pose_checks`. No pose can
        be added afterwards.
        """
        builder = self._builder
        if builder is None:
            return TrajectoryBuilder('the topic of poses').build()
        builder.frame = self.frame
        numbers = np.asarray(self._frame_of)
        other = numbers != self._frames[self.frame]
        if other.mean() > _OTHER_FRAMES:
            names = ' and in '.join(one_line(name) for name in [*self._frames][:_FRAMES_LISTED])
            raise VprError(
                f'{builder.what}: poses are in frame {names}; take another source of poses'
            )
        builder.leave_out(other, 'in another frame')
        variances = np.asarray(self._variances)[~other]
        bad = lost(builder.rows[:, 1:4], variances)
        builder.leave_out(bad, LOST)
        self._variances, self._frame_of = variances[~bad], numbers[~other][~bad]
        odometry = bool(self._children) or is_odometry(builder.frame)
        child = self._children.most_common(1)[0][0] if self._children else ''
        return with_body_axes(builder.build().checked(odometry), child, self.camera_frame_is)


class TfPoses(PoseReader):
    """Poses of the camera itself, from the transforms on /tf and /tf_static.

    `map_frame` and `camera_frame_is`: see TransformTree.track.
    """

    types = frozenset({'tf2_msgs/msg/TFMessage', 'tf/msg/tfMessage'})

    def __init__(
        self, use_received: bool = False, map_frame: str = '', camera_frame_is: str = 'auto'
    ):
        super().__init__(use_received)
        self.map_frame, self.camera_frame_is = map_frame, camera_frame_is
        self._tree = TransformTree(self.remedy)

    def add(self, topic: str, message: Any, received_s: float) -> None:
        """See PoseReader; transforms on a topic called ..tf_static hold at all times."""
        constant = topic.endswith('tf_static')
        for t in message.transforms:
            stamp = None if constant else self._stamp(t.header, received_s)
            position, quaternion = _xyz(t.transform.translation), _xyzw(t.transform.rotation)
            self._tree.add(t.header.frame_id, t.child_frame_id, stamp, position, quaternion)

    def trajectory(self, camera_frame: str = '') -> PoseTrack:
        """See PoseReader and TransformTree.track."""
        return self._tree.track(self.map_frame, camera_frame, self.camera_frame_is)


class NavSatPoses(PoseReader):
    """Positions of a satellite receiver in metres east, north and up of `origin`, frame `map`.

    `origin`: None: the first fix; queries need the origin of their map. Fixes are left out if
    their status says so, or if they are not on earth, at latitude and longitude 0, or uncertain by
    100 m or more. A height of NaN, or of more than 100 km, is interpolated from other fixes,
    else 0. A receiver knows no heading, so it is that of the way: see `travel_yaw`.
    """

    types = frozenset({'sensor_msgs/msg/NavSatFix'})

    def __init__(
        self,
        use_received: bool = False,
        origin: GeoOrigin | None = None,
        baseline_m: float = 2.0,
    ):
        super().__init__(use_received)
        self.origin, self.baseline_m = origin, baseline_m
        self.refused: Counter[str] = Counter()
        self._topic = 'the topic of fixes'
        self._rows = array('d')

    def add(self, topic: str, message: Any, received_s: float) -> None:
        """See PoseReader."""
        self._topic = topic
        stamp = self._stamp(message.header, received_s)
        lat, lon, alt = message.latitude, message.longitude, message.altitude
        # written so that NaN is refused too
        if not (message.status.status >= 0 and abs(lat) <= 90.0 and abs(lon) <= 180.0):
            self.refused['no fix'] += 1
        elif _fix_variance(message) >= NO_FIX_VARIANCE:
            self.refused['no fix, by its covariance'] += 1
        else:
            self._rows.extend((stamp, lat, lon, alt if abs(alt) <= HIGHEST_M else math.nan))

    def trajectory(self, camera_frame: str = '') -> Trajectory:
        """See PoseReader; `geo` and `origin` are set, and `pose_checks` were made."""
        rows = np.array(self._rows).reshape(-1, 4)
        refused = self.refused.copy()
        rows = rows[~_without_fix(rows, refused)]
        rows = rows[time_order(rows[:, 0], self._topic, self.remedy, refused)]
        known = np.isfinite(rows[:, 3])
        rows[~known, 3] = (
            np.interp(rows[~known, 0], rows[known, 0], rows[known, 3]) if known.any() else 0.0
        )
        flat = GeoOrigin(*rows[0, 1:].tolist()).to_enu(rows[:, 1:]) * (1.0, 1.0, 0.0)
        verdict = check_poses(rows[:, 0], flat, unset_at_origin=False)
        rows = rows[verdict.keep]
        origin = self.origin or GeoOrigin(*rows[0, 1:].tolist())
        stamps, positions = rows[:, 0].copy(), origin.to_enu(rows[:, 1:])
        quaternions = np.zeros((len(rows), 4))
        parts = np.searchsorted(stamps, verdict.breaks[:, 1]).tolist()
        for start, end in zip([0, *parts], [*parts, len(rows)], strict=True):
            half = travel_yaw(stamps[start:end], positions[start:end], self.baseline_m) / 2.0
            quaternions[start:end, 2:] = np.column_stack([np.sin(half), np.cos(half)])
        return Trajectory(
            stamps,
            positions,
            quaternions,
            'map',
            rows[:, 1:3].copy(),
            origin,
            refused + verdict.refused,
            verdict.breaks,
            verdict.remarks,
        )


_READERS: tuple[type[PoseReader], ...] = (BodyPoses, TfPoses, NavSatPoses)
POSE_TYPES = frozenset().union(*(reader.types for reader in _READERS))


def pose_reader(
    msgtype: str,
    use_received: bool = False,
    map_frame: str = '',
    origin: GeoOrigin | None = None,
    baseline_m: float = 2.0,
    camera_frame_is: str = 'auto',
) -> PoseReader:
    """The reader for a type of messages, with those of the options that concern it.

    `map_frame` is for transforms, `origin` and `baseline_m` are for satellite fixes,
    `camera_frame_is` (one of camera_axes.CHOICES) is for all others. VprError if no poses can be
    read from messages of this type.
    """
    if msgtype in TfPoses.types:
        return TfPoses(use_received, map_frame, camera_frame_is)
    if msgtype in NavSatPoses.types:
        return NavSatPoses(use_received, origin, baseline_m)
    if msgtype in BodyPoses.types:
        return BodyPoses(use_received, camera_frame_is)
    kinds = ', '.join(sorted(POSE_TYPES))
    raise VprError(f'{msgtype}: poses are not read from it; give a topic of {kinds}')


def _xyz(point: Any) -> tuple[float, float, float]:
    return point.x, point.y, point.z


def _xyzw(quaternion: Any) -> tuple[float, float, float, float]:
    return quaternion.x, quaternion.y, quaternion.z, quaternion.w


def _variance(with_covariance: Any) -> float:
    """The larger of the variances of x and y in m2; NaN if there is none."""
    covariance = getattr(with_covariance, 'covariance', None)
    return math.nan if covariance is None else _larger(covariance[0], covariance[7])


def _fix_variance(message: Any) -> float:
    """The larger of the variances to the east and north in m2; NaN if they are unknown."""
    if not getattr(message, 'position_covariance_type', 0):
        return math.nan
    return _larger(message.position_covariance[0], message.position_covariance[4])


def _larger(a: float, b: float) -> float:
    """The larger of two numbers, NaN where both are; `max` would depend on their order."""
    return float(np.fmax(a, b))


def _without_fix(rows: np.ndarray, refused: Counter[str]) -> np.ndarray:
    """Which fixes, bool (N,), are at 0, 0 for lack of a fix; not those of a simulator there."""
    zero = ~rows[:, 1:3].any(axis=1)
    others = np.abs(rows[~zero, 1:3])
    if not zero.any() or len(others) and np.median(others, axis=0).max() < _SIMULATED_DEG:
        return np.zeros(len(rows), bool)
    refused['at latitude and longitude 0'] += int(zero.sum())
    return zero

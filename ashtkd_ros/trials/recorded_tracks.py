# SPDX-License-Identifier: Apache-2.0
"""Where a trial's recording says that the robot was: satellite fixes, poses, tf, odometry.

Times are seconds since the trial began, by receipt. Readers of poses take a stamp of zero for
none, so they are given `LATER` seconds more.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ashtkd_ros.errors import VprError
from ashtkd_ros.geometry.geodesy import GeoOrigin
from ashtkd_ros.geometry.trajectory import PoseTrack, Trajectory
from ashtkd_ros.traverses.pose_messages import BodyPoses, NavSatPoses, TfPoses
from ashtkd_ros.trials.robot_watch import FASTEST_M_S, accuracy_m

LATER = 1e6
_STEP_M = 0.5  # a shorter way is noise of satellites
_FAR_M, _JUMP_M = 30.0, 10.0  # a longer one is a jump, of a robot or of a fix


@dataclass(frozen=True)
class Fixes:
    """Satellite fixes, in order of time, in metres of the map's frame.

    `track`: those that can be, see Trajectory. Of all messages, float64 (N,) or (N, 2): `seconds`;
    `accuracy`, one standard deviation in metres, NaN where it is not told, inf without a fix;
    `positions` in metres, NaN without a fix.
    """

    topic: str
    track: Trajectory
    seconds: np.ndarray
    accuracy: np.ndarray
    positions: np.ndarray

    def jumps(self) -> list[float]:
        """When a fix was further from the one before than any robot can have moved, in seconds."""
        known = np.isfinite(self.positions[:, 0])
        at, where = self.seconds[known], self.positions[known]
        step, passed = np.hypot(*np.diff(where, axis=0).T), np.diff(at)
        return at[1:][step > np.maximum(_JUMP_M, FASTEST_M_S * passed)].tolist()

    def step_at(self, when: float, beside_s: float) -> np.ndarray:
        """How far fixes move, float64 (2,), from shortly before a moment to shortly after it."""
        known = np.isfinite(self.positions[:, 0])
        at, where = self.seconds[known], self.positions[known]
        before = np.flatnonzero(at < when - beside_s)[-1:]
        after = np.flatnonzero(at > when + beside_s)[:1]
        if not len(before) or not len(after):
            return np.zeros(2)
        return where[after[0]] - where[before[0]]


class RecordedTracks:
    """`origin`: of the map's frame on earth; `map_frame`: its name; `notes`: for the user."""

    def __init__(self, origin: GeoOrigin | None = None, map_frame: str = ''):
        self.camera_frame = ''
        self.notes: list[str] = []
        self._fixes = NavSatPoses(use_received=True, origin=origin)
        self._fix_topic = ''
        self._fix_at, self._accuracy, self._geo = array('d'), array('d'), array('d')
        self._poses: dict[str, BodyPoses] = {}
        self._tf = TfPoses(use_received=True, map_frame=map_frame)
        self._has_tf = False
        self._odometry = array('d')

    def add_fix(self, topic: str, message, seconds: float) -> None:
        """Take a NavSatFix."""
        self._fix_topic = topic
        self._fixes.add(topic, message, seconds + LATER)
        accuracy = accuracy_m(message.position_covariance, message.position_covariance_type)
        self._fix_at.append(seconds)
        place = message.latitude, message.longitude
        fixed = message.status.status >= 0 and abs(place[0]) <= 90.0 and abs(place[1]) <= 180.0
        self._accuracy.append(accuracy if fixed else math.inf)
        self._geo.extend((*place, 0.0) if fixed else (math.nan,) * 3)

    def add_odometry(self, message, seconds: float) -> None:
        """Take an Odometry, for the way that was driven."""
        at = message.pose.pose.position
        if math.isfinite(at.x) and math.isfinite(at.y):
            self._odometry.extend((seconds, at.x, at.y))

    def add(self, topic: str, message, seconds: float) -> None:
        """Take a pose of any kind but tf."""
        reader = self._poses.setdefault(topic, BodyPoses(use_received=True))
        reader.add(topic, message, seconds + LATER)

    def add_tf(self, topic: str, message, seconds: float) -> None:
        """Take a TFMessage."""
        self._has_tf = True
        self._tf.add(topic, message, seconds + LATER)

    @property
    def has_fixes(self) -> bool:
        """Whether there was any message of satellites."""
        return bool(self._fix_at)

    def fixes(self) -> Fixes:
        """VprError where none is of use."""
        track = self._fixes.trajectory()
        with np.errstate(invalid='ignore'):
            positions = track.origin.to_enu(np.array(self._geo).reshape(-1, 3))[:, :2]
        columns = np.array(self._fix_at), np.array(self._accuracy), positions
        return Fixes(self._fix_topic, track, *columns)

    @property
    def frames(self) -> Mapping[str, str]:
        """Topic of poses → the frame that they are in."""
        return {topic: reader.frame for topic, reader in self._poses.items()}

    def poses(self, topic: str) -> PoseTrack:
        """Those of a topic in `frames`; VprError where none is of use."""
        return self._poses[topic].trajectory(self.camera_frame)

    def transforms(self) -> PoseTrack | None:
        """Those of tf from the map's frame to the camera; None where tf does not tell them."""
        if not self._has_tf:
            return None
        try:
            return self._tf.trajectory(self.camera_frame)
        except VprError:
            return None

    def way(self) -> tuple[np.ndarray, np.ndarray]:
        """Seconds and metres driven by then, float64 (N,) each, by odometry; empty without it."""
        rows = np.array(self._odometry).reshape(-1, 3)
        return driven(rows[:, 0], rows[:, 1:])


def driven(seconds: np.ndarray, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of positions (N, 2) in metres: seconds and metres driven by then, float64 (K,) each.

    Steps are counted once they are half a metre long, so that a robot that stands does not move;
    jumps of more than 30 m count as none.
    """
    kept, metres = [], []
    last, total = None, 0.0
    for at, (x, y) in zip(seconds.tolist(), positions.tolist(), strict=True):
        step = math.inf if last is None else math.hypot(x - last[0], y - last[1])
        if step < _STEP_M:
            continue
        total += step if step < _FAR_M else 0.0
        last = x, y
        kept.append(at)
        metres.append(total)
    return np.array(kept), np.array(metres)

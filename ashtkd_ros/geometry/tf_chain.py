# SPDX-License-Identifier: Apache-2.0
"""Poses over time, composed of a chain of transforms between frames (tf)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ashtkd_ros.geometry.camera_axes import is_optical
from ashtkd_ros.geometry.pose_checks import check_poses, is_odometry, stretches, within
from ashtkd_ros.geometry.quaternions import invert_transform, multiply, rotate
from ashtkd_ros.geometry.trajectory import GAP, PoseTrack, Summary, Trajectory

# REP-103 body axes (x forward, y left, z up) seen from optical ones (x right, y down, z forward)
BODY_IN_OPTICAL = (0.5, -0.5, 0.5, 0.5)


def with_body_axes(track: Trajectory, frame: str, wanted: str = 'auto') -> Trajectory:
    """Turn the poses of an optical frame into poses with body axes; others stay as they are.

    `frame`: the name of the frame, empty if it is not known. `wanted`: see
    `camera_axes.is_optical`. A change is added to the remarks.
    """
    optical, why = is_optical(track.positions, track.quaternions, frame, wanted)
    if not optical:
        return track
    quaternions = multiply(track.quaternions, np.array(BODY_IN_OPTICAL))
    return replace(track, quaternions=quaternions, remarks=[*track.remarks, why])


@dataclass(frozen=True)
class Link:
    """One step of a chain: a transform or its inverse; a constant one has a single pose."""

    transform: Trajectory
    constant: bool
    inverse: bool


class TfTrajectory(PoseTrack):
    """Poses composed of a chain of transforms, each of which is interpolated separately.

    A stamp has a pose only if every link has one; the first link without one gives the reason.
    `breaks`, float64 (K, 2): times in seconds between which there is no pose.
    """

    def __init__(self, links: Sequence[Link], frame: str, refused: Counter[str] | None = None):
        self.links, self.frame, self.optical = links, frame, False
        self.refused = Counter() if refused is None else refused
        self.breaks, self.remarks = np.zeros((0, 2)), []
        self._moving = [link.transform for link in links if not link.constant]

    def check(self) -> None:
        """Leave out impossible poses of the body, which moves; see `pose_checks.check_poses`."""
        moves = [i for i, link in enumerate(self.links) if not link.constant]
        if not moves:
            return
        links = self.links[moves[0] : moves[-1] + 1]
        stamps = self.stamps()
        positions, quaternions, _ = TfTrajectory(links, self.frame).sample(stamps, np.inf)
        verdict = check_poses(stamps, positions, quaternions, is_odometry(self.frame))
        self.refused.update(verdict.refused)
        self.remarks += verdict.remarks
        self.breaks = stretches(stamps, verdict)

    def decide_axes(self, camera_frame: str, wanted: str) -> None:
        """Decide whether the camera's frame is optical; see `camera_axes.is_optical`."""
        stamps = self.stamps()
        stamps = stamps[~within(stamps, self.breaks)]
        positions, quaternions, _ = self.sample(stamps, np.inf)
        self.optical, why = is_optical(positions, quaternions, camera_frame, wanted)
        self.remarks.append(why)

    def stamps(self) -> np.ndarray:
        """The stamps of the link that has most, within the time that all links share.

        One stamp, 0, if no link moves.
        """
        if not self._moving:
            return np.zeros(1)
        start, end = shared_time(self._moving)
        stamps = max(self._moving, key=lambda t: len(t.stamps)).stamps
        return stamps[(stamps >= start) & (stamps <= end)]

    def sample(
        self, stamps: np.ndarray, max_gap_s: float
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """See PoseTrack."""
        position = np.zeros((len(stamps), 3))
        quaternion = np.tile((0.0, 0.0, 0.0, 1.0), (len(stamps), 1))
        reasons = np.zeros(len(stamps), np.int8)
        for link in self.links:
            if link.constant:
                step, turn = link.transform.positions, link.transform.quaternions
            else:
                step, turn, why = link.transform.sample(stamps, max_gap_s)
                reasons = np.where(reasons == 0, why, reasons)
            if link.inverse:
                step, turn = invert_transform(step, turn)
            position = position + rotate(quaternion, step)
            quaternion = multiply(quaternion, turn)
        if self.optical:
            quaternion = multiply(quaternion, np.array(BODY_IN_OPTICAL))
        quaternion = quaternion / np.linalg.norm(quaternion, axis=1, keepdims=True)
        reasons[(reasons == 0) & within(stamps, self.breaks)] = GAP
        return position, quaternion, reasons

    @property
    def span(self) -> tuple[float, float]:
        """See PoseTrack; infinite if no link moves."""
        return shared_time(self._moving) if self._moving else (-np.inf, np.inf)

    def describe(self) -> Summary:
        """Count and rate of the link with the fewest poses, length of the way by the densest one.

        The duration is the time that all links share; the longest gap is that of any link.
        """
        if not self._moving:
            return Summary(1, 0.0, 0.0, 0.0, 0.0)
        slowest = min(self._moving, key=lambda t: len(t.stamps))
        fastest = max(self._moving, key=lambda t: len(t.stamps))
        start, end = shared_time(self._moving)
        inside = [t.stamps[(t.stamps >= start) & (t.stamps <= end)] for t in (slowest, fastest)]
        positions = self.sample(inside[1], np.inf)[0]
        length = float(np.linalg.norm(np.diff(positions, axis=0), axis=1).sum())
        longest = max(t.describe().longest_gap_s for t in self._moving)
        rate = slowest.describe().rate_hz
        return Summary(len(inside[0]), rate, max(end - start, 0.0), length, longest)

    def gaps(self, max_gap_s: float) -> list[tuple[float, float]]:
        """See PoseTrack; overlapping gaps of several links become one."""
        merged: list[tuple[float, float]] = []
        all_gaps = [gap for t in self._moving for gap in t.gaps(max_gap_s)]
        first, last = self.span
        all_gaps += [(max(a, first), min(b, last)) for a, b in self.breaks.tolist()]
        for start, end in sorted(all_gaps):
            if merged and start < merged[-1][1]:
                start, end = merged[-1][0], max(end, merged.pop()[1])
            merged.append((start, end))
        return merged


def shared_time(moving: Sequence[Trajectory]) -> tuple[float, float]:
    """The latest start and the earliest end of transforms, in seconds."""
    start = max(float(t.stamps[0]) for t in moving)
    return start, min(float(t.stamps[-1]) for t in moving)

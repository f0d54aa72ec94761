# SPDX-License-Identifier: Apache-2.0
"""Poses over time, and the pose at any moment between them."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ashtkd_ros.errors import VprError
from ashtkd_ros.geometry.angles import wrap_degrees
from ashtkd_ros.geometry.geodesy import GeoOrigin
from ashtkd_ros.geometry.pose import FARTHEST_M, Pose
from ashtkd_ros.geometry.pose_checks import SAME_S, check_poses, within
from ashtkd_ros.geometry.pose_table import read_pose_table
from ashtkd_ros.geometry.quaternions import slerp

REASONS = ('', 'before the first pose', 'after the last pose', 'gap between poses')
END_SLACK_S = 0.02  # an image this far outside the ends takes the end's pose
BACK_JUMP_S = 1.0  # less is messages out of order, more a clock that was set
USE_RECEIVE = 'use --stamps receive'
_BEFORE, _AFTER, GAP = 1, 2, 3
STRAY = 'stamp far from those beside it'
_STRAY_WINDOW, _STRAY_SHARE = 7, 0.25  # stamps that are compared; more strays mean another fault
_SHORTEST = 1e-6  # length of a quaternion below which it says nothing


@dataclass(frozen=True)
class Summary:
    """Figures of a trajectory; `rate_hz` comes from the median interval, 0 for a single pose."""

    count: int
    rate_hz: float
    duration_s: float
    length_m: float
    longest_gap_s: float

    def __str__(self) -> str:
        """The figures in one line, for people."""
        return (
            f'{self.count} poses, {self.rate_hz:.1f} Hz, {self.duration_s:.1f} s, '
            f'{self.length_m:.1f} m, longest gap {self.longest_gap_s:.2f} s'
        )


class PoseTrack:
    """Base class: the poses of one moving body over time, in one `frame`.

    `origin`: where on earth the origin of the frame is, None if not known; `refused`: how many
    poses of the recording were left out, by reason; `remarks`: what else the user should know.
    """

    frame: str
    origin: GeoOrigin | None = None
    refused: Counter[str]
    remarks: Sequence[str] = ()

    def sample(
        self, stamps: np.ndarray, max_gap_s: float
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Poses at float64 (M,) stamps: positions (M, 3) in metres, unit quaternions (M, 4) xyzw.

        The third array, int8 (M,), is 0 for a pose, otherwise the index in REASONS of why there is
        none.
        """
        raise NotImplementedError

    def at(self, stamp: float, max_gap_s: float) -> tuple[Pose | None, str]:
        """The pose at a stamp in seconds, or None and the reason, one of REASONS.

        Positions are interpolated linearly, orientations along the shortest arc (slerp). There is
        no interpolation between poses more than `max_gap_s` seconds apart, but a stamp that is
        equal to that of one of them has its pose.
        """
        positions, quaternions, reasons = self.sample(np.array([stamp], np.float64), max_gap_s)
        if reasons[0]:
            return None, REASONS[reasons[0]]
        return Pose(*positions[0].tolist(), *quaternions[0].tolist()), ''

    def geo_at(self, stamp: float, max_gap_s: float = math.inf) -> tuple[float, float] | None:
        """Latitude and longitude in degrees at a stamp in seconds; None if they are not known."""
        return None

    @property
    def span(self) -> tuple[float, float]:
        """Stamps of the first and the last pose, in seconds."""
        raise NotImplementedError

    def describe(self) -> Summary:
        """Count, rate, duration, length and longest gap."""
        raise NotImplementedError

    def gaps(self, max_gap_s: float) -> list[tuple[float, float]]:
        """Start and end, in seconds, of every gap across which `at` does not interpolate."""
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class Trajectory(PoseTrack):
    """Poses in order of time; TrajectoryBuilder makes one from data that may have errors.

    `stamps` float64 (N,) in seconds, growing, N > 0; `positions` float64 (N, 3) in metres;
    `quaternions` float64 (N, 4), xyzw, of length 1; `geo` float64 (N, 2), degrees of latitude
    and longitude, or None; `breaks` float64 (K, 2): times in seconds between which
    nothing is interpolated.
    """

    stamps: np.ndarray
    positions: np.ndarray
    quaternions: np.ndarray
    frame: str = 'map'
    geo: np.ndarray | None = None
    origin: GeoOrigin | None = None
    refused: Counter[str] = field(default_factory=Counter)
    breaks: np.ndarray = field(default_factory=lambda: np.zeros((0, 2)))
    remarks: Sequence[str] = ()

    def checked(self, odometry: bool = False) -> Trajectory:
        """A copy without impossible poses, which are counted; see `pose_checks.check_poses`."""
        verdict = check_poses(self.stamps, self.positions, self.quaternions, odometry)
        keep = verdict.keep
        track = replace(
            self,
            refused=self.refused + verdict.refused,
            breaks=verdict.breaks,
            remarks=[*self.remarks, *verdict.remarks],
        )
        if keep.all():
            return track
        geo = None if self.geo is None else self.geo[keep]
        rows = self.stamps[keep], self.positions[keep], self.quaternions[keep]
        return replace(track, stamps=rows[0], positions=rows[1], quaternions=rows[2], geo=geo)

    def sample(
        self, stamps: np.ndarray, max_gap_s: float
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """See PoseTrack; takes a time of O(M log N)."""
        left, right, part, reasons = self._locate(stamps, max_gap_s)
        share = part[:, None]  # this form gives both ends exactly
        positions = (1.0 - share) * self.positions[left] + share * self.positions[right]
        quaternions = slerp(self.quaternions[left], self.quaternions[right], part)
        return positions, quaternions, reasons

    def geo_at(self, stamp: float, max_gap_s: float = math.inf) -> tuple[float, float] | None:
        """See PoseTrack; the path between two fixes may cross the 180th meridian."""
        if self.geo is None:
            return None
        left, right, part, reasons = self._locate(np.array([stamp], np.float64), max_gap_s)
        if reasons[0]:
            return None
        (lat, lon), (to_lat, to_lon) = self.geo[left[0]].tolist(), self.geo[right[0]].tolist()
        share = float(part[0])
        lon += share * wrap_degrees(to_lon - lon)
        return lat + share * (to_lat - lat), lon if abs(lon) <= 180.0 else wrap_degrees(lon)

    @property
    def span(self) -> tuple[float, float]:
        """See PoseTrack."""
        return float(self.stamps[0]), float(self.stamps[-1])

    def describe(self) -> Summary:
        """See PoseTrack."""
        steps = np.diff(self.stamps)
        if not len(steps):
            return Summary(1, 0.0, 0.0, 0.0, 0.0)
        length = np.linalg.norm(np.diff(self.positions, axis=0), axis=1).sum()
        duration = self.stamps[-1] - self.stamps[0]
        numbers = (1.0 / np.median(steps), duration, length, steps.max())
        return Summary(len(self.stamps), *(float(n) for n in numbers))

    def gaps(self, max_gap_s: float) -> list[tuple[float, float]]:
        """See PoseTrack."""
        starts = np.diff(self.stamps) > max_gap_s + SAME_S
        starts |= np.isin(self.stamps[:-1], self.breaks[:, 0])
        rows = np.flatnonzero(starts)
        return [(float(self.stamps[i]), float(self.stamps[i + 1])) for i in rows]

    def _locate(self, stamps: np.ndarray, max_gap_s: float) -> tuple[np.ndarray, ...]:
        """Rows before and after each stamp, the share of the time between them, and reasons."""
        known = self.stamps
        inside = np.clip(stamps, known[0], known[-1])
        # minimum: NaN is sorted behind all stamps
        right = np.minimum(np.searchsorted(known, inside), len(known) - 1)
        left = np.maximum(right - 1, 0)
        since, until = inside - known[left], known[right] - inside
        gap = since + until
        part = np.divide(since, gap, out=np.zeros_like(gap), where=gap > 0.0)
        reasons = np.zeros(len(stamps), np.int8)
        reasons[(gap > max_gap_s + SAME_S) & (np.minimum(since, until) > SAME_S)] = GAP
        reasons[within(stamps, self.breaks)] = GAP
        reasons[~(stamps >= known[0] - END_SLACK_S)] = _BEFORE
        reasons[stamps > known[-1] + END_SLACK_S] = _AFTER
        return left, right, part, reasons


class TrajectoryBuilder:
    """Collects poses, 64 bytes each, and makes one Trajectory of them.

    `what` (a topic or file) begins every error message; `remedy` ends those about stamps.
    """

    def __init__(self, what: str, frame: str = 'map', remedy: str = USE_RECEIVE):
        self.what, self.frame, self.remedy = what, frame, remedy
        self.refused: Counter[str] = Counter()
        self._rows = array('d')

    def add(self, stamp: float, position: Sequence[float], quaternion: Sequence[float]) -> None:
        """Append a pose: seconds, metres, quaternion xyzw of any length but 0."""
        self._rows.extend((stamp, *position, *quaternion))

    def leave_out(self, bad: np.ndarray, why: str) -> None:
        """Remove and count the poses added so far that `bad`, bool (N,), marks."""
        if bad.any():
            self.refused[why] += int(bad.sum())
            self._rows = array('d', np.asarray(self._rows).reshape(-1, 8)[~bad].tobytes())

    @property
    def rows(self) -> np.ndarray:
        """A copy of the poses added so far, float64 (N, 8): stamp, position, quaternion."""
        return np.array(self._rows).reshape(-1, 8)

    def build(self) -> Trajectory:
        """The trajectory, sorted by time; of several poses at one stamp the last is kept.

        Bad poses are left out and counted. The trajectory may share the builder's memory, so
        nothing can be added afterwards. VprError if no pose is left, if all stamps are 0, or if
        they jump back.
        """
        rows = np.asarray(self._rows).reshape(-1, 8)
        finite = np.isfinite(rows).all(axis=1)
        with np.errstate(over='ignore', invalid='ignore'):  # those rows are refused
            lengths = np.sqrt(np.einsum('ij,ij->i', rows[:, 4:], rows[:, 4:]))
        turned = (lengths > _SHORTEST) & np.isfinite(lengths)
        refused = self.refused.copy()
        on_earth = finite & (np.abs(rows[:, 1:4]) <= FARTHEST_M).all(axis=1)
        turned &= on_earth
        refused['not finite'] += int((~finite).sum())
        refused['nowhere on earth'] += int((finite & ~on_earth).sum())
        refused['quaternion of length 0'] += int((on_earth & ~turned).sum())
        refused = +refused  # without the reasons that never occurred
        usable = np.flatnonzero(finite & turned)
        order = usable[time_order(rows[usable, 0], self.what, self.remedy, refused)]
        if not np.array_equal(order, np.arange(len(rows))):
            rows = rows[order]
        rows[:, 4:] /= lengths[order, None]
        stamps = rows[:, 0].copy()  # contiguous, otherwise every search would copy it
        return Trajectory(stamps, rows[:, 1:4], rows[:, 4:], self.frame, refused=refused)


def time_order(stamps: np.ndarray, what: str, remedy: str, refused: Counter[str]) -> np.ndarray:
    """Rows, int64 (M,), that put float64 (N,) stamps in order; of equal stamps the last is kept.

    Stamps of 0, far from all others, were never set: these rows are left out and counted in
    `refused`, and so are a few stray ones without which the others are in order. VprError if
    there is no row, if all stamps are 0, or if one lies more than BACK_JUMP_S before an earlier
    one.
    """
    if not len(stamps):
        reasons = ', '.join(f'{n} {reason}' for reason, n in refused.items())
        left_out = f' ({reasons})' if reasons else ''
        raise VprError(f'{what}: has no usable pose{left_out}; use another source of poses')
    if not stamps.any():
        raise VprError(f'{what}: all stamps are zero; {remedy}')
    rows = np.flatnonzero(stamps)
    unset = len(stamps) - len(rows) if stamps[rows].min() > BACK_JUMP_S else 0
    if unset:
        refused['stamp zero'] += unset
        stamps = stamps[rows]
    else:
        rows = np.arange(len(stamps))
    if len(back := _back(stamps)):
        stray = _strays(stamps)
        if stray.sum() > _STRAY_SHARE * len(stamps) or len(_back(stamps[~stray])):
            at = back[0]
            latest = stamps[: at + 1].max()
            raise VprError(
                f'{what}: the clock jumps back by {latest - stamps[at]:.1f} s after '
                f'{latest:.3f} s (pose {rows[at]}); {remedy}'
            )
        refused[STRAY] += int(stray.sum())
        rows, stamps = rows[~stray], stamps[~stray]
    order = np.argsort(stamps, kind='stable')
    ordered = stamps[order]
    return rows[order[np.append(ordered[1:] != ordered[:-1], True)]]


def _back(stamps: np.ndarray) -> np.ndarray:
    """Rows, int64 (K,), of stamps that lie more than BACK_JUMP_S before an earlier one."""
    return np.flatnonzero(np.maximum.accumulate(stamps) - stamps > BACK_JUMP_S)


def _strays(stamps: np.ndarray) -> np.ndarray:
    """Which stamps, bool (N,), lie far from those recorded around them, as damaged ones do.

    Of stamps in order each is the median of those around it, whatever pauses there are. Where a
    clock was set, those beside that moment lie no further from the median than time passes there.
    """
    half = _STRAY_WINDOW // 2
    ends = np.full(half, np.inf)
    around = sliding_window_view(np.concatenate([-ends, stamps, ends]), _STRAY_WINDOW)
    off = np.abs(stamps - np.median(around, axis=1))
    usual = float(np.median(np.abs(np.diff(stamps)))) if len(stamps) > 1 else 0.0
    return off > BACK_JUMP_S + _STRAY_WINDOW * usual


def read_tum(path: Path, frame: str = 'map') -> Trajectory:
    """Read a file of poses in seconds and metres; see `pose_table` for its formats.

    Poses that are left out are counted in `refused`. VprError names the file and line of an error.
    """
    table = read_pose_table(path)
    builder = TrajectoryBuilder(str(path), frame, 'the first column must be seconds that grow')
    builder.refused = table.refused
    for stamp, values in zip(table.stamps.tolist(), table.poses.tolist(), strict=True):
        builder.add(stamp, values[:3], values[3:])
    return replace(builder.build(), remarks=table.notes)

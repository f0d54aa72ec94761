# SPDX-License-Identifier: Apache-2.0
"""Chains of transforms between frames (tf): collected from messages, then looked up by time.

Quaternions are xyzw and of length 1; a transform (position, quaternion) of parent and child is
the pose of the child in the parent, so it takes points of the child to points of the parent.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ashtkd_ros.errors import VprError
from ashtkd_ros.geometry.camera_axes import is_optical
from ashtkd_ros.geometry.pose_checks import check_poses, is_odometry, restarts, stretches, within
from ashtkd_ros.geometry.quaternions import invert_transform, multiply, rotate
from ashtkd_ros.geometry.trajectory import GAP, PoseTrack, Summary, Trajectory, TrajectoryBuilder

# REP-103 body axes (x forward, y left, z up) seen from optical ones (x right, y down, z forward)
BODY_IN_OPTICAL = (0.5, -0.5, 0.5, 0.5)
DEFAULT_ROOTS = ('map', 'odom', 'world')
Edge = tuple[str, str]  # parent and child
_SAME = 1e-9  # metres, and parts of a quaternion
_OFTEN_S = 1.0  # what is sent so often is there whenever it is needed


def facing(track: Trajectory, frame: str, wanted: str = 'auto') -> Trajectory:
    """Poses of a body or of a lens, said to be of `frame` if that is known → with body axes.

    `wanted`: see `camera_axes.is_optical`. What was done is remarked where it changes anything.
    """
    optical, why = is_optical(track.positions, track.quaternions, frame, wanted)
    if not optical:
        return track
    quaternions = multiply(track.quaternions, np.array(BODY_IN_OPTICAL))
    return replace(track, quaternions=quaternions, remarks=[*track.remarks, why])


@dataclass(frozen=True)
class Link:
    """One step of a chain: a transform, over time or constant (a single pose), or its inverse."""

    transform: Trajectory
    constant: bool
    inverse: bool


class TfTrajectory(PoseTrack):
    """Poses composed of a chain of transforms, each interpolated by itself.

    A stamp has a pose only where every link has one: the first link without says why. `breaks`
    float64 (K, 2): stretches in seconds, without their ends, in which there is none.
    """

    def __init__(self, links: Sequence[Link], frame: str, refused: Counter[str] | None = None):
        self.links, self.frame, self.optical = links, frame, False
        self.refused = Counter() if refused is None else refused
        self.breaks, self.remarks = np.zeros((0, 2)), []
        self._moving = [link.transform for link in links if not link.constant]

    def check(self) -> None:
        """Leave out what cannot be, by `pose_checks.check_poses`: of the body, which moves."""
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

    def face(self, camera_frame: str, wanted: str) -> None:
        """Settle whether the camera's frame is a lens's; see `camera_axes.is_optical`."""
        stamps = self.stamps()
        stamps = stamps[~within(stamps, self.breaks)]
        positions, quaternions, _ = self.sample(stamps, np.inf)
        self.optical, why = is_optical(positions, quaternions, camera_frame, wanted)
        self.remarks.append(why)

    def stamps(self) -> np.ndarray:
        """Those of the link with the most of them, while all links are there; else one, 0."""
        if not self._moving:
            return np.zeros(1)
        start, end = _shared_time(self._moving)
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
        """See PoseTrack; without end where nothing moves."""
        return _shared_time(self._moving) if self._moving else (-np.inf, np.inf)

    def describe(self) -> Summary:
        """Count and rate of the slowest link, length by the stamps of the fastest one.

        The time is what all links share; the longest gap is that of any of them.
        """
        if not self._moving:
            return Summary(1, 0.0, 0.0, 0.0, 0.0)
        slowest = min(self._moving, key=lambda t: len(t.stamps))
        fastest = max(self._moving, key=lambda t: len(t.stamps))
        start, end = _shared_time(self._moving)
        inside = [t.stamps[(t.stamps >= start) & (t.stamps <= end)] for t in (slowest, fastest)]
        positions = self.sample(inside[1], np.inf)[0]
        length = float(np.linalg.norm(np.diff(positions, axis=0), axis=1).sum())
        longest = max(t.describe().longest_gap_s for t in self._moving)
        rate = slowest.describe().rate_hz
        return Summary(len(inside[0]), rate, max(end - start, 0.0), length, longest)

    def gaps(self, max_gap_s: float) -> list[tuple[float, float]]:
        """See PoseTrack; gaps of several links that overlap are one."""
        merged: list[tuple[float, float]] = []
        found = [gap for t in self._moving for gap in t.gaps(max_gap_s)]
        first, last = self.span
        found += [(max(a, first), min(b, last)) for a, b in self.breaks.tolist()]
        for start, end in sorted(found):
            if merged and start < merged[-1][1]:
                start, end = merged[-1][0], max(end, merged.pop()[1])
            merged.append((start, end))
        return merged


def _shared_time(moving: Sequence[Trajectory]) -> tuple[float, float]:
    """Latest start and earliest end, in seconds."""
    start = max(float(t.stamps[0]) for t in moving)
    return start, min(float(t.stamps[-1]) for t in moving)


def _split(transform: Trajectory) -> Trajectory:
    """The same, not interpolated to where it begins anew."""
    rows = restarts(transform.stamps, transform.positions, transform.quaternions)
    breaks = np.column_stack([transform.stamps[rows - 1], transform.stamps[rows]])
    return replace(transform, breaks=breaks)


class TransformTree:
    """All transforms of a recording, in any order; frames' leading slashes (ROS 1) are dropped.

    A transform may come both ways: what moves wins over what is constant. Of constant ones that
    come again the last one counts. `remedy` ends the errors about stamps.
    """

    def __init__(self, remedy: str):
        self.remedy = remedy
        self.refused: Counter[str] = Counter()
        self._moving: dict[tuple[str, str], TrajectoryBuilder] = {}
        self._constant: dict[tuple[str, str], Trajectory] = {}

    def add(
        self,
        parent: str,
        child: str,
        stamp: float | None,
        position: Sequence[float],
        quaternion: Sequence[float],
    ) -> None:
        """Take a transform of metres and xyzw at a stamp in seconds, None for a constant one."""
        edge = (parent.lstrip('/'), child.lstrip('/'))
        if not all(edge) or edge[0] == edge[1]:
            self.refused['frame without a name or its own parent'] += 1
        elif stamp is None:
            builder = TrajectoryBuilder('/tf_static', edge[0])
            builder.add(1.0, position, quaternion)  # any stamp but 0
            try:
                self._constant[edge] = builder.build()
            except VprError:
                self.refused['constant transform not finite or of length 0'] += 1
        else:
            if edge not in self._moving:
                self._moving[edge] = TrajectoryBuilder(
                    f'tf {edge[0]} -> {edge[1]}', edge[0], self.remedy
                )
            self._moving[edge].add(stamp, position, quaternion)

    def track(
        self, map_frame: str, camera_frame: str, camera_frame_is: str = 'auto'
    ) -> TfTrajectory:
        """Poses of a camera in a map, REP-103 axes also where the camera's frame is optical.

        An empty `map_frame` stands for the first of DEFAULT_ROOTS that is there, else for the
        only root; `camera_frame_is`: see `camera_axes.is_optical`. VprError where frames are
        missing or not connected, or where transforms have no usable stamps or no time in common.
        """
        camera_frame = camera_frame.lstrip('/')
        if not camera_frame:
            raise VprError('tf: the images name no frame_id; name the camera with --camera-frame')
        map_frame = map_frame.lstrip('/') or self._default_root()
        chain = self._chain(map_frame, camera_frame)
        settled = self._settle([edge for edge, _ in chain])
        refused, remarks, links = self.refused.copy(), [], []
        for edge, inverse in chain:
            transform, why = settled.get(edge, (None, ''))
            constant = transform is not None
            transform = transform or self._moving[edge].build()
            refused.update(transform.refused)
            links.append(Link(transform, constant, inverse))
            remarks += [f'{edge[0]} -> {edge[1]} {why}'] if why else []
        moving = [link.transform for link in links if not link.constant]
        start, end = _shared_time(moving) if moving else (0.0, 0.0)
        if start > end:
            raise VprError(
                f'tf: the transforms from {map_frame} to {camera_frame} are never there together '
                f'(one ends at {end:.3f} s, another starts at {start:.3f} s); '
                'choose another --map-frame, or do without poses by --pose-topic none'
            )
        if len(moving) > 1:  # one may begin anew while another makes up for it
            links = [
                link if link.constant else replace(link, transform=_split(link.transform))
                for link in links
            ]
        track = TfTrajectory(links, map_frame, refused)
        track.remarks += remarks + self._ambiguities(chain)
        track.check()
        track.face(camera_frame, camera_frame_is)
        return track

    def _settle(self, edges: Sequence[Edge]) -> dict[Edge, tuple[Trajectory, str]]:
        """Those of a chain that are constant, and what is to be said of that.

        Constant is what was sent as such; what never changes and has stamp 0; and beside a
        transform that does change, what was sent once or never changes.
        """
        found = {e: (self._constant[e], '') for e in edges if e not in self._moving}
        still = {}
        for edge in set(edges) - set(found):
            rows = self._moving[edge].rows
            rows = rows[np.isfinite(rows).all(axis=1)]
            if len(rows) and np.ptp(rows[:, 1:], axis=0).max() <= _SAME:
                still[edge] = rows
        some_move = any(edge not in found and edge not in still for edge in edges)
        for edge, rows in still.items():
            zero = not rows[:, 0].any()
            if not zero and not some_move:
                continue
            builder = TrajectoryBuilder('/tf', edge[0])
            builder.add(1.0, rows[-1, 1:4], rows[-1, 4:])  # any stamp but 0
            why = ''
            if zero:
                why = 'has stamp 0 on /tf and never changes: it is taken as constant'
            elif len(rows) == 1:
                why = 'was sent once only, on /tf: it is taken as constant'
            elif np.diff(np.sort(rows[:, 0])).max() > _OFTEN_S:
                why = 'was sent seldom on /tf and never changes: it is taken as constant'
            try:
                found[edge] = self._constant.get(edge) or builder.build(), why
            except VprError:  # a quaternion of length 0: as it was
                continue
        return found

    def _left_out(self) -> str:
        if not self.refused:
            return ''
        return ' (' + ', '.join(f'{n} left out: {why}' for why, n in self.refused.items()) + ')'

    def _ambiguities(self, chain: Sequence[tuple[Edge, bool]]) -> list[str]:
        """Frames of a chain with two parents: tf knows one, a recording may hold several trees."""
        lines = []
        for child in dict.fromkeys(edge[1] for edge, _ in chain):
            parents = sorted(parent for parent, other in self._edges() if other == child)
            if len(parents) > 1:
                used = next(edge[0] for edge, _ in chain if edge[1] == child)
                lines.append(
                    f'the frame {child} has several parents ({", ".join(parents)}); that by '
                    f'{used} is taken, --map-frame or --camera-frame choose another'
                )
        return lines

    def _edges(self) -> list[tuple[str, str]]:
        return list({**self._moving, **self._constant})

    def _default_root(self) -> str:
        edges = self._edges()
        frames = {frame for edge in edges for frame in edge}
        known = [root for root in DEFAULT_ROOTS if root in frames]
        roots = sorted(frames - {child for _, child in edges})
        if known or len(roots) == 1:
            return (known or roots)[0]
        found = ', '.join(roots) or 'no transform at all'
        raise VprError(f'tf: no frame is plainly the map (roots: {found}); give --map-frame')

    def _chain(self, start: str, end: str) -> list[tuple[tuple[str, str], bool]]:
        """Edges of the shortest way between two frames, and whether each is gone backwards."""
        steps: dict[str, list[tuple[str, tuple[str, str], bool]]] = {}
        for parent, child in self._edges():
            steps.setdefault(parent, []).append((child, (parent, child), False))
            steps.setdefault(child, []).append((parent, (parent, child), True))
        # Searched from the camera, so that what was reached is what an error has to name.
        came: dict[str, tuple[str, tuple[str, str], bool] | None] = {end: None}
        waiting = deque([end])
        while waiting:
            frame = waiting.popleft()
            for other, edge, inverse in steps.get(frame, ()):
                if other not in came:
                    came[other] = (frame, edge, not inverse)
                    waiting.append(other)
        if start not in came:
            near = ', '.join(sorted(set(came) - {end}))
            found = (
                f'{end} is connected to: {near}'
                if near
                else f'it has no {end} but: {", ".join(sorted(steps))}'
            )
            raise VprError(
                f'tf: no chain from {start} to {end}; {found}; give --map-frame or '
                '--camera-frame, or do without poses by --pose-topic none' + self._left_out()
            )
        chain = []
        while came[start] is not None:
            start, edge, inverse = came[start]
            chain.append((edge, inverse))
        return chain

# SPDX-License-Identifier: Apache-2.0
"""The tree of transforms between frames (tf): collected from messages, then looked up by time.

A transform (position, quaternion) of parent and child is the pose of the child in the parent, so
it takes points of the child to points of the parent.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ashtkd_ros.errors import VprError
from ashtkd_ros.geometry.pose_checks import restarts
from ashtkd_ros.geometry.tf_chain import Link, TfTrajectory, shared_time
from ashtkd_ros.geometry.trajectory import Trajectory, TrajectoryBuilder

DEFAULT_ROOTS = ('map', 'odom', 'world')
Edge = tuple[str, str]  # parent and child
_SAME = 1e-9  # metres, and components of a quaternion
_OFTEN_S = 1.0  # a transform that is sent so often exists whenever it is needed


def _split(transform: Trajectory) -> Trajectory:
    """The same transform, not interpolated across moments at which it starts again."""
    rows = restarts(transform.stamps, transform.positions, transform.quaternions)
    breaks = np.column_stack([transform.stamps[rows - 1], transform.stamps[rows]])
    return replace(transform, breaks=breaks)


class TransformTree:
    """All transforms of a recording, in any order; leading slashes of frames (ROS 1) are dropped.

    If a transform is both moving and constant, the moving one is used; of several constant ones
    the last is used. `remedy`: the advice at the end of errors about stamps.
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
        """Add a transform: metres, quaternion xyzw, stamp in seconds; None for a constant one."""
        edge = (parent.lstrip('/'), child.lstrip('/'))
        if not all(edge) or edge[0] == edge[1]:
            self.refused['frame without a name, or that is its own parent'] += 1
        elif stamp is None:
            builder = TrajectoryBuilder('/tf_static', edge[0])
            builder.add(1.0, position, quaternion)  # any stamp but 0
            try:
                self._constant[edge] = builder.build()
            except VprError:
                self.refused['constant transform not finite, or its quaternion of length 0'] += 1
        else:
            if edge not in self._moving:
                self._moving[edge] = TrajectoryBuilder(
                    f'tf {edge[0]} -> {edge[1]}', edge[0], self.remedy
                )
            self._moving[edge].add(stamp, position, quaternion)

    def track(
        self, map_frame: str, camera_frame: str, camera_frame_is: str = 'auto'
    ) -> TfTrajectory:
        """Poses of a camera in a map, with body axes (REP-103) even if its frame is optical.

        An empty `map_frame` means the first of DEFAULT_ROOTS that exists, otherwise the only root.
        `camera_frame_is`: see `camera_axes.is_optical`. VprError if frames are missing or not
        connected, or if transforms have no usable stamps or no time in common.
        """
        camera_frame = camera_frame.lstrip('/')
        if not camera_frame:
            raise VprError(
                'tf: the images have no frame_id; give the frame of the camera by --camera-frame'
            )
        map_frame = map_frame.lstrip('/') or self._default_root()
        chain = self._chain(map_frame, camera_frame)
        settled = self._constant_of([edge for edge, _ in chain])
        refused, remarks, links = self.refused.copy(), [], []
        for edge, inverse in chain:
            transform, why = settled.get(edge, (None, ''))
            constant = transform is not None
            transform = transform or self._moving[edge].build()
            refused.update(transform.refused)
            links.append(Link(transform, constant, inverse))
            remarks += [f'{edge[0]} -> {edge[1]} {why}'] if why else []
        self._check_overlap(links, map_frame, camera_frame)
        if sum(not link.constant for link in links) > 1:
            # One may start again at the origin while another makes up for it.
            links = [
                link if link.constant else replace(link, transform=_split(link.transform))
                for link in links
            ]
        track = TfTrajectory(links, map_frame, refused)
        track.remarks += remarks + self._ambiguities(chain)
        track.check()
        track.decide_axes(camera_frame, camera_frame_is)
        return track

    @staticmethod
    def _check_overlap(links: Sequence[Link], map_frame: str, camera_frame: str) -> None:
        """VprError if the moving transforms of a chain have no time in common."""
        moving = [link.transform for link in links if not link.constant]
        start, end = shared_time(moving) if moving else (0.0, 0.0)
        if start > end:
            raise VprError(
                f'tf: the transforms from {map_frame} to {camera_frame} never exist at the same '
                f'time (one ends at {end:.3f} s, another starts at {start:.3f} s); '
                'choose another --map-frame, or do without poses by --pose-topic none'
            )

    def _constant_of(self, edges: Sequence[Edge]) -> dict[Edge, tuple[Trajectory, str]]:
        """The transforms of a chain that are taken as constant, each with a remark, or ''.

        A transform is constant if it was sent as such, or if it has stamp 0 and never changes. If
        another transform of the chain moves, one that never changes, or was sent once, is too.
        """
        constant = {e: (self._constant[e], '') for e in edges if e not in self._moving}
        still = {}
        for edge in set(edges) - set(constant):
            rows = self._moving[edge].rows
            rows = rows[np.isfinite(rows).all(axis=1)]
            if len(rows) and np.ptp(rows[:, 1:], axis=0).max() <= _SAME:
                still[edge] = rows
        some_move = any(edge not in constant and edge not in still for edge in edges)
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
                constant[edge] = self._constant.get(edge) or builder.build(), why
            except VprError:  # a quaternion of length 0: the transform is refused later
                continue
        return constant

    def _left_out(self) -> str:
        if not self.refused:
            return ''
        return ' (' + ', '.join(f'{n} left out: {why}' for why, n in self.refused.items()) + ')'

    def _ambiguities(self, chain: Sequence[tuple[Edge, bool]]) -> list[str]:
        """Remarks on frames with several parents: a recording may hold several trees."""
        lines = []
        for child in dict.fromkeys(edge[1] for edge, _ in chain):
            parents = sorted(parent for parent, other in self._edges() if other == child)
            if len(parents) > 1:
                used = next(edge[0] for edge, _ in chain if edge[1] == child)
                lines.append(
                    f'the frame {child} has several parents ({", ".join(parents)}); the one '
                    f'through {used} is used; choose another by --map-frame or --camera-frame'
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
        listed = ', '.join(roots) or 'none'
        raise VprError(
            f'tf: it is not clear which frame is the map (roots: {listed}); give --map-frame'
        )

    def _chain(self, start: str, end: str) -> list[tuple[tuple[str, str], bool]]:
        """Edges of the shortest path between two frames, and whether each is inverted."""
        steps: dict[str, list[tuple[str, tuple[str, str], bool]]] = {}
        for parent, child in self._edges():
            steps.setdefault(parent, []).append((child, (parent, child), False))
            steps.setdefault(child, []).append((parent, (parent, child), True))
        # The search starts at the camera, so that an error can name the frames it is connected to.
        reached: dict[str, tuple[str, tuple[str, str], bool] | None] = {end: None}
        waiting = deque([end])
        while waiting:
            frame = waiting.popleft()
            for other, edge, inverse in steps.get(frame, ()):
                if other not in reached:
                    reached[other] = (frame, edge, not inverse)
                    waiting.append(other)
        if start not in reached:
            near = ', '.join(sorted(set(reached) - {end}))
            connected = (
                f'{end} is connected to: {near}'
                if near
                else f'there is no frame {end}, but: {", ".join(sorted(steps))}'
            )
            raise VprError(
                f'tf: no chain from {start} to {end}; {connected}; give --map-frame or '
                '--camera-frame, or do without poses by --pose-topic none' + self._left_out()
            )
        chain = []
        while reached[start] is not None:
            start, edge, inverse = reached[start]
            chain.append((edge, inverse))
        return chain

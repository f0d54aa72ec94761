# SPDX-License-Identifier: Apache-2.0
"""Checks before a build: do traverses fit together, and may the map replace another?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ashtkd_ros.errors import VprError
from ashtkd_ros.maps.description import encodable, frame_fault
from ashtkd_ros.maps.map_files import load_description
from ashtkd_ros.traverses.opening import images_described
from ashtkd_ros.traverses.traverse import Traverse

POSES_IN_MAP = (
    'for positions give poses in "map": a topic of SLAM, AMCL or satellites (--pose-topic), '
    '/tf (--pose-topic /tf --map-frame map), or a file (--trajectory)'
)


def check_sources(out: Path, traverses: Sequence[Traverse]) -> None:
    """VprError if the map at `out` was made from other sources, or does not tell its sources."""
    if not Path(out).is_dir() or not any(Path(out).iterdir()):
        return
    try:
        before = load_description(out).info.traverses
    except VprError as error:
        raise VprError(f'{error}; --replace puts this one in its place') from error
    now = [encodable(t.describe()) for t in traverses]
    if sorted(map(images_described, before)) != sorted(map(images_described, now)):
        names = ', '.join(' '.join(filter(None, images_described(t))) for t in before)
        raise VprError(
            f'{out}: is the map of {names or "sources that it does not name"}; give '
            'another folder for the map, or --replace to put this one in its place'
        )


def cautions(traverses: Sequence[Traverse]) -> list[str]:
    """Reasons why the traverses may make a poor map together, in lines for the user."""
    lines = []
    by_odometry = [t for t in traverses if t.by_odometry]
    for frame in dict.fromkeys(t.frame_id for t in by_odometry):
        sources = [t for t in by_odometry if t.frame_id == frame]
        if len(sources) > 1:
            lines.append(
                f'{len(sources)} sources have poses of odometry in "{frame}", which begins anew '
                f'with each drive, so that their places may not fit together; {POSES_IN_MAP}, '
                'or build a map of each'
            )
        else:
            lines.append(
                f'{sources[0].path}: the poses of {sources[0].poses} are odometry, whose frame '
                f'"{frame}" begins anew with each drive: places are named all the same, but AMCL '
                f'does not take their poses; {POSES_IN_MAP}'
            )
    bare = [str(t.path) for t in traverses if not t.has_poses]
    if 0 < len(bare) < len(traverses):
        lines.append(
            f'{", ".join(bare)}: no poses, which the other sources have; places of both kinds in '
            'one map are told apart by their numbers only; better build a map of each'
        )
    return lines


def common_frame(traverses: Sequence[Traverse]) -> str:
    """The frame of all poses; VprError if there are several, or the name is not possible."""
    frames = {(t.frame_id, t.origin): t.path for t in traverses if t.has_poses}
    if len(frames) > 1:
        listed = ', '.join(
            f'"{frame}"{" of NavSatFix" if origin else ""} in {path}'
            for (frame, origin), path in frames.items()
        )
        raise VprError(f'the poses are in different frames, {listed}; one map needs one frame')
    for (frame, _), path in frames.items():
        if frame_fault(frame):
            raise VprError(
                f'{path}: the frame of its poses is "{frame[:80]}", but {frame_fault(frame)}; '
                'give other poses (--pose-topic), or none (--pose-topic none)'
            )
    return next((frame for frame, _ in frames), 'map')

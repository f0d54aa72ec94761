# SPDX-License-Identifier: Apache-2.0
"""Impossible poses: lost, stuck, far away for a moment, or started again at the origin.

Poses that no moving body can have are left out, or the poses are split there; doubtful poses
stay. All arrays are in order of time; N is the number of poses.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ashtkd_ros.geometry.motion import (
    JUMP_PUSH,
    STEP_M,
    WINDOW,
    reachable_m,
    speed_around,
    speeds_beside,
    steps_between,
)

SAME_S = 1e-6  # stamps closer than this are one: float64 seconds since 1970 step by 0.24 us
LOST_VARIANCE = 999.0  # m2, about 30 m either way; visual odometry gives 9999 when it is lost
NO_FIX_VARIANCE = 9999.0  # m2; a satellite fix in a street is wrong by 30 m, but not by 100
_SUDDEN = 100.0  # times the variance of the neighbouring message; a drift grows more slowly
JUMP_M = 10.0  # a shorter step is noise of satellites, or a localiser that corrects itself
JUMP_SPEED = 40.0  # m/s; only a faster step can be a jump, whatever the speed around it
JUMP_FACTOR = 5.0  # times the speed around a jump, at least: trains and noise are slower
AGREE_FACTOR, AGREE_SPEED = 1.5, 2.0  # times the speed there; m/s: how outliers are passed
OUTLIER_S, OUTLIER_SHARE = 30.0, 0.25  # a longer stay, or more of the poses around, is no outlier
_END_COUNT, _END_SHARE = 10, 0.2  # so few poses at an end are outliers if they jump
_DEPTH = 50  # most outliers in a row, each in another place, that are recognised
_ROUNDS = 3
_DOUBT = 0.25  # if more than this share of the steps are jumps, nothing is concluded
_ODOMETRY_PUSH = 5.0  # m/s2; like JUMP_PUSH, but for odometry, which has no noise
RESTART_S = 10.0  # a driver restarts within this time; later the robot may have been moved
_AT_ORIGIN_M = 0.3  # how near to the origin odometry starts again
_EXACT_M, _EXACT_RAD = 0.02, 0.02  # this near to the origin cannot be chance
STUCK_S, STUCK_COUNT = 1.0, 3  # a pose repeated for less than this comes from a slow sensor
_STUCK_SHARE = 0.3  # times the speed around: the least speed while the pose was stuck
ODOMETRY_KEY = 'odometry'  # key in map.yaml of a traverse whose poses come from odometry
LOST = 'lost (a huge covariance, or at the origin for a moment)'
OUTLIER = 'too far from those before and after for any speed'
STUCK = 'stuck, then jumping ahead'
RESTARTED = 'in a part that started again at the origin'


@dataclass
class PoseCheck:
    """The result of a check.

    `keep`: bool (N,); `breaks`: float64 (K, 2), times in seconds between which nothing may be
    interpolated; `refused`: how many poses are left out, by reason; `remarks`: for the user.
    """

    keep: np.ndarray
    breaks: np.ndarray = field(default_factory=lambda: np.zeros((0, 2)))
    refused: Counter[str] = field(default_factory=Counter)
    remarks: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Part:
    """Rows from `start` up to, but not including, `end` without a jump; `count` of them are good.

    `first` and `last`: the top speeds at its beginning and at its end, in m/s.
    """

    start: int
    end: int
    count: int
    first: float
    last: float


def is_odometry(name: str) -> bool:
    """Whether the name of a frame or topic is one of odometry."""
    return any(word in name.lower() for word in ('odom', 'vio', 'camera_init'))  # of LOAM


def within(stamps: np.ndarray, breaks: np.ndarray) -> np.ndarray:
    """Which of float64 (M,) stamps lie inside one of the (K, 2) breaks, not at their ends.

    The breaks are in order of time and do not overlap.
    """
    if not len(breaks):
        return np.zeros(len(stamps), bool)
    row = np.searchsorted(breaks[:, 0], stamps - SAME_S) - 1
    return (row >= 0) & (stamps < breaks[np.maximum(row, 0), 1] - SAME_S)


def lost(positions: np.ndarray, variances: np.ndarray) -> np.ndarray:
    """Which poses, bool (N,), are not valid by their own covariance.

    `positions` float64 (N, 3) in metres; `variances` float64 (N,) in m2, the larger of x and y,
    NaN where unknown. A variance that grew up to LOST_VARIANCE is that of odometry that drifts,
    and one that is always so large is a placeholder: both count only if no pose has left the
    origin.
    """
    huge = variances >= LOST_VARIANCE
    edges = np.diff(np.concatenate([[0], huge.astype(np.int8), [0]]))
    invalid = np.zeros(len(huge), bool)
    for start, end in zip(np.flatnonzero(edges > 0), np.flatnonzero(edges < 0), strict=True):
        sudden = start > 0 and not variances[start - 1] * _SUDDEN > variances[start]
        sudden |= end < len(huge) and not variances[end] * _SUDDEN > variances[end - 1]
        invalid[start:end] = sudden or not positions[start:end].any()
    return invalid


def check_poses(
    stamps: np.ndarray,
    positions: np.ndarray,
    quaternions: np.ndarray | None = None,
    odometry: bool = False,
    unset_at_origin: bool = True,
) -> PoseCheck:
    """Check float64 (N,) growing stamps in seconds, (N, 3) metres and (N, 4) unit quaternions.

    If `odometry` starts again at the origin, only the longest part is kept: the others are in
    other frames. `unset_at_origin`: a pose of zeros may mean that the pose was not known.
    """
    verdict = PoseCheck(np.ones(len(stamps), bool))
    if len(stamps) < 3:
        return verdict
    if len(stamps) >= WINDOW and not np.ptp(positions, axis=0).any():
        verdict.remarks.append('the poses never change: the robot stood still, or they are stuck')
        return verdict
    if unset_at_origin:
        _leave_out(verdict, _at_origin(stamps, positions), LOST)
    _leave_out(verdict, _stuck(stamps, positions, verdict.keep), STUCK)
    for _ in range(_ROUNDS):  # many outliers hide each other
        rows = np.flatnonzero(verdict.keep)
        starts = _jumps(stamps[rows], positions[rows])
        if len(starts) > _DOUBT * len(rows):
            verdict.remarks.append(
                f'the poses jump {len(starts)} times: are they in metres and seconds?'
            )
            return verdict
        bad = np.zeros(len(stamps), bool)
        bad[rows] = _outliers(stamps[rows], positions[rows], starts)
        _leave_out(verdict, bad, OUTLIER)
    _leave_out(verdict, _ends_beyond_jumps(stamps, positions, verdict.keep), OUTLIER)
    _split(verdict, stamps, positions, quaternions, odometry)
    return verdict


def stretches(stamps: np.ndarray, verdict: PoseCheck) -> np.ndarray:
    """Times not to be used, float64 (K, 2) in seconds: the breaks, and around bad poses."""
    kept = stamps[verdict.keep]
    rows = np.unique(np.cumsum(verdict.keep)[~verdict.keep])  # good poses before each bad one
    ends = np.concatenate([[-np.inf], kept, [np.inf]])
    around = np.column_stack([ends[rows], ends[rows + 1]])
    unused = np.unique(np.concatenate([around, verdict.breaks]), axis=0)
    return unused.reshape(-1, 2)


def restarts(
    stamps: np.ndarray, positions: np.ndarray, quaternions: np.ndarray | None = None
) -> np.ndarray:
    """Rows, int64 (K,), at which poses start again at the origin; arrays: see `check_poses`."""
    if len(stamps) < 2:
        return np.zeros(0, np.int64)
    step, dt = steps_between(stamps, positions)
    from_origin = np.linalg.norm(positions, axis=1)
    rows = np.flatnonzero((step > STEP_M) & (from_origin[:-1] > from_origin[1:] + STEP_M)) + 1
    if not len(rows):
        return rows
    around = speed_around(step / dt, rows - 1)
    near = from_origin[rows] <= _AT_ORIGIN_M + around * dt[rows - 1]
    exact = from_origin[rows] <= _EXACT_M
    if quaternions is not None:
        sin = np.linalg.norm(quaternions[rows, :3], axis=1)
        exact &= 2.0 * np.arcsin(np.minimum(sin, 1.0)) <= _EXACT_RAD
    dt, usual = dt[rows - 1], float(np.median(dt))
    dt = np.where(exact, np.minimum(dt, 3.0 * usual), dt)
    factor = np.where(exact, 0.3 * JUMP_FACTOR, JUMP_FACTOR)
    return rows[near & (step[rows - 1] > reachable_m(factor * around, dt, _ODOMETRY_PUSH))]


def _leave_out(verdict: PoseCheck, bad: np.ndarray, why: str) -> None:
    bad = bad & verdict.keep
    if bad.any() and not bad[verdict.keep].all():
        verdict.refused[why] += int(bad.sum())
        verdict.keep &= ~bad


def _jumps(stamps: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Rows (K,) that no moving body can have reached from the row before."""
    if len(stamps) < 2:
        return np.zeros(0, np.int64)
    step, dt = steps_between(stamps, positions)
    speed = step / dt
    least = np.clip(JUMP_PUSH * dt, JUMP_SPEED, 3.0 * JUMP_SPEED)
    rows = np.flatnonzero((step > JUMP_M) & (speed > least))
    if not len(rows):
        return rows
    return rows[speed[rows] > JUMP_FACTOR * speed_around(speed, rows)] + 1


def _outliers(stamps: np.ndarray, positions: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Which poses, bool (N,), are short stays elsewhere between two jumps."""
    bad = np.zeros(len(stamps), bool)
    if not len(starts):
        return bad
    step, dt = steps_between(stamps, positions)
    edges = [0, *starts.tolist(), len(stamps)]
    kept: list[_Part] = []
    for start, end in zip(edges, edges[1:], strict=False):
        speeds = step[start : end - 1] / dt[start : end - 1]
        ends = speeds[:WINDOW].max(initial=0.0), speeds[-WINDOW:].max(initial=0.0)
        part = _Part(start, end, end - start, *ends)
        while (earlier := _continued_part(stamps, positions, kept, part)) is not None:
            before, kept = kept[earlier], kept[:earlier]
            bad[before.end : part.start] = True
            count = before.count + part.count
            part = _Part(before.start, part.end, count, before.first, part.last)
        kept.append(part)
    return bad


def _ends_beyond_jumps(stamps: np.ndarray, positions: np.ndarray, keep: np.ndarray) -> np.ndarray:
    """Which poses, bool (N,), are the first or last few before or after a jump."""
    bad = np.zeros(len(stamps), bool)
    rows = np.flatnonzero(keep)
    starts = _jumps(stamps[rows], positions[rows])
    least = min(_END_COUNT, int(_END_SHARE * len(rows)))
    bad[rows[: starts[starts <= least].max(initial=0)]] = True
    bad[rows[starts[len(rows) - starts <= least].min(initial=len(rows)) :]] = True
    return bad


def _continued_part(stamps, positions, kept: list[_Part], part: _Part) -> int | None:
    """The last earlier part that this part continues, after a short stay elsewhere."""
    between = 0
    for i in range(len(kept) - 2, max(len(kept) - _DEPTH, -1), -1):
        between += kept[i + 1].count
        before = kept[i]
        if stamps[part.start - 1] - stamps[before.end] > OUTLIER_S:
            return None
        if between > OUTLIER_SHARE * (before.count + part.count):
            continue
        most = max(AGREE_SPEED, AGREE_FACTOR * max(before.last, part.first))
        most *= stamps[part.start] - stamps[before.end - 1]
        way = positions[part.start] - positions[before.end - 1]
        if np.linalg.norm(way) <= JUMP_M + most:
            return i
    return None


def _at_origin(stamps: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Which poses, bool (N,), are exactly at the origin for a moment, far from their neighbours.

    Poses at the end may be a new start, see `restarts`.
    """
    zero = ~positions.any(axis=1)
    bad = np.zeros(len(zero), bool)
    if not zero.any() or zero.all():
        return bad
    step, dt = steps_between(stamps, positions)
    edges = np.diff(np.concatenate([[0], zero.astype(np.int8), [0]]))
    for start, end in zip(np.flatnonzero(edges > 0), np.flatnonzero(edges < 0), strict=True):
        rows = np.array([row for row in (start - 1, end - 1) if 0 <= row < len(step)])
        if end < len(zero):
            most = reachable_m(JUMP_FACTOR * speed_around(step / dt, rows), dt[rows])
            bad[start:end] = (step[rows] > most).all()
    return bad if 2 * bad.sum() <= len(bad) else np.zeros_like(bad)  # else it stood there


def _stuck(stamps: np.ndarray, positions: np.ndarray, keep: np.ndarray) -> np.ndarray:
    """Which poses, bool (N,), repeat an old pose while the robot moved on, as a jump shows."""
    bad = np.zeros(len(stamps), bool)
    rows = np.flatnonzero(keep)
    if len(rows) < STUCK_COUNT + 2 or np.median(np.diff(stamps[rows])) >= STUCK_S:
        return bad  # sparse poses are not interpolated that far
    stamps, positions = stamps[rows], positions[rows]
    step = np.linalg.norm(np.diff(positions, axis=0), axis=1)
    dt = np.diff(stamps)
    moves = np.flatnonzero(step > 0.0)
    begins = np.concatenate([[0], moves + 1])[:-1]  # rows from which the pose is repeated
    lasted = stamps[moves] - stamps[begins]
    # Many repetitions one after the other mean a slow sensor.
    usual = float(np.median(stamps[moves] - stamps[begins])) if len(moves) else 0.0
    long = (lasted > max(STUCK_S, 3.0 * usual)) & (moves - begins + 1 >= STUCK_COUNT)
    moves, begins, lasted = moves[long], begins[long], lasted[long]
    if not len(moves):
        return bad
    beside = speeds_beside(step / np.maximum(dt, 0.5 * np.median(dt)), moves)
    around = beside.max(axis=0) * (beside.min(axis=0) > 0.0)  # 0 unless it moved before and after
    jump = step[moves] > reachable_m(JUMP_FACTOR * around, dt[moves])
    part = step[moves] / np.maximum(around * (lasted + dt[moves]), 1e-9)
    likely = (part > _STUCK_SHARE) & (part < 1.0 / _STUCK_SHARE)
    likely &= ~np.isin(moves + 1, restarts(stamps, positions))
    likely &= _keeps_direction(positions, begins, moves)
    for begin, end in zip(begins[jump & likely], moves[jump & likely], strict=True):
        bad[rows[begin + 1 : end + 1]] = True
    return bad


def _keeps_direction(positions: np.ndarray, begins: np.ndarray, moves: np.ndarray) -> np.ndarray:
    """Whether steps go about in the direction of the path before or after them; bool (M,)."""
    step = positions[moves + 1] - positions[moves]
    back = positions[begins] - positions[np.maximum(begins - WINDOW, 0)]
    onward = positions[np.minimum(moves + 1 + WINDOW, len(positions) - 1)] - positions[moves + 1]
    ahead = np.zeros(len(moves), bool)
    for way in (back, onward):
        lengths = np.linalg.norm(way, axis=1) * np.linalg.norm(step, axis=1)
        ahead |= (way * step).sum(axis=1) > 0.5 * lengths
    return ahead


def _split(verdict: PoseCheck, stamps, positions, quaternions, odometry: bool) -> None:
    """Record lasting jumps; of odometry that starts again keep only the longest part."""
    rows = np.flatnonzero(verdict.keep)
    at, where = stamps[rows], positions[rows]
    jumps = _jumps(at, where)
    turns = None if quaternions is None else quaternions[rows]
    anew = restarts(at, where, turns) if odometry else np.zeros(0, np.int64)
    jumps = np.union1d(jumps, anew)
    if not len(jumps):
        return
    verdict.breaks = np.column_stack([at[jumps - 1], at[jumps]])
    rest = np.setdiff1d(jumps, anew)
    soon = anew[at[anew] - at[anew - 1] <= RESTART_S]
    later = np.setdiff1d(anew, soon)
    if len(soon):
        edges = [0, *soon.tolist(), len(rows)]
        longest = int(np.argmax(np.diff(edges)))
        other = np.ones(len(stamps), bool)
        other[rows[edges[longest] : edges[longest + 1]]] = False
        _leave_out(verdict, other, RESTARTED)
        verdict.remarks.append(
            f'starts again at the origin {_times(at[soon])}: only the longest part is used, since '
            'the others are in other frames; to use them, cut the bag there'
        )
    if len(later):
        verdict.remarks.append(
            f'starts again at the origin after a pause, {_times(at[later])}: are these parts in '
            'one frame? If not, cut the bag there'
        )
    if len(rest):
        by = np.linalg.norm(where[rest[0]] - where[rest[0] - 1])
        verdict.remarks.append(
            f'jumps to another place {_times(at[rest])}, first by {by:.1f} m: images in between '
            'have no pose; are all of these poses in one frame?'
        )


def _times(stamps: np.ndarray) -> str:
    """The first few stamps, in words."""
    more = f' and {len(stamps) - 3} more times' if len(stamps) > 3 else ''
    return 'at ' + ', '.join(f'{stamp:.1f} s' for stamp in stamps[:3]) + more


def notes_on(what: str, refused: Counter[str], remarks: Sequence[str]) -> list[str]:
    """Lines for the user about the poses of a topic or file: what was left out, and remarks."""
    lines = [f'{what}: {remark}' for remark in remarks]
    if refused:
        reasons = ', '.join(f'{n} {why}' for why, n in refused.items())
        lines.insert(0, f'{sum(refused.values())} poses of {what} are left out: {reasons}')
    return lines

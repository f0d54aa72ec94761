# SPDX-License-Identifier: Apache-2.0
"""Poses that cannot be: lost, stuck, far away for a moment, or begun anew at the origin.

What a thing that moves cannot do is left out or split; doubtful poses stay. All arrays are in
order of time; N is the number of poses.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

LOST_VARIANCE = 999.0  # m2, 30 m either way; visual odometry says 9999 where it is lost
NO_FIX_VARIANCE = 9999.0  # m2; satellites in a street are off by 30 m, but not by 100
_SUDDEN = 100.0  # times the variance of the message beside; what drifts grows less at a time
JUMP_M = 10.0  # less is noise of satellites, or a localiser that corrects itself
JUMP_SPEED = 40.0  # m/s; a lone step needs more than this to be a jump, whatever is around it
JUMP_PUSH = 20.0  # m/s2: in a long step, unseen, a vehicle may have sped up and slowed down
JUMP_FACTOR = 5.0  # and more than this times the speed around it: trains and noise go on
AGREE_FACTOR, AGREE_SPEED = 1.5, 2.0  # of the speed there, at which outliers are passed; m/s
OUTLIER_S, OUTLIER_SHARE = 30.0, 0.25  # longer, or more of the poses around: a stay, no outlier
_END_COUNT, _END_SHARE = 10, 0.2  # of poses at an end that are outliers when they jump
_DEPTH = 50  # outliers one after the other, each elsewhere, that are looked through
_ROUNDS = 3
_DOUBT = 0.25  # more jumps than this share of the steps: the poses are not understood
STEP_M = 0.5  # a jump to or from the origin is at least so long, as is the end of being stuck
_ODOMETRY_PUSH = 5.0  # m/s2; as JUMP_PUSH, for odometry, which has no noise
RESTART_S = 10.0  # a driver is up again within; after longer the robot may have been carried
_AT_ORIGIN_M = 0.3  # the first pose of odometry that begins anew
_EXACT_M, _EXACT_RAD = 0.02, 0.02  # so near it is no chance
STUCK_S, STUCK_COUNT = 1.0, 3  # a pose that comes again for less is a slow sensor
_STUCK_SHARE = 0.3  # of the speed around, at which the way was made while the pose was stuck
_WINDOW = 10  # steps on each side that tell the speed around a step
ODOMETRY_KEY = 'odometry'  # of a traverse in map.yaml whose poses come from it
LOST = 'lost (a huge covariance, or at the origin for a moment)'
OUTLIER = 'far from those before and after, faster than anything moves'
STUCK = 'stuck, then jumping ahead'
RESTARTED = 'in a part that began anew at the origin'


@dataclass
class Verdict:
    """`keep` bool (N,); `breaks` float64 (K, 2): times in seconds between which nothing may be
    interpolated; `refused`: how many are left out, by reason; `remarks`: lines for the user."""

    keep: np.ndarray
    breaks: np.ndarray = field(default_factory=lambda: np.zeros((0, 2)))
    refused: Counter[str] = field(default_factory=Counter)
    remarks: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Part:
    """Rows from `start` to before `end` without a jump, `count` of them good.

    `first` and `last`: the top speed at its beginning and end, in m/s.
    """

    start: int
    end: int
    count: int
    first: float
    last: float


def is_odometry(name: str) -> bool:
    """Whether a frame or topic is of odometry by its name."""
    return any(word in name.lower() for word in ('odom', 'vio', 'camera_init'))  # of LOAM


def within(stamps: np.ndarray, breaks: np.ndarray, slack_s: float = 1e-6) -> np.ndarray:
    """Which of float64 (M,) stamps lie inside one of the (K, 2) stretches, not at their ends.

    The stretches are in order of time and do not overlap.
    """
    if not len(breaks):
        return np.zeros(len(stamps), bool)
    row = np.searchsorted(breaks[:, 0], stamps - slack_s) - 1
    return (row >= 0) & (stamps < breaks[np.maximum(row, 0), 1] - slack_s)


def lost(positions: np.ndarray, variances: np.ndarray) -> np.ndarray:
    """Which poses, bool (N,), say by their covariance that they are none.

    `positions` float64 (N, 3) in metres; `variances` float64 (N,) in m2, the larger of x and y,
    NaN where unknown. A variance that grew all the way to LOST_VARIANCE is odometry that drifts,
    one that is always as large a placeholder: both count only where no pose has left the origin.
    """
    huge = variances >= LOST_VARIANCE
    edges = np.diff(np.concatenate([[0], huge.astype(np.int8), [0]]))
    found = np.zeros(len(huge), bool)
    for start, end in zip(np.flatnonzero(edges > 0), np.flatnonzero(edges < 0), strict=True):
        sudden = start > 0 and not variances[start - 1] * _SUDDEN > variances[start]
        sudden |= end < len(huge) and not variances[end] * _SUDDEN > variances[end - 1]
        found[start:end] = sudden or not positions[start:end].any()
    return found


def check_poses(
    stamps: np.ndarray,
    positions: np.ndarray,
    quaternions: np.ndarray | None = None,
    odometry: bool = False,
    unset_at_origin: bool = True,
) -> Verdict:
    """Judge float64 (N,) stamps in seconds that grow, (N, 3) metres and (N, 4) unit xyzw.

    Where `odometry` begins anew at the origin, the longest part is kept: the others are in
    another frame. `unset_at_origin`: a pose of zeros may be one that was not known.
    """
    verdict = Verdict(np.ones(len(stamps), bool))
    if len(stamps) < 3:
        return verdict
    if len(stamps) >= _WINDOW and not np.ptp(positions, axis=0).any():
        verdict.remarks.append('the poses never change: it stood still, or they are stuck')
        return verdict
    if unset_at_origin:
        _leave_out(verdict, _blips(stamps, positions), LOST)
    _leave_out(verdict, _stuck(stamps, positions, verdict.keep), STUCK)
    for _ in range(_ROUNDS):  # many outliers hide each other
        rows = np.flatnonzero(verdict.keep)
        starts = _starts(stamps[rows], positions[rows])
        if len(starts) > _DOUBT * len(rows):
            verdict.remarks.append(
                f'the poses jump {len(starts)} times: are they in metres, their stamps in seconds?'
            )
            return verdict
        bad = np.zeros(len(stamps), bool)
        bad[rows] = _outliers(stamps[rows], positions[rows], starts)
        _leave_out(verdict, bad, OUTLIER)
    _leave_out(verdict, _loose_ends(stamps, positions, verdict.keep), OUTLIER)
    _split(verdict, stamps, positions, quaternions, odometry)
    return verdict


def stretches(stamps: np.ndarray, verdict: Verdict) -> np.ndarray:
    """All that is not to be used, float64 (K, 2) in seconds: breaks, and between good poses."""
    kept = stamps[verdict.keep]
    rows = np.unique(np.cumsum(verdict.keep)[~verdict.keep])  # good poses before each bad one
    ends = np.concatenate([[-np.inf], kept, [np.inf]])
    around = np.column_stack([ends[rows], ends[rows + 1]])
    found = np.unique(np.concatenate([around, verdict.breaks]), axis=0)
    return found.reshape(-1, 2)


def restarts(
    stamps: np.ndarray, positions: np.ndarray, quaternions: np.ndarray | None = None
) -> np.ndarray:
    """Rows int64 (K,) at which poses begin anew at the origin; arrays as of `check_poses`."""
    if len(stamps) < 2:
        return np.zeros(0, np.int64)
    step, dt = _steps(stamps, positions)
    from_origin = np.linalg.norm(positions, axis=1)
    rows = np.flatnonzero((step > STEP_M) & (from_origin[:-1] > from_origin[1:] + STEP_M)) + 1
    if not len(rows):
        return rows
    around = _around(step / dt, rows - 1)
    near = from_origin[rows] <= _AT_ORIGIN_M + around * dt[rows - 1]
    exact = from_origin[rows] <= _EXACT_M
    if quaternions is not None:
        sin = np.linalg.norm(quaternions[rows, :3], axis=1)
        exact &= 2.0 * np.arcsin(np.minimum(sin, 1.0)) <= _EXACT_RAD
    dt, usual = dt[rows - 1], float(np.median(dt))
    dt = np.where(exact, np.minimum(dt, 3.0 * usual), dt)
    factor = np.where(exact, 0.3 * JUMP_FACTOR, JUMP_FACTOR)
    return rows[near & (step[rows - 1] > _reach(factor * around, dt, _ODOMETRY_PUSH))]


def _leave_out(verdict: Verdict, bad: np.ndarray, why: str) -> None:
    bad = bad & verdict.keep
    if bad.any() and not bad[verdict.keep].all():
        verdict.refused[why] += int(bad.sum())
        verdict.keep &= ~bad


def _steps(stamps: np.ndarray, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Metres and seconds, (N - 1,) each, from one pose to the next.

    A pose that was repeated until it changed took the time since it changed last, but not longer
    than three usual ones; a stamp too soon after another counts as half of the usual time.
    """
    step = np.linalg.norm(np.diff(positions, axis=0), axis=1)
    dt = np.diff(stamps)
    usual = float(np.median(dt))
    moved = np.flatnonzero(step > 0.0)
    if len(moved) > 1:
        since = np.diff(stamps[moved + 1], prepend=stamps[0])
        most = 3.0 * float(np.median(since[1:]))
        dt[moved] = np.maximum(dt[moved], np.minimum(since, most))
    return step, np.maximum(dt, 0.5 * usual)


def _reach(speed: np.ndarray, dt: np.ndarray, push: float = JUMP_PUSH) -> np.ndarray:
    """Metres that a thing of that speed may have moved, pushed on half of the way as well."""
    return STEP_M + speed * dt + 0.25 * push * dt**2


def _around(speeds: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The speed around steps `rows`, (M,): the larger of the medians before and after each."""
    return np.max(_beside(speeds, rows), axis=0)


def _beside(speeds: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Medians (2, M) of the speeds of steps before and after `rows`, 0 where there are none.

    Steps without any motion are those of poses that were repeated, and do not count.
    """
    moving = np.flatnonzero(speeds > 0.0)
    speeds, at = speeds[moving], np.searchsorted(moving, rows)
    padded = np.concatenate([np.full(_WINDOW, np.nan), speeds, np.full(_WINDOW, np.nan)])
    offsets = np.arange(_WINDOW)
    sides = np.stack([padded[at[:, None] + offsets], padded[at[:, None] + offsets + _WINDOW + 1]])
    known = np.sum(np.isfinite(sides), axis=2)
    ordered = np.sort(sides, axis=2)  # NaN last
    middle = np.maximum(known - 1, 0)[..., None] // 2  # the lower of two: jumps are fast
    medians = np.take_along_axis(ordered, middle, 2)[..., 0]
    few = known < _WINDOW // 2  # at an end, where a jump or two would be the median
    return np.where(known > 0, np.where(few, ordered[..., 0], medians), 0.0)


def _starts(stamps: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Rows (K,) that nothing can have reached from the row before."""
    if len(stamps) < 2:
        return np.zeros(0, np.int64)
    step, dt = _steps(stamps, positions)
    speed = step / dt
    least = np.clip(JUMP_PUSH * dt, JUMP_SPEED, 3.0 * JUMP_SPEED)
    rows = np.flatnonzero((step > JUMP_M) & (speed > least))
    if not len(rows):
        return rows
    return rows[speed[rows] > JUMP_FACTOR * _around(speed, rows)] + 1


def _outliers(stamps: np.ndarray, positions: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Which poses, bool (N,), are short stays elsewhere between the rows that jump."""
    bad = np.zeros(len(stamps), bool)
    if not len(starts):
        return bad
    step, dt = _steps(stamps, positions)
    edges = [0, *starts.tolist(), len(stamps)]
    kept: list[_Part] = []
    for start, end in zip(edges, edges[1:], strict=False):
        speeds = step[start : end - 1] / dt[start : end - 1]
        ends = speeds[:_WINDOW].max(initial=0.0), speeds[-_WINDOW:].max(initial=0.0)
        part = _Part(start, end, end - start, *ends)
        while (found := _same_way(stamps, positions, kept, part)) is not None:
            before, kept = kept[found], kept[:found]
            bad[before.end : part.start] = True
            count = before.count + part.count
            part = _Part(before.start, part.end, count, before.first, part.last)
        kept.append(part)
    return bad


def _loose_ends(stamps: np.ndarray, positions: np.ndarray, keep: np.ndarray) -> np.ndarray:
    """Which poses, bool (N,), are the first or last few, from which the rest jumps away."""
    bad = np.zeros(len(stamps), bool)
    rows = np.flatnonzero(keep)
    starts = _starts(stamps[rows], positions[rows])
    least = min(_END_COUNT, int(_END_SHARE * len(rows)))
    bad[rows[: starts[starts <= least].max(initial=0)]] = True
    bad[rows[starts[len(rows) - starts <= least].min(initial=len(rows)) :]] = True
    return bad


def _same_way(stamps, positions, kept: list[_Part], part: _Part) -> int | None:
    """The last of the parts before that goes on in this one, after a short stay elsewhere."""
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


def _blips(stamps: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Which poses, bool (N,), are at the very origin for a while, far from those beside.

    Those at the end may be a new start, see `restarts`.
    """
    zero = ~positions.any(axis=1)
    bad = np.zeros(len(zero), bool)
    if not zero.any() or zero.all():
        return bad
    step, dt = _steps(stamps, positions)
    edges = np.diff(np.concatenate([[0], zero.astype(np.int8), [0]]))
    for start, end in zip(np.flatnonzero(edges > 0), np.flatnonzero(edges < 0), strict=True):
        rows = np.array([row for row in (start - 1, end - 1) if 0 <= row < len(step)])
        if end < len(zero):
            most = _reach(JUMP_FACTOR * _around(step / dt, rows), dt[rows])
            bad[start:end] = (step[rows] > most).all()
    return bad if 2 * bad.sum() <= len(bad) else np.zeros_like(bad)  # else it stood there


def _stuck(stamps: np.ndarray, positions: np.ndarray, keep: np.ndarray) -> np.ndarray:
    """Which poses, bool (N,), only repeat one that was left long before, as a jump ahead shows."""
    bad = np.zeros(len(stamps), bool)
    rows = np.flatnonzero(keep)
    if len(rows) < STUCK_COUNT + 2 or np.median(np.diff(stamps[rows])) >= STUCK_S:
        return bad  # of sparse poses none is interpolated that far
    stamps, positions = stamps[rows], positions[rows]
    step = np.linalg.norm(np.diff(positions, axis=0), axis=1)
    dt = np.diff(stamps)
    moves = np.flatnonzero(step > 0.0)
    begins = np.concatenate([[0], moves + 1])[:-1]  # rows from which on the pose is repeated
    lasted = stamps[moves] - stamps[begins]
    # Many repeats, one after the other, are a slow sensor.
    usual = float(np.median(stamps[moves] - stamps[begins])) if len(moves) else 0.0
    long = (lasted > max(STUCK_S, 3.0 * usual)) & (moves - begins + 1 >= STUCK_COUNT)
    moves, begins, lasted = moves[long], begins[long], lasted[long]
    if not len(moves):
        return bad
    beside = _beside(step / np.maximum(dt, 0.5 * np.median(dt)), moves)
    around = beside.max(axis=0) * (beside.min(axis=0) > 0.0)  # it moved before and after
    jump = step[moves] > _reach(JUMP_FACTOR * around, dt[moves])
    part = step[moves] / np.maximum(around * (lasted + dt[moves]), 1e-9)
    likely = (part > _STUCK_SHARE) & (part < 1.0 / _STUCK_SHARE)
    likely &= ~np.isin(moves + 1, restarts(stamps, positions))
    likely &= _ahead(positions, begins, moves)
    for begin, end in zip(begins[jump & likely], moves[jump & likely], strict=True):
        bad[rows[begin + 1 : end + 1]] = True
    return bad


def _ahead(positions: np.ndarray, begins: np.ndarray, moves: np.ndarray) -> np.ndarray:
    """Whether steps lead about where the way led before, or leads after; bool (M,)."""
    step = positions[moves + 1] - positions[moves]
    back = positions[begins] - positions[np.maximum(begins - _WINDOW, 0)]
    onward = positions[np.minimum(moves + 1 + _WINDOW, len(positions) - 1)] - positions[moves + 1]
    found = np.zeros(len(moves), bool)
    for way in (back, onward):
        lengths = np.linalg.norm(way, axis=1) * np.linalg.norm(step, axis=1)
        found |= (way * step).sum(axis=1) > 0.5 * lengths
    return found


def _split(verdict: Verdict, stamps, positions, quaternions, odometry: bool) -> None:
    """Note what jumps for good, and of odometry that begins anew keep the longest part."""
    rows = np.flatnonzero(verdict.keep)
    at, where = stamps[rows], positions[rows]
    jumps = _starts(at, where)
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
            f'begins anew at the origin {_times(at[soon])}: only the longest part is used, since '
            'the others are in other frames; cut the bag there to use them'
        )
    if len(later):
        verdict.remarks.append(
            f'begins at the origin again {_times(at[later])}: are these parts in one frame? If '
            'not, cut the bag there'
        )
    if len(rest):
        by = np.linalg.norm(where[rest[0]] - where[rest[0] - 1])
        verdict.remarks.append(
            f'jumps to elsewhere {_times(at[rest])}, first by {by:.1f} m: images in between have '
            'no pose; are all of these poses in one frame?'
        )


def _times(stamps: np.ndarray) -> str:
    """The first of some stamps in words."""
    more = f' and {len(stamps) - 3} more times' if len(stamps) > 3 else ''
    return 'at ' + ', '.join(f'{stamp:.1f} s' for stamp in stamps[:3]) + more


def notes_on(what: str, refused: Counter[str], remarks: Sequence[str]) -> list[str]:
    """Lines for the user on the poses of a topic or file: what was left out, and what is odd."""
    lines = [f'{what}: {remark}' for remark in remarks]
    if refused:
        reasons = ', '.join(f'{n} {why}' for why, n in refused.items())
        lines.insert(0, f'{sum(refused.values())} poses of {what} are left out: {reasons}')
    return lines

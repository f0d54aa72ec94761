# SPDX-License-Identifier: Apache-2.0
"""Where a robot really was in a trial: by satellites, poses, names of images, or marks.

Of each answer it is known where it was taken, or what place it shows by name, or why neither is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ashtkd_ros.errors import VprError
from ashtkd_ros.geometry.pose_checks import ODOMETRY_KEY, is_odometry, notes_on
from ashtkd_ros.geometry.trajectory import PoseTrack
from ashtkd_ros.trials.recorded_tracks import LATER, Fixes, RecordedTracks
from ashtkd_ros.trials.trial_maps import KnownMap

FIX, ODOM, MARKS, NAMES, AUTO = 'fix', 'odom', 'marks', 'names', 'auto'
TRUTHS = (FIX, ODOM, MARKS, NAMES, AUTO)
INEXACT, LOST, JUMPED, NOWHERE = 'GNSS too inexact', 'GNSS lost', 'GNSS jumped', 'no truth'
UNPLACED = (INEXACT, LOST, JUMPED)  # for a while, where else positions are known
_MAX_GAP_S = 2.5  # between two fixes or poses across which the way is taken as straight
_NEAR_S = 1.5  # a fix's accuracy holds for so long
_AFTER_JUMP_S, _BESIDE_S = 5.0, 1.0
_LONGEST_JUMP_S = 300.0


@dataclass
class Truth:
    """Of N moments: `positions` float64 (N, 2), metres in the map's frame, NaN where not known;
    `names`: the name of the place that is shown, empty where not known; `reasons`: why neither is.

    `kinds`: of TRUTHS that tell anything; `rule`: how, in words; `notes`: for the user.
    """

    positions: np.ndarray
    names: list[str]
    reasons: list[str]
    kinds: list[str] = field(default_factory=list)
    rule: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @classmethod
    def nothing(cls, count: int) -> Truth:
        """Nothing is known of so many moments."""
        return cls(np.full((count, 2), np.nan), [''] * count, [NOWHERE] * count)

    def take_positions(self, kind: str, at: np.ndarray, reasons: Sequence[str], rule: str) -> None:
        """Positions (N, 2), and why there are none."""
        self.positions, self.reasons = at, list(reasons)
        self.kinds.append(kind)
        self.rule.append(rule)

    def take_names(self, kind: str, names: Mapping[int, str], rule: str) -> None:
        """Number of a moment → the name of the place that it shows."""
        for number, name in names.items():
            self.names[number] = self.names[number] or name
        self.kinds.append(kind)
        self.rule.append(rule)


def truth_by_position(
    wanted: str,
    seconds: np.ndarray,
    tracks: RecordedTracks,
    known: KnownMap | None,
    metres: float,
    jumps: Sequence[float] = (),
) -> Truth:
    """The truth that fixes or poses tell of float64 (N,) moments, in seconds of the trial.

    `wanted`: one of TRUTHS; `metres`: how near is right; `jumps`: when fixes jumped.
    """
    truth = Truth.nothing(len(seconds))
    if known is None or wanted in (MARKS, NAMES):
        return truth
    if not known.places.posed.any():
        truth.notes.append('the places of the map have no poses, so fixes and poses judge nothing')
        return truth
    if wanted in (FIX, AUTO):
        _by_fixes(truth, seconds, tracks, known, metres, jumps)
    if wanted in (ODOM, AUTO) and not truth.kinds:
        _by_poses(truth, seconds, tracks, known, metres, wanted == ODOM)
    truth.notes += tracks.notes
    return truth


def _by_fixes(
    truth: Truth,
    seconds: np.ndarray,
    tracks: RecordedTracks,
    known: KnownMap,
    metres: float,
    jumps: Sequence[float],
) -> None:
    if not tracks.has_fixes:
        truth.notes.append('no satellite fixes were recorded')
        return
    if known.origin is None:
        truth.notes.append('the map does not tell where on earth it is, so fixes judge nothing')
        return
    try:
        fixes = tracks.fixes()
    except VprError as error:
        truth.notes.append(f'the fixes judge nothing: {error}')
        return
    positions, _, codes = fixes.track.sample(seconds + LATER, _MAX_GAP_S)
    reasons = np.where(codes == 0, '', LOST).astype(object)
    accuracy = _accuracy_at(fixes, seconds)
    reasons[accuracy > metres] = INEXACT
    reasons[np.isinf(accuracy)] = LOST
    for start, end in jump_spans(fixes, jumps):
        reasons[(seconds >= start) & (seconds <= end)] = JUMPED
    at = positions[:, :2].copy()
    at[reasons != ''] = np.nan
    rule = f'a place within {metres:g} m of the satellite fixes on {fixes.topic}'
    truth.take_positions(FIX, at, reasons.tolist(), rule)
    refused = fixes.track.refused
    truth.notes += notes_on(fixes.topic, refused, [])
    if np.isnan(fixes.accuracy).all():
        truth.notes.append(f'{fixes.topic} does not tell how exact it is; it is believed')


def _accuracy_at(fixes: Fixes, seconds: np.ndarray) -> np.ndarray:
    """Of the nearest fix in metres, NaN where it is not told; inf where none is near."""
    order = np.argsort(fixes.seconds, kind='stable')
    known, accuracy = fixes.seconds[order], fixes.accuracy[order]
    right = np.clip(np.searchsorted(known, seconds), 0, len(known) - 1)
    left = np.maximum(right - 1, 0)
    nearer = np.where(np.abs(known[left] - seconds) < np.abs(known[right] - seconds), left, right)
    found = accuracy[nearer].copy()
    found[np.abs(known[nearer] - seconds) > _NEAR_S] = np.inf
    return found


def jump_spans(fixes: Fixes, told: Sequence[float]) -> list[tuple[float, float]]:
    """Spans, in seconds of the trial, in which fixes are not to be believed.

    `told`: jumps that others noticed. A jump that is undone by the next one was one into the
    wrong; of any other it is not known which side is right, so only what is around it is left out.
    """
    spans, jumps = [], []
    for when in sorted([*fixes.jumps(), *told]):
        if not jumps or when - jumps[-1] > _BESIDE_S:
            jumps.append(when)
    while jumps:
        when = jumps.pop(0)
        there = fixes.step_at(when, _BESIDE_S / 2)
        end = when + _AFTER_JUMP_S
        if jumps and jumps[0] - when <= _LONGEST_JUMP_S:
            back = fixes.step_at(jumps[0], _BESIDE_S / 2)
            if np.linalg.norm(there + back) < 0.5 * np.linalg.norm(there):
                end = jumps.pop(0) + _BESIDE_S
        spans.append((when - _BESIDE_S, end))
    return spans


def _by_poses(
    truth: Truth,
    seconds: np.ndarray,
    tracks: RecordedTracks,
    known: KnownMap,
    metres: float,
    insist: bool,
) -> None:
    """`insist`: take odometry as well, whose frame begins anew with each drive."""
    frame = known.map.info.frame
    drifts = is_odometry(frame) or any(t.get(ODOMETRY_KEY) for t in known.map.traverses)
    track, name = _in_frame(tracks, frame)
    if track is None and insist:
        track, name = next(((_track(tracks, t), t) for t in tracks.frames), (None, ''))
    if track is None:
        truth.notes.append(f'no poses in the frame of the map, "{frame}", were recorded')
        return
    if (drifts or track.frame != frame) and not insist:
        truth.notes.append(
            f'{name} are poses of odometry, which begin anew with each drive and drift: they '
            'judge nothing, unless --truth odom is given'
        )
        return
    if drifts or track.frame != frame:
        truth.notes.append(
            f'CAUTION: {name} is odometry in frame "{track.frame}", the map is in "{frame}"; what '
            'is right or wrong holds only if both began at the same pose and did not drift'
        )
    elif name == 'tf':
        truth.notes.append(
            'the truth is of tf: if the answers of the node correct it, they judge themselves'
        )
    positions, _, codes = track.sample(seconds + LATER, _MAX_GAP_S)
    at = positions[:, :2].copy()
    at[codes != 0] = np.nan
    reasons = np.where(codes == 0, '', NOWHERE).tolist()
    truth.take_positions(ODOM, at, reasons, f'a place within {metres:g} m of the poses of {name}')


def _in_frame(tracks: RecordedTracks, frame: str) -> tuple[PoseTrack | None, str]:
    for topic, own in tracks.frames.items():
        if own == frame and (track := _track(tracks, topic)) is not None:
            return track, topic
    track = tracks.transforms()
    return (track, 'tf') if track is not None and track.frame == frame else (None, '')


def _track(tracks: RecordedTracks, topic: str) -> PoseTrack | None:
    try:
        return tracks.poses(topic)
    except VprError as error:
        tracks.notes.append(f'{topic} is not used: {error}')
        return None

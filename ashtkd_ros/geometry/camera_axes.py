# SPDX-License-Identifier: Apache-2.0
"""Whether a camera's frame is optical (x right, y down, z forward) or a body frame (REP-103).

People name frames as they like, so the axes decide first. Seen from a map whose z axis points up,
an upright optical frame has its y axis along the vertical and moves along z; a body frame has its
z axis there and moves along x. A frame whose y axis points down is optical however it moves. The
name decides if the axes do not: if the camera stands, turns, or looks sideways, up or down.
"""

from __future__ import annotations

import numpy as np

from ashtkd_ros.geometry.quaternions import rotation_matrices

CHOICES = ('auto', 'optical', 'body')
_UPRIGHT = 0.7  # vertical part of an axis: the camera is tilted by less than 45 degrees
_UP = 0.8  # vertical part of a body's z: it is tilted by less than 37 degrees
_DOWN = 0.9  # of a y axis that points down: it is tilted by less than 26 degrees
_ALONG = 0.6  # share of the squared path along an axis: it looks ahead or back within 39
_STEP_M, _LEAST_M = 0.2, 2.0  # of one step, and of the whole path, to find a direction
_MOST = 5000  # poses that are used


def axes_of(positions: np.ndarray, quaternions: np.ndarray) -> str:
    """'optical' or 'body', or '' if the poses do not decide.

    `positions`: float64 (N, 3) in metres; `quaternions`: float64 (N, 4), xyzw; in order of time.
    """
    if rotation_matrices(quaternions)[:, 2, 1].mean() < -_DOWN:
        return 'optical'
    rows = _rows_in_motion(positions)
    chords = np.diff(positions[rows], axis=0)
    lengths = np.linalg.norm(chords, axis=1)
    sound = lengths < 20.0 * max(float(np.median(lengths)), _STEP_M) if len(lengths) else []
    if not len(lengths) or lengths[sound].sum() < _LEAST_M:
        return ''
    turns = rotation_matrices(quaternions[rows])
    upward = turns[:, 2].mean(axis=0)
    # The path seen from the frame, averaged over both ends of each step, so that bends cancel.
    local = np.einsum('nij,ni->nj', 0.5 * (turns[:-1] + turns[1:]), chords)[sound]
    along = (local**2).sum(axis=0) / (lengths[sound] ** 2).sum()
    if abs(upward[1]) > _UPRIGHT and along[2] > _ALONG:
        return 'optical'
    # The z axis of an optical frame that looks sideways and down is near the vertical too, but
    # it does not point up.
    return 'body' if upward[2] > _UP and along[0] > _ALONG else ''


def is_optical(
    positions: np.ndarray, quaternions: np.ndarray, frame: str, wanted: str = 'auto'
) -> tuple[bool, str]:
    """Whether a frame is optical, and a sentence that says how this was decided.

    Arrays: see `axes_of`. `wanted`: one of CHOICES; it decides unless it is auto.
    """
    named = 'optical' in frame.lower()
    decided = axes_of(positions, quaternions) if wanted == 'auto' else wanted
    optical = named if not decided else decided == 'optical'
    kind = 'optical (z forward)' if optical else 'a body frame (x forward)'
    if wanted != 'auto':
        why = 'as --camera-frame-is says'
    elif not decided:
        why = (
            'by its name, since its motion does not decide; if this is wrong, give '
            f'--camera-frame-is {"body" if optical else "optical"}'
        )
    else:
        why = 'by its axes'
        if optical != named and frame:
            why += (
                f', though its name suggests otherwise; if this is wrong, give --camera-frame-is '
                f'{"body" if optical else "optical"}'
            )
    return optical, f'the frame {frame or "of these poses"} is taken as {kind}, {why}'


def _rows_in_motion(positions: np.ndarray) -> np.ndarray:
    """Rows at least _STEP_M of path apart, so that noise does not count as motion."""
    every = max(1, len(positions) // _MOST)
    rows, last = [0], positions[0]
    for row, position in enumerate(positions[::every]):
        if np.linalg.norm(position - last) >= _STEP_M:
            rows.append(row)
            last = position
    return np.array(rows) * every

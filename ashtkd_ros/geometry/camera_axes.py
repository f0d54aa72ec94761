# SPDX-License-Identifier: Apache-2.0
"""Whether a camera's frame is a lens's (x right, y down, z forward) or a body's (REP-103).

Frames are named as people please, so their axes are asked first: in a frame that is upright in a
map whose z is up, a lens has y along the vertical and moves along z, a body has z there and moves
along x. A frame whose y points down is a lens's however it moves. Where the axes do not tell
plainly (standing, turning, looking sideways, up or down), the name does.
"""

from __future__ import annotations

import numpy as np

from ashtkd_ros.geometry.quaternions import rotation_matrices

CHOICES = ('auto', 'optical', 'body')
_UPRIGHT = 0.7  # of the axis along the vertical: the camera is tilted by less than 45 degrees
_UP = 0.8  # of a body's z: it is tilted by less than 37 degrees
_DOWN = 0.9  # of a y that points down: it is tilted by less than 26 degrees
_ALONG = 0.6  # of the squared way that is along the axis: it looks ahead, or back, within 39
_STEP_M, _LEAST_M = 0.2, 2.0  # of one step of the way, and of the whole, to tell a direction
_MOST = 5000  # poses that are looked at


def axes_of(positions: np.ndarray, quaternions: np.ndarray) -> str:
    """`optical` or `body` of float64 (N, 3) metres and (N, 4) unit xyzw in time; '' if unclear."""
    if rotation_matrices(quaternions)[:, 2, 1].mean() < -_DOWN:
        return 'optical'
    rows = _apart(positions)
    chords = np.diff(positions[rows], axis=0)
    lengths = np.linalg.norm(chords, axis=1)
    sound = lengths < 20.0 * max(float(np.median(lengths)), _STEP_M) if len(lengths) else []
    if not len(lengths) or lengths[sound].sum() < _LEAST_M:
        return ''
    turns = rotation_matrices(quaternions[rows])
    upward = turns[:, 2].mean(axis=0)
    # The way seen from the frame, at both ends of each step, so that bends count for nothing.
    local = np.einsum('nij,ni->nj', 0.5 * (turns[:-1] + turns[1:]), chords)[sound]
    along = (local**2).sum(axis=0) / (lengths[sound] ** 2).sum()
    if abs(upward[1]) > _UPRIGHT and along[2] > _ALONG:
        return 'optical'
    # A lens that looks sideways and down has z near the vertical, too, but not upwards.
    return 'body' if upward[2] > _UP and along[0] > _ALONG else ''


def is_optical(
    positions: np.ndarray, quaternions: np.ndarray, frame: str, wanted: str = 'auto'
) -> tuple[bool, str]:
    """Whether a frame is a lens's, and how that was told, in words; arrays as of `axes_of`.

    `wanted`, one of CHOICES, decides where it is not auto.
    """
    named = 'optical' in frame.lower()
    told = axes_of(positions, quaternions) if wanted == 'auto' else wanted
    optical = named if not told else told == 'optical'
    kind = 'optical (z forward)' if optical else 'of a body (x forward)'
    if wanted != 'auto':
        why = 'as --camera-frame-is says'
    elif not told:
        why = (
            'by its name, since its motion does not tell; if it is not, give '
            f'--camera-frame-is {"body" if optical else "optical"}'
        )
    else:
        why = 'by its axes'
        if optical != named and frame:
            why += (
                f', though not by its name; --camera-frame-is {"body" if optical else "optical"} '
                'decides otherwise'
            )
    return optical, f'the frame {frame or "of these poses"} is taken as {kind}, {why}'


def _apart(positions: np.ndarray) -> np.ndarray:
    """Rows each _STEP_M of the way or more from the one before, so that noise is no way."""
    every = max(1, len(positions) // _MOST)
    rows, last = [0], positions[0]
    for row, position in enumerate(positions[::every]):
        if np.linalg.norm(position - last) >= _STEP_M:
            rows.append(row)
            last = position
    return np.array(rows) * every

# SPDX-License-Identifier: Apache-2.0
"""Quaternions as numpy arrays, float64 (..., 4): x, y, z, w, of length 1."""

from __future__ import annotations

import numpy as np


def multiply(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Hamilton product of quaternions (..., 4): first the rotation b, then the rotation a."""
    (ax, ay, az, aw), (bx, by, bz, bw) = np.moveaxis(a, -1, 0), np.moveaxis(b, -1, 0)
    x = aw * bx + ax * bw + ay * bz - az * by
    y = aw * by - ax * bz + ay * bw + az * bx
    z = aw * bz + ax * by - ay * bx + az * bw
    return np.stack([x, y, z, aw * bw - ax * bx - ay * by - az * bz], axis=-1)


def rotate(q: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Rotate vectors (..., 3) by quaternions (..., 4): v + 2 w (u x v) + 2 u x (u x v)."""
    twice = 2.0 * np.cross(q[..., :3], v)
    return v + q[..., 3:] * twice + np.cross(q[..., :3], twice)


def invert_transform(
    position: np.ndarray, quaternion: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The inverse of a transform: position (..., 3) and quaternion (..., 4)."""
    back = quaternion * (-1.0, -1.0, -1.0, 1.0)
    return -rotate(back, position), back


def slerp(start: np.ndarray, end: np.ndarray, part: np.ndarray) -> np.ndarray:
    """Interpolate unit quaternions (M, 4) along the shortest arc; `part` (M,) goes from 0 to 1.

    K. Shoemake, Animating rotation with quaternion curves, SIGGRAPH 1985. The angle comes from
    atan2 and the ratio of sines from sinc, so that equal quaternions need no case of their own.
    """
    end = np.where((start * end).sum(axis=1, keepdims=True) < 0.0, -end, end)
    apart, along = (np.linalg.norm(v, axis=1) for v in (end - start, end + start))
    angle = 2.0 * np.arctan2(apart, along) / np.pi  # in half turns, as np.sinc takes it
    whole = np.sinc(angle)
    a = (1.0 - part) * np.sinc((1.0 - part) * angle) / whole
    b = part * np.sinc(part * angle) / whole
    mixed = a[:, None] * start + b[:, None] * end
    return mixed / np.linalg.norm(mixed, axis=1, keepdims=True)


def rotation_matrices(q: np.ndarray) -> np.ndarray:
    """Rotation matrices, float64 (N, 3, 3), of unit quaternions (N, 4)."""
    x, y, z, w = q.T
    return np.stack(
        [
            np.stack([1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)], -1),
            np.stack([2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)], -1),
            np.stack([2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)], -1),
        ],
        axis=-2,
    )

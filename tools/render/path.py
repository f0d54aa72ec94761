# SPDX-License-Identifier: Apache-2.0
"""The loop that every drive of a town follows: a polygon of streets with rounded corners."""

from __future__ import annotations

import numpy as np

CORNER_RADIUS_M = 7.0  # of the line driven; houses leave it 5.6 m of room
STEP_M = 0.25


class Loop:
    """Closed centre line of the streets, anticlockwise, metres, z = 0.

    corners: float64 (c, 2), the polygon before rounding; xy: float64 (n, 2), points about 0.25 m
    apart; arc: float64 (n + 1,), distance along the loop at each point, the last one the length.
    """

    def __init__(self, corners: np.ndarray) -> None:
        self.corners = np.asarray(corners, dtype=np.float64)
        self.xy = _rounded(self.corners, CORNER_RADIUS_M)
        closed = np.vstack([self.xy, self.xy[:1]])
        self.arc = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(closed, axis=0).T))])
        self.length = float(self.arc[-1])

    def at(self, s: float | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Position (..., 2) in metres, heading (...) in radians at distance `s` along the loop."""
        s = np.mod(s, self.length)
        closed = np.vstack([self.xy, self.xy[:1]])
        xy = np.stack([np.interp(s, self.arc, closed[:, k]) for k in (0, 1)], axis=-1)
        # A chord of 1 m smooths the heading over the corners of the sampled line.
        before, after = np.mod(s - 0.5, self.length), np.mod(s + 0.5, self.length)
        chord = [
            np.interp(after, self.arc, closed[:, k]) - np.interp(before, self.arc, closed[:, k])
            for k in (0, 1)
        ]
        return xy, np.arctan2(chord[1], chord[0])

    def distance(self, xy: np.ndarray) -> np.ndarray:
        """Distance in metres of points (n, 2) from the centre line, (n,)."""
        gap = np.asarray(xy)[:, None, :] - self.xy[None]
        return np.sqrt((gap**2).sum(axis=2)).min(axis=1)


def town_loop(seed: int) -> Loop:
    """The loop of the town with this seed: ten corners, 200 to 220 m."""
    rng = np.random.default_rng([seed, 1])
    width, depth = rng.uniform(60, 66), rng.uniform(38, 42)
    thirds = (0.33, 0.67)
    base = [[0, 0], *([t, 0] for t in thirds), [1, 0], [1, 0.5]]
    base += [[1, 1], *([1 - t, 1] for t in thirds), [0, 1], [0, 0.5]]
    corners = (np.array(base) - 0.5) * [width, depth]
    corners += rng.uniform(-1.5, 1.5, corners.shape)
    # The sides bend outwards and inwards in turn, so that no street is straight for long.
    for first, second, sign in ((1, 2, -1), (6, 7, 1)):
        turn = rng.choice([-1, 1])
        corners[first, 1] += sign * (2 + turn * rng.uniform(2, 4))
        corners[second, 1] += sign * (2 - turn * rng.uniform(2, 4))
    corners[4, 0] += rng.uniform(2, 5)
    corners[9, 0] -= rng.uniform(2, 5)
    return Loop(corners)


def offset_polygon(corners: np.ndarray, distance: float) -> np.ndarray:
    """Polygon (c, 2) moved by `distance` metres to the left of its edges (inwards), mitred."""
    edge = np.roll(corners, -1, axis=0) - corners
    edge /= np.linalg.norm(edge, axis=1, keepdims=True)
    normal = np.stack([-edge[:, 1], edge[:, 0]], axis=1)
    previous = np.roll(normal, 1, axis=0)
    bisector = normal + previous
    scale = distance / (1 + (normal * previous).sum(axis=1, keepdims=True))
    return corners + bisector * scale


def _rounded(corners: np.ndarray, radius: float) -> np.ndarray:
    """Points of the polygon with circular corners, about STEP_M apart."""
    pieces = []
    count = len(corners)
    for k in range(count):
        here = corners[k]
        to_previous, to_next = corners[k - 1] - here, corners[(k + 1) % count] - here
        u, v = to_previous / np.linalg.norm(to_previous), to_next / np.linalg.norm(to_next)
        half = np.arccos(np.clip(u @ v, -1, 1)) / 2
        reach = radius / np.tan(half)
        centre = here + (u + v) / np.linalg.norm(u + v) * radius / np.sin(half)
        start, end = here + u * reach - centre, here + v * reach - centre
        a = np.arctan2(start[1], start[0])
        turn = np.angle(np.exp(1j * (np.arctan2(end[1], end[0]) - a)))
        angle = a + np.linspace(0, turn, max(2, int(radius * abs(turn) / STEP_M)))
        pieces.append(centre + radius * np.stack([np.cos(angle), np.sin(angle)], axis=1))
    pieces.append(pieces[0][:1])
    line = np.vstack(pieces)
    arc = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(line, axis=0).T))])
    s = np.linspace(0, arc[-1], int(arc[-1] / STEP_M), endpoint=False)
    return np.stack([np.interp(s, arc, line[:, k]) for k in (0, 1)], axis=1)

# SPDX-License-Identifier: Apache-2.0
"""Which place follows which: along each traverse, and across where traverses meet."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ashtkd_ros.maps.places_table import Place

_STRETCH = 30  # places of one traverse that are no further apart than this are one stretch
_HEADING_RAD = 1.05  # how far headings may differ where two stretches show the same
_LINKS, _IN_CELL = 2, 8


class PlaceGraph:
    """The N places in the order of their traverses; "position" is a place's number in it.

    `ids`: the place at each position; `position`: the reverse; `first`, `last`: the ends of each
    position's traverse; all int (N,). `spacing`: float (N,), metres from place to place in its
    traverse, None without poses. `links`: int (N, 2), positions on other stretches that show the
    same spot; -1: none. `loop`: bool (N,), whether the traverse may end where it began, which is
    not known without poses. So two traverses of one road, or parts of a route that meet, are one
    graph.
    """

    def __init__(self, places: Sequence[Place], near_m: float):
        traverse = np.array([p.traverse for p in places])
        order = np.array([p.order for p in places])
        self.ids = np.lexsort((order, traverse))
        self.position = np.empty(len(places), np.int64)
        self.position[self.ids] = np.arange(len(places))
        starts = np.flatnonzero(np.diff(traverse[self.ids], prepend=np.nan) != 0)
        lengths = np.diff(starts, append=len(places))
        self.first = np.repeat(starts, lengths)
        self.last = self.first + np.repeat(lengths, lengths) - 1
        self.spacing, self.links = None, np.full((len(places), _LINKS), -1)
        self.loop = self.last > self.first
        if all(p.pose is not None for p in places):
            poses = [places[i].pose for i in self.ids]
            at = np.array([(p.x, p.y, p.z) for p in poses])
            steps = np.linalg.norm(np.diff(at, axis=0, prepend=at[:1]), axis=1)
            steps[starts] = 0
            length = np.add.reduceat(steps, starts)
            self.spacing = np.repeat(
                np.maximum(length / np.maximum(lengths - 1, 1), 1e-3), lengths
            )
            self.loop &= np.linalg.norm(at[self.last] - at[self.first], axis=1) <= 2 * near_m
            self.links = self._meeting(at, np.array([p.yaw for p in poses]), near_m)

    def __len__(self) -> int:
        return len(self.ids)

    def hops(self, positions: np.ndarray, hops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Positions (B,) and numbers of places (V, H) or (B, V, H) → positions (B, V, H).

        Beyond the end of a traverse it is the end. Second, where a loop begins anew instead, -1
        elsewhere.
        """
        first, last, loop = (
            x[positions][:, None, None] for x in (self.first, self.last, self.loop)
        )
        to = positions[:, None, None] + hops
        stays = np.clip(to, first, last)
        over = loop & (to != stays)
        return stays, np.where(over, first + (to - first) % (last - first + 1), -1)

    def _meeting(self, at: np.ndarray, yaw: np.ndarray, near_m: float) -> np.ndarray:
        """int (N, 2): the nearest positions within `near_m` on other stretches.

        Among up to eight places of each neighbouring cell of a grid.
        """
        cells = np.floor(at[:, :2] / near_m).astype(np.int64)
        keys = _key(cells)
        order = np.argsort(keys, kind='stable')
        found = [(np.full(len(at), np.inf), np.full(len(at), -1))] * _LINKS
        for shift in np.stack(np.meshgrid([-1, 0, 1], [-1, 0, 1]), -1).reshape(-1, 2):
            wanted = _key(cells + shift)
            start = np.searchsorted(keys, wanted, sorter=order)
            for k in range(_IN_CELL):
                other = order[np.minimum(start + k, len(at) - 1)]
                gap = np.linalg.norm(at - at[other], axis=1)
                turn = np.abs((yaw - yaw[other] + np.pi) % (2 * np.pi) - np.pi)
                apart = np.abs(np.arange(len(at)) - other) > _STRETCH
                apart |= self.first != self.first[other]
                fits = (keys[other] == wanted) & (start + k < len(at)) & apart
                fits &= (gap <= near_m) & (turn <= _HEADING_RAD)
                found = _inserted(found, np.where(fits, gap, np.inf), other)
        return np.stack([np.where(np.isfinite(gap), other, -1) for gap, other in found], axis=1)


def _inserted(found: list, gap: np.ndarray, other: np.ndarray) -> list:
    """The nearest ones, (gap, position) each (N,), with one more for each of N; nearest first."""
    kept = []
    for old_gap, old in found:
        nearer = gap < old_gap
        kept.append((np.where(nearer, gap, old_gap), np.where(nearer, other, old)))
        gap, other = np.where(nearer, old_gap, gap), np.where(nearer, old, other)
    return kept


def _key(cells: np.ndarray) -> np.ndarray:
    return cells[:, 0] * 2**31 + cells[:, 1]

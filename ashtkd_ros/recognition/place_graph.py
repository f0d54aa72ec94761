# SPDX-License-Identifier: Apache-2.0
"""Which place follows which: along each traverse, and across where traverses meet."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ashtkd_ros.maps.places import Place, Places

_STRETCH = 30  # places of one traverse that are no further apart than this are one stretch
_HEADING_RAD = 1.05  # how far headings may differ where two stretches show the same
_LINKS, _IN_CELL = 2, 24
_LEAST_SPOT_M = 1.0
_GAP, _USUAL = 10.0, 0.9  # a step so many times one that is longer than so many: places lack


class PlaceGraph:
    """The N places in the order of their traverses; "position" is a place's number in it.

    `rows`: the picture at each position; `position`: the reverse; `first`, `last`: the ends of
    each position's traverse; all int (N,). `spacing`: float (N,), metres from place to place in
    its traverse, but for gaps where places were dropped, None without poses. `links`: int (N, 2),
    positions on other stretches that show the same spot, or without poses other pictures of the
    place; -1: none. `loop`: bool (N,), whether the traverse may end where it began, which is not
    known without poses. So two traverses of one road, or parts of a route that meet, are one
    graph.
    """

    def __init__(self, places: Sequence[Place], near_m: float):
        places = Places.of(places)
        traverse = places.traverses
        self.rows = np.lexsort((places.orders, traverse))
        self.position = np.empty(len(places), np.int64)
        self.position[self.rows] = np.arange(len(places))
        starts = np.flatnonzero(np.diff(traverse[self.rows], prepend=np.nan) != 0)
        lengths = np.diff(starts, append=len(places))
        self.first = np.repeat(starts, lengths)
        self.last = self.first + np.repeat(lengths, lengths) - 1
        self.spacing, self.links = None, np.full((len(places), _LINKS), -1)
        self.loop = self.last > self.first
        if places.all_posed:
            at = places.positions[self.rows]
            steps = np.linalg.norm(np.diff(at, axis=0, prepend=at[:1]), axis=1)
            parts = [part[1:] for part in np.split(steps, starts[1:])]
            self.spacing = np.repeat([_spacing(part) for part in parts], lengths)
            self.loop &= np.linalg.norm(at[self.last] - at[self.first], axis=1) <= 2 * near_m
            self.links = self._meeting(at, places.yaws[self.rows], near_m)
        elif places.has_experiences:
            self.links = self._of_one_place(places.ids[self.rows])

    def __len__(self) -> int:
        return len(self.rows)

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

    def _of_one_place(self, ids: np.ndarray) -> np.ndarray:
        """int (N, 2): positions of the next picture of the same place and of the one before, of
        which the last is followed by the first; `ids` int (N,), by position."""
        order = np.argsort(ids, kind='stable')
        starts = np.flatnonzero(np.diff(ids[order], prepend=-1) != 0)
        lengths = np.diff(starts, append=len(ids))
        first, length = np.repeat(starts, lengths), np.repeat(lengths, lengths)
        nth, links = np.arange(len(ids)) - first, np.full((len(ids), _LINKS), -1)
        for link, step in enumerate((1, -1)):
            links[order, link] = order[first + (nth + step) % length]
        links[links == np.arange(len(ids))[:, None]] = -1
        links[links[:, 1] == links[:, 0], 1] = -1
        return links

    def _meeting(self, at: np.ndarray, yaw: np.ndarray, near_m: float) -> np.ndarray:
        """int (N, 2): positions of the same spot on other stretches, the next one and the one
        before in the order of the traverses, of which the last is followed by the first.

        So all stretches of a spot are linked. The same spot is what lies within two places, and
        within `near_m`; of a cell of that size up to 24 places are looked at.
        """
        near = min(near_m, max(2 * float(np.median(self.spacing)), _LEAST_SPOT_M))
        cells = np.floor(at[:, :2] / near).astype(np.int64)
        keys, here = _key(cells), np.arange(len(at))
        order = np.argsort(keys, kind='stable')
        best = np.full((_LINKS, len(at)), np.inf)
        links = np.full((_LINKS, len(at)), -1)
        for shift in np.stack(np.meshgrid([-1, 0, 1], [-1, 0, 1]), -1).reshape(-1, 2):
            wanted = _key(cells + shift)
            start = np.searchsorted(keys, wanted, sorter=order)
            for k in range(_IN_CELL):
                other = order[np.minimum(start + k, len(at) - 1)]
                fits = (keys[other] == wanted) & (start + k < len(at))
                if not fits.any():
                    break
                gap = np.linalg.norm(at - at[other], axis=1)
                turn = np.abs((yaw - yaw[other] + np.pi) % (2 * np.pi) - np.pi)
                apart = (np.abs(here - other) > _STRETCH) | (self.first != self.first[other])
                fits &= (gap <= near) & (turn <= _HEADING_RAD) & apart
                ahead = (self.first[other] - self.first) % len(at) + gap / (2 * near)
                for link, rank in enumerate((ahead, (self.first - self.first[other]) % len(at))):
                    rank = rank + (gap / (2 * near) if link else 0)
                    nearer = fits & (rank < best[link])
                    best[link, nearer], links[link, nearer] = rank[nearer], other[nearer]
        links[1, links[1] == links[0]] = -1
        return links.T


def _key(cells: np.ndarray) -> np.ndarray:
    return cells[:, 0] * 2**31 + cells[:, 1]


def _spacing(steps: np.ndarray) -> float:
    """Mean of the steps of a traverse, metres, without gaps."""
    usual = steps[steps <= _GAP * np.quantile(steps, _USUAL)] if len(steps) else steps
    return max(float(usual.mean()), 1e-3) if len(usual) else 1e-3

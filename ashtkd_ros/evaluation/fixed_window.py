# SPDX-License-Identifier: Apache-2.0
"""The baseline of following: what single images say, added up along the route.

Over the last images, for each of a few constant velocities in places an image (SeqSLAM: Milford &
Wyeth, ICRA 2012, without its local contrast normalisation).
"""

from __future__ import annotations

from collections import deque

import numpy as np

from ashtkd_ros.recognition.place_graph import PlaceGraph
from ashtkd_ros.recognition.sequence_filter import Evidence

_VELOCITIES = (-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 3.0)


class FixedWindow:
    """`length` images are added up; each one has a weight of 1, shared by its candidates."""

    def __init__(self, graph: PlaceGraph, length: int):
        self._graph, self._shares = graph, deque(maxlen=length)

    def step(self, seen: Evidence, top_k: int) -> tuple[list[int], float]:
        """After one more image: at most `top_k` places, best first, and the share of the best."""
        self._shares.append((self._graph.position[seen.rows], seen.shares))
        best = max((self._along(v) for v in _VELOCITIES), key=lambda sums: sums.max())
        order = np.argsort(-best, kind='stable')[:top_k]
        return self._graph.rows[order].tolist(), float(best[order[0]] / len(self._shares))

    def _along(self, velocity: float) -> np.ndarray:
        """Sums of the shares at each position, float (N,), along a route of this velocity."""
        sums, graph = np.zeros(len(self._graph)), self._graph
        for back, (at, shares) in enumerate(reversed(self._shares)):
            now = at + round(velocity * back)
            there = (now >= graph.first[at]) & (now <= graph.last[at])
            np.add.at(sums, now[there], shares[there])
        return sums

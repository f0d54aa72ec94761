# SPDX-License-Identifier: Apache-2.0
"""Which places lie within a circle, found without looking at all of them."""

from __future__ import annotations

import numpy as np

from ashtkd_ros.maps.places import Places

_CELL_M = 25.0


class PlaceGrid:
    """The pictures of places that have a pose, by square cells of the plane, band by band."""

    def __init__(self, places: Places):
        rows = np.flatnonzero(places.posed)
        cells = np.floor(places.positions[rows, :2] / _CELL_M).astype(np.int64)
        order = np.lexsort((cells[:, 0], cells[:, 1]))
        self._rows = rows[order]
        self._at = np.ascontiguousarray(places.positions[self._rows, :2])
        self._columns, bands = cells[order].T
        self._bands, self._starts = np.unique(bands, return_index=True)
        self._ends = np.append(self._starts[1:], len(rows))

    def within(self, x: float, y: float, radius_m: float) -> np.ndarray:
        """int64 (K,): the rows within `radius_m` metres of x, y, in rising order."""
        left, right, low, high = (
            int(np.floor(edge / _CELL_M))
            for edge in (x - radius_m, x + radius_m, y - radius_m, y + radius_m)
        )
        first, end = np.searchsorted(self._bands, low), np.searchsorted(self._bands, high, 'right')
        found = [np.zeros(0, np.int64)]
        for start, stop in zip(self._starts[first:end], self._ends[first:end], strict=True):
            columns = self._columns[start:stop]
            begin = start + np.searchsorted(columns, left)
            stop = start + np.searchsorted(columns, right, 'right')
            near = np.hypot(*(self._at[begin:stop] - (x, y)).T) <= radius_m
            found.append(self._rows[begin:stop][near])
        return np.sort(np.concatenate(found))

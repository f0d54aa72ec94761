# SPDX-License-Identifier: Apache-2.0
"""Batches of P places with K views each, drawn from the training places."""

from __future__ import annotations

import math
from collections import defaultdict
from pathlib import Path

import numpy as np

from ashtkd_ros.errors import VprError
from tools.training.data.places import TrainingPlaces, refuse_unknown


class PlaceBatches:
    """`batch(step)`: P places with K views each, a function of (seed, step) alone.

    Entries are (picture, view, place), place by place; different pictures first, then further
    views of the same pictures. The first K // 2 entries of a place share no view of a picture with
    the rest, unless there is no other view. A domain is drawn by its weight, or else by the root
    of the number of its places, so that small sets with true revisits count. No two places of a
    batch may be the same in truth.
    """

    def __init__(
        self,
        places: TrainingPlaces,
        per_batch: int,
        views: int,
        seed: int,
        domains: set[str] | None = None,
        views_of_picture: int = 2,
    ):
        self.places, self.per_batch, self.views = places.places, per_batch, views
        self.seed, self.views_of_picture = seed, views_of_picture
        of: dict[str, list[int]] = defaultdict(list)
        for i, place in enumerate(places.places):
            if domains is None or domains & _names(place.domain):
                of[place.domain].append(i)
        known = {a.domain for a in places.places}
        refuse_unknown('domains', (domains or set()).difference(*map(_names, known)), known)
        self._members = [np.array(m) for m in of.values()]
        weights = np.array([places.weights.get(d, math.sqrt(len(m))) for d, m in of.items()])
        self._shares = weights / weights.sum()

    def batch(self, step: int) -> list[tuple[int, int, int]]:
        """P*K entries of (picture, view, place). VprError where there are too few places."""
        rng = np.random.default_rng((self.seed, step))
        chosen: list[int] = []
        for _ in range(100 * self.per_batch):
            members = self._members[rng.choice(len(self._members), p=self._shares)]
            candidate = int(members[rng.integers(len(members))])
            if not any(self._clash(candidate, other) for other in chosen):
                chosen.append(candidate)
            if len(chosen) == self.per_batch:
                return [entry for place in chosen for entry in self._views(place, rng)]
        raise VprError(
            f'the sources have no {self.per_batch} places that are certainly different; make '
            '`schedule.places` smaller'
        )

    def _clash(self, i: int, j: int) -> bool:
        a, b = self.places[i], self.places[j]
        if i == j or set(a.pictures) & set(b.pictures):
            return True
        return a.group == b.group and bool(a.at) and math.dist(a.at, b.at) < a.apart

    def _views(self, place: int, rng: np.random.Generator) -> list[tuple[int, int, int]]:
        pictures = rng.permutation(self.places[place].pictures)
        shift = rng.integers(self.views_of_picture, size=len(pictures))
        entries = []
        for k in range(min(self.views, self.views_of_picture * len(pictures))):
            turn, at = divmod(k, len(pictures))
            view = (shift[at] + turn) % self.views_of_picture
            entries.append((int(pictures[at]), int(view), place))
        # Views of one picture side by side would leave a branch without the others.
        entries = [entries[i] for i in rng.permutation(len(entries))]
        half = self.views // 2
        first = max(1, len(entries) * half // self.views)
        database, query = entries[:first], entries[first:] or entries
        return [
            *(database[i % len(database)] for i in range(half)),
            *(query[i % len(query)] for i in range(self.views - half)),
        ]


def _names(domain: str) -> set[str]:
    """Names by which `domains` may ask for a domain: the whole one, and folders of its path."""
    return {domain, *Path(domain).parts}

# SPDX-License-Identifier: Apache-2.0
"""Batches of P places with K views each, drawn from the training places."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ashtkd_ros.errors import VprError
from tools.training.data.places import TrainingPlace, TrainingPlaces, refuse_unknown

_NEAREST = 20  # places that a group is drawn from


class PlaceBatches:
    """`batch(step)`: P places with K views each, a function of (seed, step) alone.

    Entries are (picture, view, place), place by place; different pictures first, then further
    views of the same pictures. The first K // 2 entries of a place share no view of a picture with
    the rest, unless there is no other view. A domain is drawn by its weight, or else by the root
    of the number of its places, so that small sets with true revisits count. No two places of a
    batch may be the same in truth.

    `unlabelled`: share of the P places whose K views are of K // 2 pictures of unknown place (-1),
    in both halves, as far as there are so many. `descriptors`: float (N, D), a row a picture,
    whose products are similarities: places come in groups of `group`, one by chance and others of
    the 20 of its domain that are most similar to it; None: all by chance.
    """

    def __init__(
        self,
        places: TrainingPlaces,
        per_batch: int,
        views: int,
        seed: int,
        domains: set[str] | None = None,
        views_of_picture: int = 2,
        unlabelled: float = 0.0,
        group: int = 1,
        descriptors: np.ndarray | None = None,
    ):
        self.places, self.per_batch, self.views = places.places, per_batch, views
        self.seed, self.views_of_picture, self.group = seed, views_of_picture, group
        known = {a.domain for a in places.places}
        refuse_unknown('domains', (domains or set()).difference(*map(_names, known)), known)
        self._labelled, self._pool = (
            _Domains(places, known, domains, group, descriptors) for known in (True, False)
        )
        pictures = sum(map(len, self._pool.members))
        self._unlabelled = min(round(unlabelled * per_batch), pictures // (views // 2))
        if not self._labelled.members:
            self._unlabelled = per_batch

    def batch(self, step: int) -> list[tuple[int, int, int]]:
        """P*K entries of (picture, view, place). VprError where there are too few places."""
        rng = np.random.default_rng((self.seed, step))
        places = self._choose(self._labelled, self.per_batch - self._unlabelled, [], rng)
        each = self.views // 2
        pool = self._choose(self._pool, self._unlabelled * each, places, rng)
        entries = [entry for place in places for entry in self._views(place, rng)]
        for start in range(0, len(pool), each):
            entries += self._unknown(pool[start : start + each], rng)
        return entries

    def _choose(
        self, domains: _Domains, count: int, taken: Sequence[int], rng: np.random.Generator
    ) -> list[int]:
        """Numbers of `count` places that are different from each other and from those taken."""
        chosen: list[int] = []
        for _ in range(100 * count):
            seed = domains.draw(rng)
            near = domains.nearest.get(seed, np.zeros(0, int))
            for candidate in (seed, *rng.permutation(near)[: self.group - 1].tolist()):
                others = (self.places[i] for i in (*chosen, *taken))
                clashes = any(self.places[candidate].may_be(other) for other in others)
                if len(chosen) < count and not clashes:
                    chosen.append(candidate)
            if len(chosen) == count:
                break
        if len(chosen) < count:
            raise VprError(
                f'the sources have no {count} places that are certainly different; make '
                '`schedule.places` smaller'
            )
        return chosen

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

    def _unknown(self, places: list[int], rng: np.random.Generator) -> list[tuple[int, int, int]]:
        """Each picture once in the first half, and in the second by other views of it."""
        pictures = [self.places[i].pictures[0] for i in places]
        first = rng.integers(self.views_of_picture, size=len(pictures)).tolist()
        entries = []
        for k in range(self.views):
            turn, at = divmod(k, len(pictures))
            shift = turn and 1 + (turn - 1) % max(1, self.views_of_picture - 1)
            entries.append((pictures[at], (first[at] + shift) % self.views_of_picture, -1))
        return entries


class _Domains:
    """The places of known, or of unknown, whereabouts by domain; which of them are similar.

    `members`: numbers of each domain's places; `nearest`: place → those most similar to it that
    are certainly different, empty without descriptors.
    """

    def __init__(
        self,
        places: TrainingPlaces,
        known: bool,
        wanted: set[str] | None,
        group: int,
        descriptors: np.ndarray | None,
    ):
        of: dict[str, list[int]] = defaultdict(list)
        for i, place in enumerate(places.places):
            if place.known == known and (wanted is None or wanted & _names(place.domain)):
                of[place.domain].append(i)
        self.members = [np.array(m) for m in of.values()]
        weights = np.array([places.weights.get(d, math.sqrt(len(m))) for d, m in of.items()])
        self._shares = weights / weights.sum() if of else weights
        self.nearest: dict[int, np.ndarray] = {}
        if group > 1 and descriptors is not None:
            for members in self.members:
                self.nearest |= _nearest(places.places, members, descriptors)

    def draw(self, rng: np.random.Generator) -> int:
        """The number of a place."""
        members = self.members[rng.choice(len(self.members), p=self._shares)]
        return int(members[rng.integers(len(members))])


def _nearest(
    places: list[TrainingPlace], members: np.ndarray, descriptors: np.ndarray
) -> dict[int, np.ndarray]:
    means = np.stack(
        [descriptors[list(places[i].pictures)].astype(np.float32).mean(0) for i in members]
    )
    nearest = {}
    for start in range(0, len(members), 1000):
        similarity = means[start : start + 1000] @ means.T
        for i, order in zip(members[start:], np.argsort(-similarity, axis=1), strict=False):
            near: list[int] = []
            for j in members[order].tolist():
                if not places[i].may_be(places[j]):
                    near.append(j)
                if len(near) == _NEAREST:
                    break
            nearest[int(i)] = np.array(near, int)
    return nearest


def _names(domain: str) -> set[str]:
    """Names by which `domains` may ask for a domain: the whole one, and folders of its path."""
    return {domain, *Path(domain).parts}

# SPDX-License-Identifier: Apache-2.0
"""Candidate lists of a frozen student: hard neighbours of the same set, right ones among them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tools.training.data.places import TrainingPlace, TrainingPlaces

CANDIDATES = 30
_LEAST = 4  # wrong ones of a list


@dataclass(frozen=True)
class CandidateList:
    """One query and its K candidates, numbers of pictures, the most similar ones first.

    `candidates`: int (K,); `similarity` of the descriptors: float32 (K,); `right`: bool (K,).
    `domain`: the set that all are from; `place`: number of the query's place in it.
    """

    query: int
    candidates: np.ndarray
    similarity: np.ndarray
    right: np.ndarray
    domain: str
    place: int


def some_pictures(places: TrainingPlaces, most: int, seed: int = 0) -> list[int]:
    """Numbers of about `most` pictures a domain: all those of places drawn by chance.

    Of known places; at least one of them with two pictures, else the domain has none.
    """
    rng, chosen = np.random.default_rng(seed), set()
    for members in _domains(places).values():
        some: set[int] = set()
        for i in rng.permutation(len(members)):
            if len(some) < most:
                some |= set(members[i].pictures)
        if any(len(place.pictures) > 1 for place in members):
            chosen |= some
    return sorted(chosen)


def candidate_lists(
    places: TrainingPlaces,
    pictures: Sequence[int],
    mapped: np.ndarray,
    queries: np.ndarray,
    most: int,
    seed: int = 0,
) -> list[CandidateList]:
    """At most `most` lists of each domain, of these N pictures; its numbers are rows of them.

    `mapped`, `queries`: float32 (N, D), descriptors of each picture in the map and as a query.
    Right are the other pictures of a place; wrong those that show none which may be the same as
    it, in truth. All others, of which this is not known, are left out. A right one that is not
    among the most similar takes the last one's place.
    """
    rng, row_of = np.random.default_rng(seed), {p: k for k, p in enumerate(pictures)}
    found = []
    for domain, members in _domains(places).items():
        kept = [(a, [row_of[p] for p in a.pictures if p in row_of]) for a in members]
        kept = [(a, np.array(rows)) for a, rows in kept if rows]
        asked = [
            (number, q) for number, (_, rows) in enumerate(kept) for q in rows if len(rows) > 1
        ]
        for i in rng.permutation(len(asked))[:most]:
            number, query = asked[i]
            place, rows = kept[number]
            right = rows[rows != query]
            candidates = np.concatenate([right, _wrong(place, kept)])
            similarity = mapped[candidates] @ queries[query]
            order = np.argsort(-similarity, kind='stable')
            first_right = int(np.flatnonzero(order < len(right))[0])
            if first_right >= CANDIDATES:
                order[CANDIDATES - 1] = order[first_right]
            order = order[:CANDIDATES]
            if (order >= len(right)).sum() >= _LEAST:
                columns = (candidates[order], similarity[order], order < len(right))
                found.append(CandidateList(int(query), *columns, domain, number))
    return found


def _wrong(place: TrainingPlace, kept: list[tuple[TrainingPlace, np.ndarray]]) -> np.ndarray:
    """Rows that show none of the places which may be this one, int (W,)."""
    seen, unsure = set(), set()
    for other, rows in kept:
        seen |= set(rows.tolist())
        if other is place or place.may_be(other):
            unsure |= set(rows.tolist())
    return np.array(sorted(seen - unsure), int)


def _domains(places: TrainingPlaces) -> dict[str, list[TrainingPlace]]:
    found = defaultdict(list)
    for place in places.places:
        if place.known:
            found[place.domain].append(place)
    return found

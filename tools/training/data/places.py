# SPDX-License-Identifier: Apache-2.0
"""Training places, each with the pictures that show it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from ashtkd_ros.errors import VprError


@dataclass(frozen=True)
class Picture:
    """A training image; `domain` is the set that it comes from, the first of several."""

    path: Path
    domain: str


@dataclass(frozen=True)
class TrainingPlace:
    """A place: indices of the pictures that show it.

    `at`: where it is in its `group`, in pictures along a walk or in metres. Two places of one
    group that are nearer to each other than `apart` may be the same place in truth. `known`:
    whether anything is known of where it is; of others, any two may be the same. `still`: whether
    all its pictures are of one camera that does not move.
    """

    pictures: tuple[int, ...]
    domain: str
    group: str
    at: tuple[float, ...] = ()
    apart: float = 0.0
    known: bool = True
    still: bool = False

    def may_be(self, other: TrainingPlace) -> bool:
        """Whether it may be the same place in truth as another one."""
        return bool(set(self.pictures) & set(other.pictures)) or (
            self.group == other.group
            and bool(self.at)
            and math.dist(self.at, other.at) < self.apart
        )


@dataclass
class TrainingPlaces:
    """Pictures, places and each domain's weight; `skipped`: pictures that are not there."""

    pictures: list[Picture] = field(default_factory=list)
    places: list[TrainingPlace] = field(default_factory=list)
    weights: dict[str, float] = field(default_factory=dict)
    skipped: list[Path] = field(default_factory=list)
    _index_of: dict[Path, int] = field(default_factory=dict)

    def take(self, paths: Iterable[Path], domain: str) -> list[int | None]:
        """Add pictures; their indices, None for one that is not there."""
        indices: list[int | None] = []
        for path in paths:
            path = path.resolve()
            if path in self._index_of:
                indices.append(self._index_of[path])
            elif path.is_file():
                indices.append(len(self.pictures))
                self._index_of[path] = len(self.pictures)
                self.pictures.append(Picture(path, domain))
            else:
                indices.append(None)
                self.skipped.append(path)
        return indices

    def add(self, indices: Iterable[int | None], domain: str, group: str, at=(), apart=0.0, **is_):
        """Add a place with those of its pictures that are there, if any is.

        `is_`: `known` and `still`, see `TrainingPlace`.
        """
        pictures = tuple(dict.fromkeys(i for i in indices if i is not None))
        if pictures:
            self.places.append(TrainingPlace(pictures, domain, group, tuple(at), apart, **is_))

    def without(self, bad: set[str]) -> TrainingPlaces:
        """The same without the pictures of these paths, and without places that have no others."""
        out = {i for i, p in enumerate(self.pictures) if str(p.path) in bad}
        rest = TrainingPlaces(self.pictures, [], self.weights, self.skipped, self._index_of)
        for a in self.places:
            if pictures := tuple(i for i in a.pictures if i not in out):
                rest.places.append(replace(a, pictures=pictures))
        return rest


def refuse_unknown(where: str, unknown: set[str], known: Iterable[str]) -> None:
    """VprError where there are unknown sets or domains; it names them and the known ones."""
    if unknown:
        names = ', '.join(sorted(unknown))
        raise VprError(f'{where}: no set is named {names}; there are {", ".join(sorted(known))}')


def summary(places: TrainingPlaces) -> str:
    """A line for each domain: how many known places and pictures it has."""
    lines = []
    for domain in dict.fromkeys(a.domain for a in places.places):
        members = [place for place in places.places if place.domain == domain]
        pictures = {i for place in members for i in place.pictures}
        known = sum(place.known for place in members)
        lines.append(f'{domain:>30}: {known:6d} places, {len(pictures):6d} pictures')
    return '\n'.join(lines)

# SPDX-License-Identifier: Apache-2.0
"""Training places, each with the pictures that show it, and P x K batches of their views.

Sources, each a mapping in the config:
  {kind: sets, path: FOLDER, positives: {SET: neighbours | place}, radius: 1, only: [SET]}
  {kind: walks, paths: [FOLDER, ...], spacing: 5, metres: 3, degrees: 40}
  {kind: folders, path: FOLDER}
  {kind: gsv, path: FILE.csv, images: FOLDER}
A place of one picture is taught by two views of it. `weight` (any kind) scales how often the
source's places are drawn.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ashtkd_ros.errors import VprError
from ashtkd_ros.sources import Frame, read_rows, read_source

_APART_PICTURES = 10.0
_APART_METRES = 15.0
_IMAGES = ('.jpg', '.jpeg', '.png', '.webp', '.bmp')


@dataclass(frozen=True)
class Picture:
    """A training image; `domain` is the set that it comes from."""

    path: Path
    domain: str


@dataclass(frozen=True)
class Anchor:
    """A place: indices of the pictures that show it.

    Two anchors of one `group` nearer than `apart` at `at` (pictures along a walk, or metres)
    may be the same place in truth.
    """

    pictures: tuple[int, ...]
    domain: str
    group: str
    at: tuple[float, ...] = ()
    apart: float = 0.0


@dataclass
class TrainingPlaces:
    """Pictures, places and each domain's weight; `skipped`: pictures that are not there."""

    pictures: list[Picture] = field(default_factory=list)
    anchors: list[Anchor] = field(default_factory=list)
    weights: dict[str, float] = field(default_factory=dict)
    skipped: list[Path] = field(default_factory=list)

    def take(self, paths: Iterable[Path], domain: str) -> list[int | None]:
        """Add pictures; their indices, None for one that is not there."""
        indices: list[int | None] = []
        for path in paths:
            path = path.resolve()
            if path.is_file():
                indices.append(len(self.pictures))
                self.pictures.append(Picture(path, domain))
            else:
                indices.append(None)
                self.skipped.append(path)
        return indices

    def add(self, indices: Iterable[int | None], domain: str, group: str, at=(), apart=0.0):
        """Add a place, unless none of its pictures is there."""
        pictures = tuple(dict.fromkeys(i for i in indices if i is not None))
        if pictures:
            self.anchors.append(Anchor(pictures, domain, group, tuple(at), apart))

    def without(self, bad: set[str]) -> TrainingPlaces:
        """The same without the pictures of these paths and the places that they leave bare."""
        out = {i for i, p in enumerate(self.pictures) if str(p.path) in bad}
        rest = TrainingPlaces(self.pictures, [], self.weights, self.skipped)
        for a in self.anchors:
            rest.add((i for i in a.pictures if i not in out), a.domain, a.group, a.at, a.apart)
        return rest


def read_places(sources: list[dict], base: Path = Path()) -> TrainingPlaces:
    """All sources of a config; relative paths start at `base`. VprError names a bad source."""
    readers = {'sets': _sets, 'walks': _walks, 'folders': _folders, 'gsv': _gsv}
    places = TrainingPlaces()
    for source in sources:
        options = dict(source)
        kind, weight = options.pop('kind', None), options.pop('weight', None)
        if kind not in readers:
            raise VprError(f'source kind {kind}: unknown; the kinds are {", ".join(readers)}')
        before = len(places.anchors)
        try:
            readers[kind](places, base, **options)
        except TypeError as error:
            raise VprError(f'source {kind}: {str(error).split("() ")[-1]}') from error
        added = {a.domain for a in places.anchors[before:]}
        if not added:
            raise VprError(f'source {source}: holds no place with a picture that is there')
        if weight is not None:
            places.weights |= dict.fromkeys(added, float(weight))
    if not places.anchors:
        raise VprError('no places to learn from; add a source under `sources`')
    return places


def _sets(places, base, *, path, positives=None, radius=1, only=None) -> None:
    """Folders with an index.csv: neighbours on a walk, the same `place`, or each photo alone."""
    positives = positives or {}
    wrong = {k: v for k, v in positives.items() if v not in ('neighbours', 'place')}
    if wrong:
        raise VprError(f'positives {wrong}: must be neighbours or place')
    folders = sorted(p.parent for p in (base / path).glob('*/index.csv'))
    for folder in folders:
        if only is None or folder.name in only:
            _one_set(places, folder, positives.get(folder.name), radius)


def _one_set(places: TrainingPlaces, folder: Path, positives: str | None, radius: int) -> None:
    rows = [row for _, row in read_rows(folder / 'index.csv', ('file', 'place', 'order'))]
    indices = places.take((folder / row['file'] for row in rows), folder.name)
    groups: dict[str, list[int | None]] = defaultdict(list)
    for index, row in zip(indices, rows, strict=True):
        groups[row['place']].append(index)
    for name, members in groups.items():
        group = f'{folder.name}/{name}'
        if positives == 'place' and name:
            places.add(members, folder.name, group)
            continue
        for k, member in enumerate(members):
            near = members[max(0, k - radius) : k + radius + 1] if positives else [member]
            if member is not None:
                places.add([member, *near], folder.name, group, (k,), _APART_PICTURES)


def _walks(places, base, *, paths, spacing=5.0, metres=3.0, degrees=40.0) -> None:
    """Several walks through one world: a place every `spacing` metres of the first."""
    walks = [read_source(base / path) for path in paths]
    domain = str((base / paths[0]).parent)
    indices = [places.take((f.path for f in walk), domain) for walk in walks]
    last: Frame | None = None
    for frame in walks[0]:
        if frame.pose is None:
            raise VprError(f'{frame.path}: has no pose; walks need a poses.csv')
        if last is not None and _distance(frame, last) < spacing:
            continue
        last = frame
        near = [
            index
            for walk, of_walk in zip(walks, indices, strict=True)
            for other, index in zip(walk, of_walk, strict=True)
            if _distance(frame, other) <= metres and _turn(frame, other) <= degrees
        ]
        places.add(near, domain, domain, (frame.pose.x, frame.pose.y), _APART_METRES)


def _distance(a: Frame, b: Frame) -> float:
    return math.dist((a.pose.x, a.pose.y), (b.pose.x, b.pose.y))


def _turn(a: Frame, b: Frame) -> float:
    return abs(math.degrees(math.remainder(a.pose.yaw - b.pose.yaw, math.tau)))


def _folders(places, base, *, path) -> None:
    """A folder a place."""
    for folder in sorted(p for p in (base / path).glob('*') if p.is_dir()):
        images = sorted(p for p in folder.iterdir() if p.suffix.lower() in _IMAGES)
        places.add(places.take(images, str(path)), str(path), str(folder))


def _gsv(places, base, *, path, images) -> None:
    """GSV-Cities' tables (Ali-bey et al., 2022), or any CSV with place, city, lat, lon, heading.

    The picture is in the column `file`, or has the name that GSV-Cities gives it.
    """
    table = base / path
    rows = [row for _, row in read_rows(table, ('lat', 'lon'))]
    groups: dict[tuple[str, str], list[Path]] = defaultdict(list)
    for row in rows:
        try:
            city, place = row.get('city_id') or row['city'], row.get('place_id') or row['place']
            file = row.get('file') or f'{city}/{_gsv_name(row, city, place)}'
        except (KeyError, ValueError) as error:
            raise VprError(f'{table}: column {error} is missing or no number') from error
        groups[city, place].append(base / images / file)
    for (city, place), paths in groups.items():
        places.add(places.take(paths, f'gsv {city}'), f'gsv {city}', f'{city}/{place}')


def _gsv_name(row: dict[str, str], city: str, place: str) -> str:
    number, degrees = int(place) % 10**5, int(row.get('northdeg') or row['heading'])
    month = f'{int(row["year"]):04d}_{int(row["month"]):02d}_{degrees:03d}'
    return f'{city}_{number:07d}_{month}_{row["lat"]}_{row["lon"]}_{row["panoid"]}.jpg'


class PlaceBatches:
    """`batch(step)`: P places with K views each, a function of (seed, step) alone.

    Entries are (picture, view, anchor), place by place; different pictures first, then further
    views of the same ones. A domain is drawn by its weight, else by the root of its places'
    number, so that small sets with true revisits count. No two places of a batch may be the same
    in truth.
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
        self.anchors, self.per_batch, self.views = places.anchors, per_batch, views
        self.seed, self.views_of_picture = seed, views_of_picture
        of: dict[str, list[int]] = defaultdict(list)
        for i, anchor in enumerate(places.anchors):
            if domains is None or any(d in anchor.domain for d in domains):
                of[anchor.domain].append(i)
        if not of:
            raise VprError(f'domains {sorted(domains or ())}: no place is of any of them')
        self._members = [np.array(m) for m in of.values()]
        weights = np.array([places.weights.get(d, math.sqrt(len(m))) for d, m in of.items()])
        self._shares = weights / weights.sum()

    def batch(self, step: int) -> list[tuple[int, int, int]]:
        """P*K entries of (picture, view, anchor)."""
        rng = np.random.default_rng((self.seed, step))
        chosen: list[int] = []
        for _ in range(100 * self.per_batch):
            members = self._members[rng.choice(len(self._members), p=self._shares)]
            candidate = int(members[rng.integers(len(members))])
            if not any(self._clash(candidate, other) for other in chosen):
                chosen.append(candidate)
            if len(chosen) == self.per_batch:
                return [entry for anchor in chosen for entry in self._views(anchor, rng)]
        raise VprError(f'no {self.per_batch} places that are surely different; take fewer a batch')

    def _clash(self, i: int, j: int) -> bool:
        a, b = self.anchors[i], self.anchors[j]
        if i == j or set(a.pictures) & set(b.pictures):
            return True
        return a.group == b.group and bool(a.at) and math.dist(a.at, b.at) < a.apart

    def _views(self, anchor: int, rng: np.random.Generator) -> list[tuple[int, int, int]]:
        pictures = rng.permutation(self.anchors[anchor].pictures)
        shift = rng.integers(self.views_of_picture, size=len(pictures))
        entries = []
        for k in range(self.views):
            turn, at = divmod(k, len(pictures))
            view = (shift[at] + turn) % self.views_of_picture
            entries.append((int(pictures[at]), int(view), anchor))
        # Views of one picture side by side would leave a branch without the others.
        return [entries[i] for i in rng.permutation(self.views)]


def summary(places: TrainingPlaces) -> str:
    """A line for each domain: places, pictures."""
    lines = []
    for domain in dict.fromkeys(a.domain for a in places.anchors):
        anchors = [a for a in places.anchors if a.domain == domain]
        pictures = {i for a in anchors for i in a.pictures}
        lines.append(f'{domain:>30}: {len(anchors):6d} places, {len(pictures):6d} pictures')
    return '\n'.join(lines)

# SPDX-License-Identifier: Apache-2.0
"""Training places, each with the pictures that show it, and P x K batches of their views.

Sources, each a mapping in the config:
  {kind: sets, path: FOLDER, positives: {SET: neighbours | place}, radius: 1, only: [SET]}
    neighbours: pictures of one walk whose `order` differs by `radius` at most
  {kind: walks, paths: [FOLDER, ...], spacing: 5, metres: 3, degrees: 40}
  {kind: folders, path: FOLDER}
  {kind: gsv, path: FILE.csv, images: FOLDER}
A place of one picture is taught by two views of it. `weight` (any kind) scales how often the
source's places are drawn.
"""

from __future__ import annotations

import inspect
import math
import re
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np

from ashtkd_ros.errors import VprError
from ashtkd_ros.files.tables import read_rows
from ashtkd_ros.traverses.frame import Frame
from ashtkd_ros.traverses.image_folder import read_source
from tools.training.data.gsv import read_gsv

_APART_PICTURES = 10.0
_APART_METRES = 15.0
_IMAGES = ('.jpg', '.jpeg', '.png', '.webp', '.bmp')


@dataclass(frozen=True)
class Picture:
    """A training image; `domain` is the set that it comes from, the first of several."""

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
    _known: dict[Path, int] = field(default_factory=dict)

    def take(self, paths: Iterable[Path], domain: str) -> list[int | None]:
        """Add pictures; their indices, None for one that is not there."""
        indices: list[int | None] = []
        for path in paths:
            path = path.resolve()
            if path in self._known:
                indices.append(self._known[path])
            elif path.is_file():
                indices.append(len(self.pictures))
                self._known[path] = len(self.pictures)
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
        rest = TrainingPlaces(self.pictures, [], self.weights, self.skipped, self._known)
        for a in self.anchors:
            rest.add((i for i in a.pictures if i not in out), a.domain, a.group, a.at, a.apart)
        return rest


def read_places(sources: list[dict], base: Path = Path()) -> TrainingPlaces:
    """All sources of a config; relative paths start at `base`. VprError names a bad source."""
    places = TrainingPlaces()
    for source in sources:
        kind, weight, options = _checked(source)
        before = len(places.anchors)
        _READERS[kind](places, base, **options)
        added = {a.domain for a in places.anchors[before:]}
        if not added:
            raise VprError(f'source {source}: holds no place with a picture that is there')
        if weight is not None:
            places.weights |= dict.fromkeys(added, float(weight))
    if not places.anchors:
        raise VprError('no places to learn from; add a source under `sources`')
    return places


def _checked(source: dict) -> tuple[str, float | None, dict]:
    """Kind, weight and the reader's options; VprError names a field of the wrong type."""
    options = dict(source)
    kind = options.pop('kind', None)
    if not isinstance(kind, str) or kind not in _READERS:
        raise VprError(f'source kind {kind}: unknown; the kinds are {", ".join(_READERS)}')
    for name, value in options.items():
        must, fits = _FIELDS.get(name, ('', lambda _: True))
        if not fits(value):
            raise VprError(f'source {kind}: {name} is {value!r}, it must be {must}')
    weight = options.pop('weight', None)
    try:
        inspect.signature(_READERS[kind]).bind(None, None, **options)
    except TypeError as error:
        raise VprError(f'source {kind}: {error}') from error
    return kind, weight, options


def _some(value: object, kinds: type | tuple[type, ...]) -> bool:
    return isinstance(value, list | tuple) and bool(value) and all(_is(v, kinds) for v in value)


def _is(value: object, kinds: type | tuple[type, ...]) -> bool:
    return isinstance(value, kinds) and value != ''


def _positive(value: object) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and math.isfinite(value) and value > 0


_NUMBER = ('a number above 0', _positive)
_PATH = ('a path', lambda v: _is(v, (str, Path)))
_FIELDS = {
    'path': _PATH,
    'images': _PATH,
    'paths': ('a list of paths', lambda v: _some(v, (str, Path))),
    'only': ('a list of sets', lambda v: _some(v, str)),
    'positives': ('a mapping {SET: neighbours | place}', lambda v: isinstance(v, dict)),
    **dict.fromkeys(('weight', 'radius', 'spacing', 'metres', 'degrees'), _NUMBER),
}


def _folder(path: Path) -> Path:
    if not path.is_dir():
        raise VprError(f'{path}: no such folder; correct the path of the source')
    return path


def _sets(places, base, *, path, positives=None, radius=1, only=None) -> None:
    """Folders with an index.csv: neighbours on a walk, the same `place`, or each photo alone."""
    positives = positives or {}
    wrong = {k: v for k, v in positives.items() if v not in ('neighbours', 'place')}
    if wrong:
        raise VprError(f'positives {wrong}: must be neighbours or place')
    folders = {p.parent.name: p.parent for p in sorted(_folder(base / path).glob('*/index.csv'))}
    for name, asked in (('only', only or ()), ('positives', positives)):
        _refuse(f'{base / path}: {name}', set(asked) - set(folders), folders)
    for name, folder in folders.items():
        if only is None or name in only:
            _one_set(places, folder, positives.get(name), radius)


def _refuse(where: str, unknown: set, known: Iterable[str]) -> None:
    if unknown:
        names = ', '.join(sorted(map(str, unknown)))
        raise VprError(f'{where}: no set is named {names}; there are {", ".join(sorted(known))}')


def _one_set(places: TrainingPlaces, folder: Path, positives: str | None, radius: float) -> None:
    groups = read_set(folder, positives)
    if positives == 'neighbours' and not any(
        b - a <= radius
        for orders in ([order for order, _ in members] for members in groups.values())
        for a, b in pairwise(orders)
    ):
        raise VprError(f'{folder}: no two orders are within radius {radius}; raise `radius`')
    for name, members in groups.items():
        group = f'{folder.name}/{name}'
        indices = places.take((path for _, path in members), folder.name)
        if positives == 'place' and name:
            places.add(indices, folder.name, group)
            continue
        at, reach = list(range(len(members))), 0.0
        if positives == 'neighbours':
            at, reach = [order for order, _ in members], radius
        for k, index in enumerate(indices):
            near = indices[bisect_left(at, at[k] - reach) : bisect_right(at, at[k] + reach)]
            if index is not None:
                apart = _APART_PICTURES * (reach or 1)
                places.add([index, *near], folder.name, group, (at[k],), apart)


def read_set(folder: Path, positives: str | None) -> dict[str, list[tuple[float, Path]]]:
    """(order, picture) of an index set, sorted, by place; of neighbours, by walk through a place.

    A walk ends where the folder changes or what stands in the files' names before their number.
    """
    table = folder / 'index.csv'
    rows = read_rows(table, ('file', 'place', 'order'))
    orders = [_float(row['order']) for _, row in rows]
    bad = next((k for k, order in enumerate(orders) if not math.isfinite(order)), None)
    if bad is not None and positives == 'neighbours':
        line, row = rows[bad]
        raise VprError(f'{table}:{line}: order is "{row["order"]}", neighbours need a number')
    if bad is not None:
        orders = list(map(float, range(len(rows))))
    walks = [(row['place'], _walk_of(row['file'])) for _, row in rows]
    sizes = Counter(walks)
    groups: dict[str, list[tuple[float, Path]]] = defaultdict(list)
    for (_, row), (place, walk), order in zip(rows, walks, orders, strict=True):
        # What is before the number tells nothing where no other picture has it.
        split = positives == 'neighbours' and sizes[place, walk] > 1
        groups[f'{place}/{walk}' if split else place].append((order, folder / row['file']))
    return {name: sorted(members, key=lambda m: m[0]) for name, members in groups.items()}


def _walk_of(file: str) -> str:
    path = Path(file)
    return str(path.parent / re.sub(r'\d[\d.]*(?=\D*$)', '', path.stem))


def _float(text: str | None) -> float:
    try:
        return float(text or 'nan')
    except ValueError:
        return math.nan


def _walks(places, base, *, paths, spacing=5.0, metres=3.0, degrees=40.0) -> None:
    """Several walks through one world: a place every `spacing` metres of the first."""
    walks = [read_source(base / path) for path in paths]
    for path, walk in zip(paths, walks, strict=True):
        if any(frame.pose is None for frame in walk):
            raise VprError(f'{base / path}: has no poses; walks need a poses.csv')
    domain = str((base / paths[0]).parent)
    indices = [places.take((f.path for f in walk), domain) for walk in walks]
    last: Frame | None = None
    for frame in walks[0]:
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
    for folder in sorted(p for p in _folder(base / path).glob('*') if p.is_dir()):
        images = sorted(p for p in folder.iterdir() if p.suffix.lower() in _IMAGES)
        places.add(places.take(images, str(path)), str(path), str(folder))


_READERS = {'sets': _sets, 'walks': _walks, 'folders': _folders, 'gsv': read_gsv}


class PlaceBatches:
    """`batch(step)`: P places with K views each, a function of (seed, step) alone.

    Entries are (picture, view, anchor), place by place; different pictures first, then further
    views of the same ones. The first K // 2 of a place and the rest share no view of a picture,
    unless there is no other. A domain is drawn by its weight, else by the root of its places'
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
            if domains is None or domains & _names(anchor.domain):
                of[anchor.domain].append(i)
        known = {a.domain for a in places.anchors}
        _refuse('domains', (domains or set()).difference(*map(_names, known)), known)
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
        for k in range(min(self.views, self.views_of_picture * len(pictures))):
            turn, at = divmod(k, len(pictures))
            view = (shift[at] + turn) % self.views_of_picture
            entries.append((int(pictures[at]), int(view), anchor))
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
    """What `domains` may call a domain: its whole name, or a folder of its path."""
    return {domain, *Path(domain).parts}


def summary(places: TrainingPlaces) -> str:
    """A line for each domain: places, pictures."""
    lines = []
    for domain in dict.fromkeys(a.domain for a in places.anchors):
        anchors = [a for a in places.anchors if a.domain == domain]
        pictures = {i for a in anchors for i in a.pictures}
        lines.append(f'{domain:>30}: {len(anchors):6d} places, {len(pictures):6d} pictures')
    return '\n'.join(lines)

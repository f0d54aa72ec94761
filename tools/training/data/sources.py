# SPDX-License-Identifier: Apache-2.0
"""Read the sources: which pictures of sets, walks and folders show the same place.

The settings of a source are in `config`. A place with one picture is taught by two views of it.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from functools import partial
from itertools import pairwise, permutations
from pathlib import Path

from ashtkd_ros.errors import VprError
from ashtkd_ros.files.tables import read_rows
from ashtkd_ros.geometry.angles import wrap_radians
from ashtkd_ros.traverses.frame import Frame
from ashtkd_ros.traverses.image_folder import read_source
from tools.training.config import FoldersSource, GsvSource, SetsSource, Source, WalksSource
from tools.training.data.gsv import read_gsv
from tools.training.data.places import TrainingPlaces, refuse_unknown

_APART_METRES = 15.0
# Where a place is in its group, and what is nearer may be the same: all of the group.
_NEVER_NEGATIVE = (0.0,), math.inf
# Rules by which the places of index.csv tell which pictures are right, and which are wrong.
PLACE_RULES = ('neighbours', 'place', 'camera', 'tour')
_IMAGES = ('.jpg', '.jpeg', '.png', '.webp', '.bmp')


def read_places(sources: Sequence[Source]) -> TrainingPlaces:
    """The places of all sources; VprError names a source that cannot be read or is empty."""
    places = TrainingPlaces()
    for source in sources:
        before = len(places.places)
        _READERS[type(source)](places, source)
        added = {a.domain for a in places.places[before:]}
        if not added:
            where = source.paths[0] if isinstance(source, WalksSource) else source.path
            raise VprError(
                f'{where}: the source holds no place with a picture that is there; correct its '
                'settings or remove it'
            )
        if source.weight is not None:
            places.weights |= dict.fromkeys(added, source.weight)
    if not places.places:
        raise VprError('no places to learn from; add a source under `sources`')
    return places


def _folder(path: Path) -> Path:
    if not path.is_dir():
        raise VprError(f'{path}: no such folder; correct the path of the source')
    return path


def _read_sets(places: TrainingPlaces, source: SetsSource) -> None:
    tables = sorted(_folder(source.path).glob('*/index.csv'))
    folders = {table.parent.name: table.parent for table in tables}
    for key, names in (('only', source.only or ()), ('positives', source.positives)):
        refuse_unknown(f'{source.path}: {key}', set(names) - set(folders), folders)
    for name, folder in folders.items():
        if source.only is None or name in source.only:
            _read_set(places, folder, source.positives.get(name), source)


def _read_set(
    places: TrainingPlaces, folder: Path, positives: str | None, source: SetsSource
) -> None:
    if positives in _OTHER_RULES:
        _OTHER_RULES[positives](places, folder)
        return
    groups, radius = set_members(folder, positives), source.radius
    if positives == 'neighbours' and not any(
        b - a <= radius
        for orders in ([order for order, _ in members] for members in groups.values())
        for a, b in pairwise(orders)
    ):
        raise VprError(f'{folder}: no two orders are within radius {radius:g}; raise `radius`')
    for name, members in groups.items():
        group = f'{folder.name}/{name}'
        indices = places.take((path for _, path in members), folder.name)
        if positives in ('place', 'camera') and name:
            places.add(indices, folder.name, group, still=positives == 'camera')
            continue
        at, reach = list(range(len(members))), 0.0
        if positives == 'neighbours':
            at, reach = [order for order, _ in members], radius
        for k, index in enumerate(indices):
            near = indices[bisect_left(at, at[k] - reach) : bisect_right(at, at[k] + reach)]
            if index is not None:
                apart = source.apart * (reach or 1)
                places.add([index, *near], folder.name, group, (at[k],), apart)


def _read_tours(places: TrainingPlaces, folder: Path) -> None:
    for name, members in set_members(folder, 'place').items():
        if not name:
            _add_unknown(places, folder, (path for _, path in members))
            continue
        indices = places.take((path for _, path in members), folder.name)
        places.add(indices, folder.name, f'{folder.name}/{name.split("/")[0]}', *_NEVER_NEGATIVE)


def _read_pairs(places: TrainingPlaces, folder: Path, with_place: bool = False) -> None:
    """A place for each picture that has partners; the others are of unknown place."""
    place_of = {path: n for n, m in set_members(folder, 'place').items() for _, path in m}
    partners = {path: {path} for path in place_of}
    table = folder / 'pairs.csv'
    for line, row in read_rows(table, ('file_a', 'file_b')):
        a, b = (folder / row[key] for key in ('file_a', 'file_b'))
        if unlisted := {a, b} - set(place_of):
            name = sorted(unlisted)[0].relative_to(folder)
            raise VprError(
                f'{table}:{line}: {name} is not in index.csv; add it or remove the line'
            )
        partners[a].add(b)
        partners[b].add(a)
    if with_place:
        for a, b in permutations(place_of, 2):
            if place_of[a] and place_of[a] == place_of[b]:
                partners[a].add(b)
    for path, near in partners.items():
        group = folder.name if with_place else f'{folder.name}/{place_of[path]}'
        indices = places.take([path, *sorted(near - {path})], folder.name)
        if indices[0] is not None and len(indices) > 1:
            places.add(indices, folder.name, group, *_NEVER_NEGATIVE)
    _add_unknown(places, folder, (path for path, near in partners.items() if len(near) == 1))


def _read_unknown(places: TrainingPlaces, folder: Path) -> None:
    members = set_members(folder, None).values()
    _add_unknown(places, folder, (path for of_place in members for _, path in of_place))


def _add_unknown(places: TrainingPlaces, folder: Path, paths: Iterable[Path]) -> None:
    for index in places.take(paths, folder.name):
        places.add([index], folder.name, folder.name, known=False)


_OTHER_RULES = {
    'tour': _read_tours,
    'pairs': _read_pairs,
    'place_or_pairs': partial(_read_pairs, with_place=True),
    'none': _read_unknown,
}


def set_members(folder: Path, positives: str | None) -> dict[str, list[tuple[float, Path]]]:
    """The pictures of an index set by place, each (order, file), in this order.

    With `positives` neighbours they are grouped by walk through a place. A walk ends where the
    folder changes, or the part of the file names before their number. VprError for a bad table.
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
        # The part before the number tells nothing where no other picture has it.
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


def _read_walks(places: TrainingPlaces, source: WalksSource) -> None:
    walks = [read_source(path) for path in source.paths]
    for path, walk in zip(source.paths, walks, strict=True):
        if any(frame.pose is None for frame in walk):
            raise VprError(f'{path}: has no poses; walks need a poses.csv')
    domain = str(source.paths[0].parent)
    indices = [places.take((f.file for f in walk), domain) for walk in walks]
    last: Frame | None = None
    for frame in walks[0]:
        if last is not None and _distance(frame, last) < source.spacing:
            continue
        last = frame
        near = [
            index
            for walk, of_walk in zip(walks, indices, strict=True)
            for other, index in zip(walk, of_walk, strict=True)
            if _distance(frame, other) <= source.metres and _turn(frame, other) <= source.degrees
        ]
        places.add(near, domain, domain, (frame.pose.x, frame.pose.y), _APART_METRES)


def _distance(a: Frame, b: Frame) -> float:
    return math.dist((a.pose.x, a.pose.y), (b.pose.x, b.pose.y))


def _turn(a: Frame, b: Frame) -> float:
    return abs(math.degrees(wrap_radians(a.pose.yaw - b.pose.yaw)))


def _read_folders(places: TrainingPlaces, source: FoldersSource) -> None:
    domain = str(source.path)
    for folder in sorted(p for p in _folder(source.path).glob('*') if p.is_dir()):
        images = sorted(p for p in folder.iterdir() if p.suffix.lower() in _IMAGES)
        places.add(places.take(images, domain), domain, str(folder))


_READERS = {
    SetsSource: _read_sets,
    WalksSource: _read_walks,
    FoldersSource: _read_folders,
    GsvSource: read_gsv,
}

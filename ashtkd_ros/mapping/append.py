# SPDX-License-Identifier: Apache-2.0
"""Further recordings are added to a map: embedded as for a map of their own, then joined to it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

from ashtkd_ros.mapping.additions import check_additions, shared_names
from ashtkd_ros.mapping.build import Builder, MapOptions
from ashtkd_ros.mapping.experiences import SamePlace, places_of
from ashtkd_ros.mapping.journal import Journal
from ashtkd_ros.mapping.keyframes import KeyframeOptions
from ashtkd_ros.mapping.revision import Revision, Target, place_count, target_of
from ashtkd_ros.maps.description import MapInfo, encodable
from ashtkd_ros.maps.map_rows import descriptors_of, whole
from ashtkd_ros.maps.place_map import PlaceMap
from ashtkd_ros.maps.places import Places
from ashtkd_ros.maps.places_rows import joined, some_rows, with_columns, with_one_name
from ashtkd_ros.network.embedder import Embedder
from ashtkd_ros.traverses.traverse import Traverse


@dataclass(frozen=True)
class AppendOptions:
    """How recordings are added.

    `same`: a picture that shows a place of the map so becomes another look of it; None: each is a
    new place. `workers`: images embedded at the same time, 0: one on each core.
    """

    keyframes: KeyframeOptions = field(default_factory=KeyframeOptions)
    same: SamePlace | None = None
    workers: int = 0


@dataclass(frozen=True)
class Appended:
    """What came of it: the new map, numbers of images by their fate, of new places, of further
    looks of places."""

    map: PlaceMap
    counts: Counter
    places: int
    looks: int


def append(
    folder: Path,
    traverses: Sequence[Traverse],
    embedder: Embedder,
    options: AppendOptions,
    out: Path | None = None,
    arguments: str = '',
    notify: Callable[..., None] = lambda *lines: None,
) -> Appended:
    """Add the traverses to the map in `folder`; the result goes to `out`, or in its place.

    `notify` gets lines for the user before and after the work. What a killed call has embedded is
    noted down: the same call goes on there. VprError where a traverse does not fit, see
    `check_additions`, or gives no place.
    """
    target = target_of(folder, out)
    base = PlaceMap.load(folder, embedder, pictures=True, without_damaged=True)
    notify(*base.warnings, *check_additions(base, traverses))
    how = MapOptions(
        options.keyframes,
        thumbnails=bool(base.places.pictures.any()),
        local=base.local is not None,
        workers=options.workers,
    )
    builder = Builder(traverses, embedder, how)
    with Journal(target.folder, builder.key, embedder.dimensions, builder.local) as journal:
        builder.run(journal)
        builder.finish()
        new = builder.place_map(journal)
        new.folder = journal.folder  # has its pictures
        found = _join(base, new, builder.frame, options, target, embedder, arguments)
        if options.same is None:
            known = len(base.places)
            notify(*shared_names(base.places, Places.of(found.map.places[known:])))
        journal.remove()
    return replace(found, counts=builder.counts)


def _join(
    base: PlaceMap,
    new: PlaceMap,
    frame: str,
    options: AppendOptions,
    target: Target,
    embedder: Embedder,
    arguments: str,
) -> Appended:
    """Put the map of both in place."""
    places = with_columns(new.places, traverses=new.places.traverses + len(base.all_traverses))
    ids, next_id = numbers(base, new, options.same)
    both = with_one_name(joined([base.places, with_columns(places, ids=ids)]))
    info = _info(base, new, frame, options.keyframes, next_id)
    revision = Revision([whole(base), whole(new)], both, info)
    revision.calibrate(embedder, options.workers)
    saved = revision.save(target, 'append', arguments, base.places)
    added = place_count(both) - place_count(base.places)
    return Appended(saved, Counter(), added, len(ids) - added)


def numbers(base: PlaceMap, new: PlaceMap, same: SamePlace | None) -> tuple[np.ndarray, int]:
    """The number of the place of each new picture, int64 (K,), and the next free number.

    The traverses come one after another, so that the second finds the places of the first.
    """
    next_id = base.info.next_id
    if same is None:
        return np.arange(next_id, next_id + len(new.places)), next_id + len(new.places)
    known, rows, added = base.places, descriptors_of(base), descriptors_of(new)
    ids = np.full(len(new.places), -1, np.int64)
    for number in np.unique(new.places.traverses).tolist():
        here = np.flatnonzero(new.places.traverses == number)
        part = some_rows(new.places, here)
        found = places_of(part, added[here], known, rows, same)
        fresh = np.flatnonzero(found < 0)
        found[fresh] = np.arange(next_id, next_id + len(fresh))
        next_id, ids[here] = next_id + len(fresh), found
        known = joined([known, with_columns(part, ids=found)])
        rows = np.concatenate([rows, added[here]])
    return ids, next_id


def _info(
    base: PlaceMap, new: PlaceMap, frame: str, keyframes: KeyframeOptions, next_id: int
) -> MapInfo:
    built = dict(base.info.built)
    built['traverses'] = [*base.all_traverses, *encodable(new.info.built['traverses'])]
    built.setdefault('keyframes', asdict(keyframes))
    if not _has_poses(base.places) and _has_poses(new.places):
        if 'origin' in new.info.built:
            built['origin'] = new.info.built['origin']
        return replace(base.info, frame=frame, built=built, next_id=next_id)
    return replace(base.info, built=built, next_id=next_id)


def _has_poses(places: Places) -> bool:
    return bool(places.posed.any())

# SPDX-License-Identifier: Apache-2.0
"""Places of training sets that are held back from training, to be asked about afterwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ashtkd_ros.errors import VprError
from ashtkd_ros.files.tables import read_rows
from tools.training.config import SetsSource, Source
from tools.training.data.places import TrainingPlaces, refuse_unknown


def held_back_folders(sources: Sequence[Source], every: Mapping[str, int]) -> dict[Path, set[str]]:
    """The folder of each set of `every` → the names of the places that are held back from it.

    `every`: name of a set → each how many-th of its scenes. A scene is what stands before "/" in
    the name of a place, by default the whole name; they are in order of their names. VprError for
    a set that no source reads, and for one with fewer scenes.
    """
    folders = {}
    for source in sources:
        if isinstance(source, SetsSource):
            tables = source.path.glob('*/index.csv')
            folders |= {t.parent.name: t.parent for t in tables if _is_read(source, t.parent.name)}
    refuse_unknown('held_back', set(every) - set(folders), folders)
    return {folders[name]: _held_back_places(folders[name], n) for name, n in every.items()}


def _is_read(source: SetsSource, name: str) -> bool:
    return source.only is None or name in source.only


def _held_back_places(folder: Path, every: int) -> set[str]:
    places = {row['place'] for _, row in read_rows(folder / 'index.csv', ('place',))} - {''}
    scenes = sorted({_scene(place) for place in places})
    if len(scenes) < max(every, 2):
        raise VprError(
            f'held_back: {folder.name} has {len(scenes)} scenes, so that each {every}th would '
            'be all or none; lower the number or leave the set out'
        )
    held = set(scenes[every - 1 :: every])
    return {place for place in places if _scene(place) in held}


def _scene(place: str) -> str:
    return place.partition('/')[0]


def without_held_back(
    places: TrainingPlaces, sources: Sequence[Source], every: Mapping[str, int]
) -> TrainingPlaces:
    """The same without every picture of a place that is held back; see `held_back_folders`."""
    out = set()
    for folder, held in held_back_folders(sources, every).items():
        rows = read_rows(folder / 'index.csv', ('file', 'place'))
        out |= {str((folder / row['file']).resolve()) for _, row in rows if row['place'] in held}
    return places.without(out) if out else places

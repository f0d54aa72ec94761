# SPDX-License-Identifier: Apache-2.0
"""The result of a build, in lines for the user."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ashtkd_ros.files.reading import is_file
from ashtkd_ros.geometry.trajectory import REASONS
from ashtkd_ros.maps.descriptor_index import DescriptorIndex
from ashtkd_ros.maps.folder import ROUTE
from ashtkd_ros.maps.index_kinds import FLAT
from ashtkd_ros.maps.place_map import PlaceMap, place_spacing
from ashtkd_ros.text import counted
from ashtkd_ros.traverses.traverse import Traverse


def summary(
    place_map: PlaceMap, counts: Counter, out: Path | str, wants_local: bool = True
) -> list[str]:
    """The result of a build: places, numbers of images by their fate, origin on earth.

    `wants_local`: whether local features were asked for; that there are none is said with the
    reason.
    """
    places = place_map.places
    spacing = place_spacing(places)
    apart = '' if places.posed.any() else ', without poses'
    apart = f', {spacing:.1f} m apart' if spacing else apart
    model = place_map.info.model['name']
    lines = [f'{out}: {counted(len(places), "place")}{apart}, model {model}']
    rest = ', '.join(f'{n} {what}' for what, n in counts.items() if what != 'images' and n)
    lines.append(f'{counted(counts["images"], "image")}{": " if rest else ""}{rest}')
    lines += index_lines(place_map.index)
    origin = place_map.info.built.get('origin')
    if origin:
        where = f'{origin["lat"]:.7f}, {origin["lon"]:.7f}, {origin["alt"]:.1f} m'
        lines.append(f'x east, y north, z up of {where}')
    if place_map.local is None:
        why = f', since model {model} gives none' if wants_local else ''
        lines.append(f'no local features{why}: answers are not verified')
    return lines


def index_lines(index: DescriptorIndex) -> list[str]:
    """What kind of index a map has and why, where it is not the usual one."""
    return [] if index.kind == FLAT else [f'index: {index.explained}']


def notes_after_build(
    traverses: Sequence[Traverse], printed: Sequence[int], counts: Counter
) -> list[str]:
    """Notes for the user after a build.

    `printed`: how many notes of each traverse were printed before the build; `counts`: numbers of
    images by their fate.
    """
    lines = []
    for traverse, before in zip(traverses, printed, strict=True):
        new = [*traverse.notes[before:], traverse.depth.text_of_brighter()]
        lines += [f'{traverse.path}: {text}' for text in new if text]
    unposed = sum(counts[why] for why in REASONS[1:])
    if 2 * unposed > counts['images']:
        lines.append(
            f'{unposed} of {counts["images"]} images have no pose, so they are not places; '
            '--dry-run shows what the poses cover; give other poses with --pose-topic (bags) or '
            '--trajectory'
        )
    return lines


def route_line(place_map: PlaceMap, out: Path) -> tuple[str, str]:
    """Where the picture of the route is, or a note if there is none; both empty without poses."""
    if not place_map.places.posed.any():
        return '', ''
    if is_file(out / ROUTE):
        return f'route: {out / ROUTE}', ''
    return '', 'the route could not be drawn; the map is complete without it'

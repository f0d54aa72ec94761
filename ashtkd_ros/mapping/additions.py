# SPDX-License-Identifier: Apache-2.0
"""Whether pictures of other recordings fit into a map: frame, origin, odometry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ashtkd_ros.errors import VprError
from ashtkd_ros.geometry.geodesy import GeoOrigin
from ashtkd_ros.geometry.pose_checks import ODOMETRY_KEY, is_odometry
from ashtkd_ros.mapping.source_checks import POSES_IN_MAP, common_frame
from ashtkd_ros.maps.description import encodable
from ashtkd_ros.maps.place_map import PlaceMap
from ashtkd_ros.maps.places import Places
from ashtkd_ros.text import counted, one_line
from ashtkd_ros.traverses.opening import images_described
from ashtkd_ros.traverses.traverse import Traverse

_MOST_NAMES = 3  # that a note shows


def check_additions(place_map: PlaceMap, traverses: Sequence[Traverse]) -> list[str]:
    """VprError for a source that the map has, or whose poses are not in the map's frame.

    Returns notes for the user on sources that fit badly.
    """
    known = {
        images_described(place_map.traverses[number]): number
        for number in np.unique(place_map.places.traverses).tolist()
        if number < len(place_map.traverses)
    }
    for traverse in traverses:
        images = images_described(encodable(traverse.describe()))
        if images in known:
            raise VprError(
                f'{traverse.path}: is in the map already, as traverse {known[images]}; drop '
                'that first to add it anew'
            )
    frame, posed = common_frame(traverses), [t for t in traverses if t.has_poses]
    if posed and place_map.places.posed.any():
        check_frame(str(posed[0].path), frame, posed[0].origin, place_map)
        for traverse in posed:
            if traverse.by_odometry:
                raise _odometry(str(traverse.path), frame)
    return pose_notes(place_map, {str(t.path): t.has_poses for t in traverses})


def check_frame(name: str, frame: str, origin: GeoOrigin | None, place_map: PlaceMap) -> None:
    """VprError where poses in `frame` with `origin` cannot stand in the map; `name`: of what."""
    info = place_map.info
    if (frame, origin) == (info.frame, info.origin):
        return
    theirs, ours = _frame_text(frame, origin), _frame_text(info.frame, info.origin)
    raise VprError(
        f'{name}: its poses are in {theirs}, those of {place_map.folder} in {ours}; one map needs '
        'one frame: give other poses, or keep a map of each'
    )


def odometry_of(place_map: PlaceMap) -> list[Mapping]:
    """The traverses of a map whose places have poses of odometry."""
    places = place_map.places
    numbers = np.unique(places.traverses[places.posed]).tolist()
    described = [place_map.traverses[n] for n in numbers if n < len(place_map.traverses)]
    by_frame = is_odometry(place_map.info.frame)
    return [t for t in described if by_frame or t.get(ODOMETRY_KEY)]


def check_odometry(place_map: PlaceMap, other: PlaceMap) -> None:
    """VprError where both maps have places of odometry, and not of the same drives."""
    first = [images_described(t) for t in odometry_of(place_map)]
    for traverse in odometry_of(other):
        if place_map.places.posed.any() and images_described(traverse) not in first:
            raise _odometry(str(other.folder), other.info.frame)


def _odometry(name: str, frame: str) -> VprError:
    return VprError(
        f'{name}: has poses of odometry in "{frame}", which begins anew with each drive, so they '
        f'do not fit those of the map; {POSES_IN_MAP}, or leave them out (--pose-topic none)'
    )


def _frame_text(frame: str, origin: GeoOrigin | None) -> str:
    if origin is None:
        return f'"{frame}"'
    return f'"{frame}" of NavSatFix about {origin.lat:.7f}, {origin.lon:.7f}'


def shared_names(known: Places, new: Places) -> list[str]:
    """A note for new places that have names of known ones without being the same; else none."""
    numbers: dict[str, set[int]] = {}
    for number, label in zip(known.ids.tolist(), known.labels, strict=True):
        numbers.setdefault(label, set()).add(number)
    named = zip(new.ids.tolist(), new.labels, strict=True)
    shared = {i: label for i, label in named if label and i not in numbers.get(label, {i})}
    if not shared:
        return []
    names = list(dict.fromkeys(one_line(label) for label in shared.values()))
    some = ', '.join(f'"{name}"' for name in names[:_MOST_NAMES])
    some += ', ...' if len(names) > _MOST_NAMES else ''
    return [
        f'{counted(len(shared), "new place")} with names that other places had before ({some}): '
        'places of one name count as neighbours; give them names of their own with map_tools '
        'relabel, or, if they are the same places, append with --experiences'
    ]


def pose_notes(place_map: PlaceMap, others: Mapping[str, bool]) -> list[str]:
    """A note on what has poses where the map has none, or the other way round; else none.

    `others`: name → whether it has poses.
    """
    has = bool(place_map.places.posed.any())
    odd = [name for name, poses in others.items() if poses != has]
    if not odd:
        return []
    which = 'no poses, which the map has' if has else 'poses, which the map does not have'
    return [
        f'{", ".join(odd)}: {which}; places of both kinds in one map are told apart by their '
        'numbers only; better build a map of each'
    ]

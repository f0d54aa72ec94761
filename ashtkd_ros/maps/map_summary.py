# SPDX-License-Identifier: Apache-2.0
"""A summary of a map: what is in it, and where its places are."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from ashtkd_ros.geometry.pose_checks import ODOMETRY_KEY, is_odometry
from ashtkd_ros.maps.description import TRUST, MapInfo
from ashtkd_ros.maps.descriptor_file import DESCRIPTORS
from ashtkd_ros.maps.folder import INDEX, ROUTE
from ashtkd_ros.maps.history import history_line
from ashtkd_ros.maps.index_kinds import FLAT
from ashtkd_ros.maps.local_file import LOCAL_FILE
from ashtkd_ros.maps.place_map import PlaceMap, place_spacing
from ashtkd_ros.maps.places import Places
from ashtkd_ros.maps.thumbnails import thumbnail_name


def summarise(place_map: PlaceMap) -> dict[str, str]:
    """Facts of a map: name → value as text. Distances are in metres."""
    info, places = place_map.info, place_map.places
    at = places.positions[places.posed]
    facts = {
        'places': f'{_counts(places)}, {len(at)} with a pose in frame "{info.frame}"',
        'model': f'{info.model["name"]} {info.model["sha256"][:16]}',
        'descriptor': f'{place_map.index.d} x float32',
        'index': place_map.index.explained,
        'local': (
            f'{place_map.local.shape} x int8, answers can be verified'
            if place_map.local is not None
            else place_map.unverified
        ),
        'source': ', '.join(t['source'] for t in place_map.traverses) or 'unknown',
    }
    facts |= {'history': line} if (line := history_line(info.built)) else {}
    facts |= trust_lines(info)
    if len(at) and (is_odometry(info.frame) or any(t.get(ODOMETRY_KEY) for t in info.traverses)):
        facts['poses'] = (
            f'from odometry: frame "{info.frame}" begins anew with each drive, and AMCL discards '
            'such poses'
        )
    if len(at):
        x, y, _ = np.ptp(at, axis=0)
        facts['extent'] = f'{x:.1f} x {y:.1f} m'
        facts['spacing'] = f'{place_spacing(places):.2f} m'
    if place_map.folder is not None:
        facts['on disk'] = _sizes(place_map.folder, place_map)
    return facts


def _counts(places: Places) -> str:
    """How many places, and how many pictures where those are more."""
    more = f' ({len(places)} pictures)' if places.has_experiences else ''
    return f'{len(places.first_rows)}{more}'


def trust_lines(info: MapInfo) -> dict[str, str]:
    """From which confidence on the map's answers are expected to be right how often, as text."""
    return {
        f'{100 * row["precision"]:g} % right': (
            f'from confidence {row["min_confidence"]:.3f} on, expected of '
            f'{100 * row["recall"]:.0f} % of the right answers'
        )
        for row in info.built.get(TRUST, [])
    }


def _sizes(folder: Path, place_map: PlaceMap) -> str:
    """The sizes of the map's largest files, in megabytes of 10^6 bytes."""
    pictures = [thumbnail_name(p.row) for p in place_map.places if p.thumbnail]
    sizes = {'index': _size(folder / INDEX)}
    if place_map.index.kind != FLAT:
        sizes['descriptors'] = _size(folder / DESCRIPTORS)
    if place_map.local is not None:
        sizes['local features'] = _size(folder / LOCAL_FILE)
    sizes['pictures'] = sum(_size(folder / name) for name in (*pictures, ROUTE))
    return ', '.join(f'{name} {size / 1e6:.1f} MB' for name, size in sizes.items())


def _size(path: Path) -> int:
    try:
        return os.stat(path).st_size
    except OSError:  # none, or the map has just been replaced
        return 0

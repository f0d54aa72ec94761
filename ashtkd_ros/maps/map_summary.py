# SPDX-License-Identifier: Apache-2.0
"""A summary of a map: what is in it, and where its places are."""

from __future__ import annotations

from ashtkd_ros.geometry.pose_checks import ODOMETRY_KEY, is_odometry
from ashtkd_ros.maps.place_map import PlaceMap, place_spacing


def summarise(place_map: PlaceMap) -> dict[str, str]:
    """Facts of a map: name → value as text. Distances are in metres."""
    info, places = place_map.info, place_map.places
    poses = [p.pose for p in places if p.pose is not None]
    facts = {
        'places': f'{len(places)}, {len(poses)} with a pose in frame "{info.frame}"',
        'model': f'{info.model["name"]} {info.model["sha256"][:16]}',
        'descriptor': f'{place_map.index.d} x float32, {type(place_map.index).__name__}',
        'source': ', '.join(t['source'] for t in place_map.traverses) or 'unknown',
    }
    if poses and (is_odometry(info.frame) or any(t.get(ODOMETRY_KEY) for t in info.traverses)):
        facts['poses'] = (
            f'from odometry: frame "{info.frame}" begins anew with each drive, and AMCL discards '
            'such poses'
        )
    if poses:
        xs, ys = [p.x for p in poses], [p.y for p in poses]
        facts['extent'] = f'{max(xs) - min(xs):.1f} x {max(ys) - min(ys):.1f} m'
        facts['spacing'] = f'{place_spacing(places):.2f} m'
    return facts

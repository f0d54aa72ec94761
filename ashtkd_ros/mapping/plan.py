# SPDX-License-Identifier: Apache-2.0
"""What a map would be made of, in lines for the user."""

from __future__ import annotations

from ashtkd_ros.mapping.keyframes import KeyframeOptions, moved, rule_of
from ashtkd_ros.text import counted
from ashtkd_ros.traverses.traverse import Traverse


def plan(traverse: Traverse, options: KeyframeOptions) -> list[str]:
    """What of a source would be used, in lines for the user."""
    rule = rule_of(traverse, options)
    places = {
        'distance': lambda: f'about {counted(_estimate(traverse, options), "place")} by distance',
        'change': lambda: 'places by change',
        'all': lambda: 'every image becomes a place',
    }
    return [*traverse.plan(), f'  {places[rule]()}', *(f'  {note}' for note in traverse.notes)]


def _estimate(traverse: Traverse, options: KeyframeOptions) -> int:
    """Number of places by distance, if every image is sharp."""
    count, last = 0, None
    for pose in traverse.estimated_poses():
        if pose is not None and moved(pose, last, options):
            count, last = count + 1, pose
    return count

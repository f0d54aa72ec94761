# SPDX-License-Identifier: Apache-2.0
"""The choice of the images that become places: those far or turned enough from the last."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ashtkd_ros.errors import VprError
from ashtkd_ros.geometry.angles import wrap_radians
from ashtkd_ros.geometry.pose import Pose
from ashtkd_ros.images.faults import MAX_BLUR, MIN_LIGHT
from ashtkd_ros.traverses.traverse import Traverse

RULES = ('auto', 'distance', 'change', 'all')
# Option → the rules that use it.
_USED_BY = {
    'metres': ('distance',),
    'degrees': ('distance',),
    'similarity': ('change',),
    'max_blur': ('distance', 'change'),
    'min_light': ('distance', 'change'),
}


@dataclass(frozen=True)
class KeyframeOptions:
    """How the images that become places are chosen.

    `rule`: one of RULES: by distance (needs poses), by visual change, or all images; "auto": see
    `Traverse.keyframe_rule`. By distance there is a new place after `metres` over ground or
    `degrees` of turn; by change as soon as the similarity with the last place is below
    `similarity`. `max_blur` and `min_light`: see `images.faults.fault`.
    """

    rule: str = 'auto'
    metres: float = 1.0
    degrees: float = 15.0
    similarity: float = 0.9
    max_blur: float = MAX_BLUR
    min_light: float = MIN_LIGHT


def moved(pose: Pose, last: Pose | None, options: KeyframeOptions) -> bool:
    """Whether `pose` is far or turned enough from the last place's."""
    if last is None:
        return True
    turn = abs(wrap_radians(pose.yaw - last.yaw))
    apart = math.hypot(pose.x - last.x, pose.y - last.y)  # the height from satellites is too noisy
    return apart >= options.metres or turn >= math.radians(options.degrees)


def options_of(built: Mapping[str, Any]) -> KeyframeOptions:
    """The options that a map was built with, as `built` of map.yaml tells; the default for what it
    does not tell. VprError where it says what cannot be."""
    given, default = built.get('keyframes', {}), KeyframeOptions()
    values = {}
    for name, usual in asdict(default).items():
        value = given.get(name, usual) if isinstance(given, dict) else None
        fits = value in RULES if name == 'rule' else type(value) in (int, float) and value >= 0
        if not fits:
            raise VprError(f'map.yaml is damaged: {name} of keyframes cannot be; rebuild the map')
        values[name] = value
    return KeyframeOptions(**values)


def rule_of(traverse: Traverse, options: KeyframeOptions) -> str:
    """The rule for a traverse; VprError if it is by distance and there are no poses."""
    if options.rule == 'auto':
        return traverse.keyframe_rule
    if options.rule == 'distance' and not traverse.has_poses:
        raise VprError(
            f'{traverse.path}: has no poses for keyframes by distance; use --keyframes change'
        )
    return options.rule


def unused_options(traverses: Sequence[Traverse], options: KeyframeOptions) -> list[str]:
    """Notes on options that the rules of all these traverses do not use."""
    rules, default = {rule_of(t, options) for t in traverses}, KeyframeOptions()
    chosen = ' and '.join(sorted(rules))
    return [
        f'--{name.replace("_", "-")} is for --keyframes {" or ".join(users)} and has no effect: '
        f'the places are chosen by --keyframes {chosen}'
        for name, users in _USED_BY.items()
        if getattr(options, name) != getattr(default, name) and not rules.intersection(users)
    ]

# SPDX-License-Identifier: Apache-2.0
"""The pictures that the simulated robot drives through: a walk a condition, rendered once."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tools.render.walk import Drive
from tools.render.walks import SHIPPED_TOWN, render_towns, town_folder

_SPACING_M = 1.25
# To the left of the lane, in metres: no two drives follow the same line.
_LATERAL_M = {'day': 0.8, 'dusk': 1.2, 'night': 1.0, 'rain': 0.6, 'fog': 1.4}


def drive_for(condition: str) -> Drive:
    """How the walk for a condition is rendered: once round."""
    seeds = {name: 41 + number for number, name in enumerate(_LATERAL_M)}
    return Drive(
        seed=seeds[condition],
        condition=condition,
        spacing=_SPACING_M,
        lateral=_LATERAL_M[condition],
        quality=85,
    )


def render_conditions(conditions: Iterable[str], folder: Path) -> Path:
    """Render what is not there yet; the folder with a walk for each condition, by its name.

    Errors as `render_towns`.
    """
    render_towns([SHIPPED_TOWN], folder, walks={name: drive_for(name) for name in conditions})
    return town_folder(folder, SHIPPED_TOWN)

# SPDX-License-Identifier: Apache-2.0
"""The pictures that the simulated robot drives through: a walk for each condition."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from tools import town
from tools.render.walks import DAY, SHIPPED_TOWN, render_towns, town_folder

_SHIPPED = (('day', town.DAY), ('dusk', town.DUSK))  # with the tests; they need no renderer
# Seed, and metres to the left of the lane: no two drives follow the same line.
_OTHERS = {'night': (41, 1.0), 'rain': (42, 0.6), 'fog': (43, 1.4)}


def walks_for(conditions: Iterable[str], folder: Path) -> dict[str, Path]:
    """Condition → folder of its walk; what is not shipped is rendered to `folder`, once.

    Errors as `render_towns`.
    """
    wanted = set(conditions)
    drives = {
        name: replace(DAY, seed=seed, condition=name, lateral=lateral)
        for name, (seed, lateral) in _OTHERS.items()
        if name in wanted
    }
    render_towns([SHIPPED_TOWN], folder, walks=drives)
    walks = {name: town_folder(folder, SHIPPED_TOWN) / name for name in drives}
    return walks | {name: walk for name, walk in _SHIPPED if name in wanted}

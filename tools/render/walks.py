# SPDX-License-Identifier: Apache-2.0
"""The walks that are always driven alike: those shipped, for evaluation, and for training.

The camera is moved to the left, towards the other lane: 1 m to the right of the lane stand parked
cars, and 3 m to the right the things on the pavement. A test holds that nothing is run into.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

from tqdm import tqdm

from tools.render.conditions import CONDITIONS
from tools.render.walk import Drive, is_rendered, render_walk

SHIPPED_TOWN = 11
TRAINING_TOWNS = (22, 23, 31, 32, 33)
EVALUATION_TOWNS = (11, 21)
DAY = Drive(seed=1, spacing=1.75, quality=72)
SHIPPED = {
    'day': DAY,
    'dusk': Drive(
        seed=5, condition='dusk', spacing=1.75, phase=0.875, lateral=1.0, lateral_jitter=0.1,
        yaw_jitter=2.0, start=30000.0, quality=72,
    ),
}  # fmt: skip


def query_walks() -> dict[str, Drive]:
    """Name → drive: `again` at every second place of DAY, and what differs from it in one thing.

    All have other parked cars, lit windows and clouds than DAY. Metres to the left and ahead,
    degrees to the left, or another light.
    """
    again = replace(DAY, seed=2, spacing=2 * DAY.spacing, start=30000.0)
    walks = {'again': again}
    walks |= {name: replace(again, condition=name) for name in CONDITIONS if name != 'day'}
    walks |= {f'left{m}': replace(again, lateral=float(m)) for m in (1, 2, 3)}
    walks |= {f'turned{degrees}': replace(again, yaw=float(degrees)) for degrees in (10, 20, 30)}
    return walks | {f'forward{m}': replace(again, phase=float(m)) for m in (2, 4)}


def training_walks() -> dict[str, Drive]:
    """Name → drive with depth: steps sideways and forward, turns, lights, lenses, other cars."""
    changes: dict[str, dict[str, object]] = {
        'day': {'lateral': 0.5},
        'dusk': {'lateral': 1.5, 'phase': 1.25, 'condition': 'dusk'},
        'night': {'lateral': 1.0, 'condition': 'night'},
        'fog': {'lateral': 2.5, 'condition': 'fog'},
        'rain': {'lateral': 2.0, 'phase': 1.25, 'condition': 'rain'},
        'left': {'lateral': 2.5, 'yaw': -10.0},
        'turned_left': {'lateral': 1.0, 'yaw': 30.0, 'condition': 'dusk'},
        'turned_right': {'lateral': 2.0, 'yaw': -20.0},
        'narrow': {'lateral': 2.5, 'hfov': 60.0, 'condition': 'night'},
        'wide': {'lateral': 1.5, 'hfov': 100.0, 'phase': 1.25, 'condition': 'rain'},
    }
    base = Drive(spacing=2.5, lateral_jitter=0.3, yaw_jitter=3.0, depth=True)
    return {
        name: replace(base, seed=100 + number, **change)
        for number, (name, change) in enumerate(changes.items())
    }


def town_folder(folder: Path, town: int) -> Path:
    """The folder in `folder` with the walks of a town, one folder each, by name."""
    return folder / f'town{town}'


def render_towns(
    towns: Sequence[int], folder: Path, workers: int = 0, walks: Mapping[str, Drive] | None = None
) -> None:
    """Render walks of each town to `folder`/townT/NAME; by default the day and the query walks.

    What is there with the same settings stays. `workers`: processes; 0: one for each core.

    VprError: a folder holds something else, or cannot be written.
    """
    walks = {'day': DAY} | query_walks() if walks is None else walks
    jobs = [
        (town, drive, out)
        for town in towns
        for name, drive in walks.items()
        if not is_rendered(town, drive, out := town_folder(folder, town) / name)
    ]
    if not jobs:
        return
    processes = min(workers or os.cpu_count() or 1, len(jobs))
    # Spawned: a process that was forked from one with threads can hang.
    with ProcessPoolExecutor(processes, get_context('spawn')) as pool:
        rendered = pool.map(render_walk, *zip(*jobs, strict=True))
        for _ in tqdm(rendered, desc='render', total=len(jobs), unit='walk', disable=None):
            pass

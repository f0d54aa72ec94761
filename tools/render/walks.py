# SPDX-License-Identifier: Apache-2.0
"""The walks that are always driven alike: the two that are shipped, and a town's day with queries.

The camera is moved to the left, towards the other lane: 1 m to the right of the lane stand parked
cars, and 3 m to the right the things on the pavement. A test holds that nothing is run into.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

from tqdm import tqdm

from tools.render.conditions import CONDITIONS
from tools.render.walk import Drive, is_rendered, render_walk

SHIPPED_TOWN = 11
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


def town_folder(folder: Path, town: int) -> Path:
    """The folder in `folder` with the walks of a town, one folder each, by name."""
    return folder / f'town{town}'


def render_towns(towns: Sequence[int], folder: Path, workers: int = 0) -> None:
    """Render the day and the query walks of each town to `folder`/townT/NAME.

    What is there with the same settings stays. `workers`: processes; 0: one for each core.

    VprError: a folder holds something else, or cannot be written.
    """
    walks = {'day': DAY} | query_walks()
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

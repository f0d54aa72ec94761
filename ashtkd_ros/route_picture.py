# SPDX-License-Identifier: Apache-2.0
"""A map's places seen from above."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from ashtkd_ros.errors import VprError
from ashtkd_ros.place_map import Place


def write_route_picture(path: Path, places: Sequence[Place]) -> None:
    """PNG of the places that have a pose, a colour a traverse, start and end marked."""
    figure = Figure(figsize=(7, 6), layout='constrained')
    axes = figure.subplots()
    for number in sorted({p.traverse for p in places}):
        poses = [p.pose for p in places if p.traverse == number and p.pose is not None]
        if not poses:
            continue
        xy = np.array([(pose.x, pose.y) for pose in poses])
        (line,) = axes.plot(*xy.T, '.-', lw=0.8, ms=3, label=f'traverse {number}')
        axes.plot(*xy[0], 'o', ms=9, mfc='none', color=line.get_color())
        axes.plot(*xy[-1], 's', ms=9, mfc='none', color=line.get_color())
    axes.set(xlabel='x [m]', ylabel='y [m]', aspect='equal')
    axes.set_title(f'{len(places)} places; circle: start, square: end', fontsize=10)
    axes.grid(alpha=0.3)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8)
    try:
        figure.savefig(path, dpi=100, metadata={'Software': None})
    except OSError as error:
        raise VprError(f'{path}: cannot be written ({error.strerror or error})') from error

# SPDX-License-Identifier: Apache-2.0
"""The picture of a map: its places from above."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ashtkd_ros.maps.place_map import Place
from ashtkd_ros.sampling import thin
from ashtkd_ros.text import counted, one_line, reason_of

_NUMBERS, _ARROWS = 12, 8  # for each traverse, evenly spread
_IN_LEGEND = 12  # traverses; a longer legend would hide the route
_FARTHEST = 1e9  # metres; nothing on earth is further, and Matplotlib is exact up to here


def write_route_picture(path: Path, places: Sequence[Place], frame: str) -> str:
    """Write a PNG of the places that have a pose in `frame`, each traverse in a colour.

    Some places have their numbers beside them, and arrows show the direction of the drive. The
    result is empty, or the reason why there is no picture: a map is saved without it as well.
    """
    try:
        ends = (max(abs(p.pose.x), abs(p.pose.y)) for p in places if p.pose is not None)
        far = max(ends, default=0.0)
        if not far <= _FARTHEST:
            raise ValueError(f'there is a pose at {far:.3g} m')
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # the font may lack letters
            figure = _figure(places, frame)
            figure.savefig(path, dpi=100, metadata={'Software': None})
    except Exception as error:  # Matplotlib may raise anything
        with contextlib.suppress(OSError):
            Path(path).unlink()
        return reason_of(error)
    return ''


def _figure(places: Sequence[Place], frame: str) -> Figure:
    figure = Figure(figsize=(7, 6), layout='constrained')
    axes = figure.subplots()
    for number in sorted({p.traverse for p in places}):
        posed = [p for p in places if p.traverse == number and p.pose is not None]
        if posed:
            _draw(axes, number, posed)
    # Without parse_math=False, Matplotlib would read $ in a name as a formula.
    axes.set_xlabel('x [m]', parse_math=False)
    axes.set_ylabel('y [m]', parse_math=False)
    axes.set_aspect('equal', adjustable='datalim')
    title = f'{counted(len(places), "place")} in frame "{_plain(frame)}"'
    title += '; circle: start, square: end'
    axes.set_title(title, fontsize=10, parse_math=False)
    axes.grid(alpha=0.3)
    if 0 < len(axes.get_legend_handles_labels()[0]) <= _IN_LEGEND:
        axes.legend(fontsize=8)
    return figure


def _draw(axes: Axes, number: int, places: Sequence[Place]) -> None:
    xy = np.array([(p.pose.x, p.pose.y) for p in places])
    (line,) = axes.plot(*xy.T, '.-', lw=0.8, ms=3, label=f'traverse {number}')
    colour = line.get_color()
    axes.plot(*xy[0], 'o', ms=9, mfc='none', color=colour)
    axes.plot(*xy[-1], 's', ms=9, mfc='none', color=colour)
    for i in thin(len(places), _NUMBERS):
        axes.annotate(
            str(places[i].id),
            xy[i],
            xytext=(4, 4),
            textcoords='offset points',
            fontsize=7,
            color=colour,
        )
    steps = np.flatnonzero(np.linalg.norm(np.diff(xy, axis=0), axis=1) > 0)
    for i in steps[thin(len(steps), _ARROWS)]:
        middle = (xy[i] + xy[i + 1]) / 2
        style = {'arrowstyle': '-|>', 'color': colour, 'shrinkA': 0, 'shrinkB': 0}
        # The arrow is short, so that its head has the same size whether places are dense or not.
        axes.annotate('', middle, middle - 0.01 * (xy[i + 1] - xy[i]), arrowprops=style)


def _plain(name: str) -> str:
    text = one_line(name.encode('utf-8', 'replace').decode())
    return text if len(text) <= 40 else f'{text[:39]}…'

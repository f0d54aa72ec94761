# SPDX-License-Identifier: Apache-2.0
"""One picture of a map at work: some queries above their matches, and the route."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure, SubFigure

from ashtkd_ros.errors import VprError
from ashtkd_ros.evaluation.figures import STATES, draw_route, state_of
from ashtkd_ros.evaluation.ground_truth import JudgedQuery
from ashtkd_ros.evaluation.report_page import PictureOf, unless_gone
from ashtkd_ros.sampling import thin


def write_overview_picture(
    path: Path, judged: Sequence[JudgedQuery], picture_of: PictureOf, shown: int = 6
) -> None:
    """Write a PNG of 1100 x 300 pixels; `shown`: how many queries with their matches are in it.

    Raises VprError where the file cannot be written.
    """
    named = [q for q in judged if q.place is not None]
    figure = Figure(figsize=(11, 3.0), layout='constrained')
    left, right = figure.subfigures(1, 2, width_ratios=(2.4, 1))
    _draw_pairs(left, [named[i] for i in thin(len(named), shown)], picture_of)
    axes = right.subplots()
    draw_route(axes, judged)
    axes.legend(fontsize=8)
    axes.grid(alpha=0.3)
    try:
        figure.savefig(path, dpi=100, metadata={'Software': None})
    except OSError as error:
        raise VprError(f'{path}: the picture could not be written ({error.strerror})') from error


def _draw_pairs(figure: SubFigure, chosen: Sequence[JudgedQuery], picture_of: PictureOf) -> None:
    grid = figure.subplots(2, len(chosen), squeeze=False)
    for column, judged in zip(grid.T, chosen, strict=True):
        reads = (judged.query.read, lambda place=judged.place: picture_of(place))
        titles = ('query', f'place {judged.place.id}, {judged.confidence:.2f}')
        for cell, read, title in zip(column, reads, titles, strict=True):
            image = unless_gone(read)
            if image is not None:
                cell.imshow(image)
            cell.set_title(title, fontsize=9, color=STATES[state_of(judged)][0])
            cell.set_axis_off()

# SPDX-License-Identifier: Apache-2.0
"""One picture of a map at work: some queries above their matches, and the route."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure, SubFigure

from ashtkd_ros.evaluation.figures import STATES, draw_route, state_of
from ashtkd_ros.evaluation.ground_truth import JudgedQuery
from ashtkd_ros.evaluation.report_page import PictureOf, unless_gone
from ashtkd_ros.files.marks import PNG_METADATA, is_own_png
from ashtkd_ros.files.writing import check_output, whole_file, write_errors
from ashtkd_ros.sampling import thin

_WHAT = 'the picture'


def write_overview_picture(
    path: Path, judged: Sequence[JudgedQuery], picture_of: PictureOf, shown: int = 6
) -> None:
    """Write a PNG of 1100 x 300 pixels; `shown`: how many queries with their matches are in it.

    The most confident mistake is among them. Raises VprError as `check_overview_picture` does.
    """
    check_overview_picture(path)
    figure = Figure(figsize=(11, 3.0), layout='constrained')
    left, right = figure.subfigures(1, 2, width_ratios=(2.4, 1))
    _draw_pairs(left, choose_queries(judged, shown), picture_of)
    axes = right.subplots()
    draw_route(axes, judged)
    axes.legend(fontsize=8)
    axes.grid(alpha=0.3)
    with write_errors(path, _WHAT), whole_file(path) as draft:
        figure.savefig(draft, dpi=100, metadata=PNG_METADATA)


def check_overview_picture(path: Path) -> None:
    """Make the folder of the picture; VprError where it cannot be written.

    A picture that this program did not write is not replaced.
    """
    check_output(path, is_own_png, _WHAT)


def choose_queries(judged: Sequence[JudgedQuery], shown: int) -> list[JudgedQuery]:
    """At most `shown` queries for which a place was named, evenly spread, in order.

    The accepted mistake with the highest confidence, if any, replaces the nearest of them. A near
    miss is shown only where there is no other mistake.
    """
    named = [q for q in judged if q.place is not None]
    rows = thin(len(named), shown).tolist()
    wrong = [i for i, q in enumerate(named) if q.accepted and not q.right]
    if wrong and rows:
        worst = max(wrong, key=lambda i: (not named[i].within_twice, named[i].confidence))
        rows[min(range(len(rows)), key=lambda n: abs(rows[n] - worst))] = worst
    return [named[i] for i in rows]


def _draw_pairs(figure: SubFigure, chosen: Sequence[JudgedQuery], picture_of: PictureOf) -> None:
    grid = figure.subplots(2, len(chosen), squeeze=False)
    for column, judged in zip(grid.T, chosen, strict=True):
        reads = (judged.query.read, lambda place=judged.place: picture_of(place))
        state = state_of(judged)
        titles = ('query', f'place {judged.place.id}\n{judged.confidence:.2f} {STATES[state][2]}')
        for cell, read, title in zip(column, reads, titles, strict=True):
            image = unless_gone(read)
            if image is not None:
                cell.imshow(image)
            cell.set_title(title, fontsize=9, color=STATES[state][0])
            cell.set_axis_off()

# SPDX-License-Identifier: Apache-2.0
"""Figures of judged queries; colour-blind people tell the colours apart (Okabe and Ito 2008)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from ashtkd_ros.evaluation.ground_truth import JudgedQuery
from ashtkd_ros.evaluation.metrics import Calibration
from ashtkd_ros.sampling import thin

# State of an answer → colour, marker, name in the legend.
STATES = {
    'right': ('#0072B2', 'o', 'right'),
    'near': ('#E69F00', '^', 'near miss'),
    'wrong': ('#D55E00', 'X', 'wrong'),
    'unknown': ('#767676', 'd', 'unknown'),
}
# Okabe and Ito's colours that stand out on white, with a line style each for print in grey.
_LINES = (
    ('#0072B2', '-'),
    ('#D55E00', '--'),
    ('#009E73', '-.'),
    ('#CC79A7', ':'),
    ('#E69F00', (0, (5, 1))),
    ('#56B4E9', (0, (1, 1))),
)
FIGURE_SIZE = (4.5, 3.4)
# More marks than this are drawn as pixels: as vectors they would swell the file.
_MOST_VECTORS = 3000
CURVE_POINTS = 500


def state_of(judged: JudgedQuery) -> str:
    """A key of `STATES`: "unknown" where the place was refused, else what the answer is."""
    return verdict_of(judged) if judged.accepted else 'unknown'


def verdict_of(judged: JudgedQuery) -> str:
    """A key of `STATES`: "right", "near" within twice the tolerance, or "wrong"."""
    return 'right' if judged.right else 'near' if judged.within_twice else 'wrong'


def precision_recall_figure(curves: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> Figure:
    """`curves`: name → recall and precision, float (n,) each, as the threshold falls."""
    figure, axes = _figure()
    for i, (name, (found, precision)) in enumerate(curves.items()):
        shown = thin(len(found), CURVE_POINTS)
        # Each precision holds back to the recall before it: what average precision adds up.
        recall, height = np.append(0.0, found[shown]), precision[shown]
        colour, style = _LINES[i % len(_LINES)]
        axes.step(
            recall,
            np.append(height[:1], height),
            where='pre',
            color=colour,
            ls=style,
            label=_label(name),
        )
    axes.set(xlim=(0, 1.01), ylim=(0, 1.03), xlabel='recall', ylabel='precision')
    _legend_above(axes)
    return figure


def route_figure(judged: Sequence[JudgedQuery]) -> Figure:
    """The queries where they were taken, by state; without poses query against matched frame."""
    figure, axes = _figure()
    draw_route(axes, judged)
    _legend_above(axes)
    return figure


def draw_route(axes: Axes, judged: Sequence[JudgedQuery]) -> None:
    """As `route_figure`, into axes; the legend is left to the caller."""
    with_poses = all(q.query.pose is not None for q in judged)
    if with_poses:
        points = np.array([(q.query.pose.x, q.query.pose.y) for q in judged])
        axes.set(xlabel='x [m]', ylabel='y [m]')
        axes.set_aspect('equal', adjustable='datalim')
        _draw_errors(axes, judged)
    else:
        judged = [q for q in judged if q.place is not None]  # there is no frame to draw it at
        points = np.array([(q.query.order, q.place.order) for q in judged]).reshape(-1, 2)
        axes.set(xlabel='query frame', ylabel='matched map frame')
    states = np.array([state_of(q) for q in judged], str)
    for state in ('unknown', 'right', 'near', 'wrong'):  # the last on top
        chosen = states == state
        if state == 'near' and not chosen.any():
            continue
        colour, marker, name = STATES[state]
        axes.scatter(
            *points[chosen].T,
            s=22 if len(judged) <= _MOST_VECTORS else 5,
            marker=marker,
            linewidths=0,
            color=colour,
            label=f'{name} ({chosen.sum()})',
            rasterized=len(judged) > _MOST_VECTORS,
        )


def _draw_errors(axes: Axes, judged: Sequence[JudgedQuery]) -> None:
    """A thin line from a wrong query to the place it was taken for."""
    wrong = [q for q in judged if state_of(q) == 'wrong' and q.place.pose is not None]
    lines = [((q.query.pose.x, q.query.pose.y), (q.place.pose.x, q.place.pose.y)) for q in wrong]
    if len(lines) <= 200:  # more would hide the route
        colour = STATES['wrong'][0]
        axes.add_collection(LineCollection(lines, colors=colour, linewidths=0.7, alpha=0.4))


def similarity_figure(similarity: np.ndarray) -> Figure:
    """`similarity` float (q, n): rows and columns evenly spread over queries and map."""
    figure, axes = _figure(grid=False)
    low, high = np.nanpercentile(similarity, (1, 99.9))
    drawn = axes.imshow(
        similarity,
        extent=(0, 100, 100, 0),
        aspect='auto',
        cmap='cividis',
        vmin=low,
        vmax=max(high, low + 1e-6),
        interpolation='nearest',
    )
    axes.set(xlabel='along the map [%]', ylabel='along the queries [%]')
    figure.colorbar(drawn, ax=axes, label='similarity')
    return figure


def reliability_figure(named: Mapping[str, Calibration]) -> Figure:
    """Share that is right over mean confidence; the sizes of the dots tell the counts."""
    figure, axes = _figure()
    axes.plot((0, 1), (0, 1), color='#999999', ls=':', lw=1.2, label='perfect')
    for i, (name, bins) in enumerate(named.items()):
        filled = bins.count > 0
        x, y = bins.confidence[filled], bins.right[filled]
        colour, style = _LINES[i % len(_LINES)]
        axes.plot(
            x, y, color=colour, ls=style, lw=1.2, label=_label(f'{name}, ECE {bins.error:.3f}')
        )
        size = 12 + 150 * bins.count[filled] / bins.count.max()
        axes.scatter(x, y, s=size, color=colour, alpha=0.75, linewidths=0, zorder=3)
    axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.06))
    axes.set(xlabel='mean confidence', ylabel='share that is right')
    _legend_above(axes)
    return figure


def confidence_figure(judged: Sequence[JudgedQuery], min_confidence: float) -> Figure:
    """Histogram of the confidences of the best places by what they are, refused ones too."""
    figure, axes = _figure()
    judged = [q for q in judged if q.place is not None]
    kinds: dict[str, list[float]] = {'right': [], 'near': [], 'wrong': []}
    for q in judged:
        kinds[verdict_of(q)].append(q.confidence)
    if not kinds['near']:
        del kinds['near']
    axes.hist(
        list(kinds.values()),
        bins=np.linspace(0, 1, 21),
        stacked=True,
        color=[STATES[kind][0] for kind in kinds],
        label=[f'{STATES[kind][2]} ({len(given)})' for kind, given in kinds.items()],
    )
    axes.axvline(min_confidence, color='#333333', ls='--', lw=1.2, label='min_confidence')
    axes.set(xlim=(-0.02, 1.02), xlabel='confidence', ylabel='queries')
    axes.yaxis.get_major_locator().set_params(integer=True)
    _legend_above(axes)
    return figure


def localisation_figure(errors: np.ndarray) -> Figure:
    """`errors` float (n,), metres: share of the answers that are nearer than x."""
    figure, axes = _figure()
    shown = np.sort(errors)
    share = np.arange(1, len(shown) + 1) / len(shown)
    kept = thin(len(shown), CURVE_POINTS)
    axes.step(np.append(0, shown[kept]), np.append(0, share[kept]), where='post', color='#0072B2')
    for value, style, name in (
        (np.median(errors), '--', 'median'),
        (np.percentile(errors, 95), ':', '95th percentile'),
    ):
        axes.axvline(value, color='#333333', ls=style, lw=1.2, label=f'{name} {value:.1f} m')
    if shown[-1] > 10.0:  # one error across town would squeeze all others to the left
        axes.set_xscale('symlog', linthresh=1.0)
        axes.xaxis.set_major_formatter('{x:g}')
    axes.set(xlim=(0, max(float(shown[-1]) * 1.1, 1.0)), ylim=(0, 1.03))
    axes.set(xlabel='metres from query to matched place', ylabel='share of answers')
    _legend_above(axes)
    return figure


def _figure(grid: bool = True) -> tuple[Figure, Axes]:
    figure = Figure(figsize=FIGURE_SIZE, layout='constrained')
    # Room for the number at the end of an axis, which the layout does not see.
    figure.get_layout_engine().set(w_pad=0.12)
    axes = figure.subplots()
    axes.spines[['top', 'right']].set_visible(not grid)
    if grid:
        axes.grid(alpha=0.25)
        axes.set_axisbelow(True)
    return figure, axes


def _legend_above(axes: Axes) -> None:
    """The legend over the axes, where it covers nothing."""
    drawn, names = axes.get_legend_handles_labels()
    columns = len(names) if sum(map(len, names)) <= 36 else 1 + (max(map(len, names)) <= 16)
    legend = axes.legend(
        drawn,
        names,
        loc='lower left',
        bbox_to_anchor=(0, 1.01),
        ncols=columns,
        frameon=False,
        fontsize=9,
        borderaxespad=0,
        columnspacing=1.2,
        handletextpad=0.5,
    )
    for text in legend.get_texts():
        text.set_parse_math(False)


def _label(name: str) -> str:
    """Any name as a legend can show it: short, no broken bytes, not hidden by its underscore."""
    text = name.encode('utf-8', 'replace').decode()
    text = text if len(text) <= 48 else f'…{text[-47:]}'
    return f' {text}' if text.startswith('_') else text

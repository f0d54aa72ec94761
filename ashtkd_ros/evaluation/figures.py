# SPDX-License-Identifier: Apache-2.0
"""The figures of a report; colours that colour-blind people tell apart (Okabe and Ito 2008)."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import cv2
import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from ashtkd_ros.evaluation.metrics import (
    Answer,
    Calibration,
    Metrics,
    calibration,
    localisation_errors,
)
from ashtkd_ros.sampling import thin
from ashtkd_ros.text import reason_of

# State of an answer → colour, marker, name in the legend.
STATES = {
    'right': ('#0072B2', 'o', 'right'),
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
_SIZE = (4.5, 3.4)
# More marks than this are drawn as pixels: as vectors they would swell the file.
_MOST_VECTORS = 3000
CURVE_POINTS = 500
_WIDEST = 4096  # pixels; a JPEG of twenty times that cannot be

PRECISION_RECALL = (
    'As the threshold on the score falls, more is found and more of it is wrong. The further a '
    'curve runs along the top before it falls, the better; AP is the area under it.'
)
RELIABILITY = (
    'Of the answers with a confidence of 0.8, 80 % should be right. Dots below the dotted line '
    'are too sure, dots above it too modest; a large dot stands for many answers.'
)
_ROUTE = (
    'Each mark is a query, an unknown one was refused. With poses it is where it was taken, and '
    'from a wrong one a line leads to the place it was taken for; without poses it is its frame '
    'over the map frame it was matched to, where a clean diagonal is a good traverse.'
)
_SIMILARITY = (
    'Bright: the query looks like the place. One bright line is a route that is recognised; '
    'bright blocks off it are places that look alike.'
)
_CONFIDENCES = (
    'What lies left of the dashed line is refused as unknown. Right and wrong should lie far '
    'apart, the wrong left of the line.'
)
_LOCALISATION = (
    'Share of the accepted answers, right or wrong, whose place is nearer to the query than the '
    'metres below. Where some are more than 10 m away, the scale is logarithmic above 1 m.'
)


def state_of(answer: Answer) -> str:
    """A key of `STATES`: "unknown" where the place was refused, else "right" or "wrong"."""
    return 'unknown' if not answer.accepted else 'right' if answer.right else 'wrong'


def calibration_of(answers: Sequence[Answer]) -> Calibration:
    """Of at least one answer, refused ones too; a query that nothing came of tells nothing."""
    told = [a for a in answers if a.place is not None] or answers
    return calibration(np.array([a.confidence for a in told]), np.array([a.right for a in told]))


@dataclass(frozen=True)
class Illustration:
    """A figure in HTML: its data URI, its title, and how to read it."""

    uri: str
    title: str
    caption: str


@dataclass(frozen=True)
class _Wanted:
    title: str
    caption: str
    draw: Callable[[], Figure]
    uri_of: Callable[[Figure], str] | None = None


def illustrations(
    methods: Mapping[str, Metrics],
    answers: Sequence[Answer],
    similarity: np.ndarray | None,
    min_confidence: float,
) -> list[Illustration]:
    """Every figure of a report; see `report.Evaluation` for what they are drawn from."""
    curves = {
        f'{name}, AP {m.average_precision:.3f}': (m.found, m.precision)
        for name, m in methods.items()
    }
    drawn = [
        _Wanted('Precision and recall', PRECISION_RECALL, lambda: precision_recall_figure(curves)),
        _Wanted('Along the route', _ROUTE, lambda: route_figure(answers)),
    ]
    if similarity is not None:
        title = 'Similarity of queries and map'
        drawn.append(_Wanted(title, _SIMILARITY, lambda: similarity_figure(similarity), png_uri))
    first = next(iter(methods))
    title = 'Reliability of the confidence'
    drawn.append(
        _Wanted(title, RELIABILITY, lambda: reliability_figure({first: calibration_of(answers)}))
    )
    drawn.append(
        _Wanted('Confidences', _CONFIDENCES, lambda: confidence_figure(answers, min_confidence))
    )
    errors = localisation_errors(answers)
    if errors.size:
        title = 'Localisation error'
        drawn.append(_Wanted(title, _LOCALISATION, lambda: localisation_figure(errors)))
    return [illustration(w.draw, w.title, w.caption, w.uri_of) for w in drawn]


def illustration(
    draw: Callable[[], Figure],
    title: str,
    caption: str,
    uri_of: Callable[[Figure], str] | None = None,
) -> Illustration:
    """A figure as SVG, or what `uri_of` makes of it; one that cannot be drawn says so instead."""
    try:
        return Illustration((uri_of or svg_uri)(draw()), title, caption)
    except Exception as error:  # of Matplotlib, of any kind: no figure is worth the report
        figure = Figure(figsize=_SIZE)
        text = f'cannot be drawn\n{reason_of(error)[:60]}'
        figure.text(0.5, 0.5, text, ha='center', parse_math=False)
        return Illustration(svg_uri(figure), title, caption)


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


def route_figure(answers: Sequence[Answer]) -> Figure:
    """The queries where they were taken, by state; without poses query against matched frame."""
    figure, axes = _figure()
    draw_route(axes, answers)
    _legend_above(axes)
    return figure


def draw_route(axes: Axes, answers: Sequence[Answer]) -> None:
    """As `route_figure`, into axes; the legend is left to the caller."""
    with_poses = all(a.query.pose is not None for a in answers)
    if with_poses:
        points = np.array([(a.query.pose.x, a.query.pose.y) for a in answers])
        axes.set(xlabel='x [m]', ylabel='y [m]')
        axes.set_aspect('equal', adjustable='datalim')
        _draw_errors(axes, answers)
    else:
        answers = [a for a in answers if a.place is not None]  # there is no frame to draw it at
        points = np.array([(a.query.order, a.place.order) for a in answers]).reshape(-1, 2)
        axes.set(xlabel='query frame', ylabel='matched map frame')
    states = np.array([state_of(a) for a in answers])
    for state in ('unknown', 'right', 'wrong'):  # the last on top
        chosen = states == state
        colour, marker, name = STATES[state]
        axes.scatter(
            *points[chosen].T,
            s=22 if len(answers) <= _MOST_VECTORS else 5,
            marker=marker,
            linewidths=0,
            color=colour,
            label=f'{name} ({chosen.sum()})',
            rasterized=len(answers) > _MOST_VECTORS,
        )


def _draw_errors(axes: Axes, answers: Sequence[Answer]) -> None:
    """A thin line from a wrong query to the place it was taken for."""
    wrong = [a for a in answers if state_of(a) == 'wrong' and a.place.pose is not None]
    lines = [((a.query.pose.x, a.query.pose.y), (a.place.pose.x, a.place.pose.y)) for a in wrong]
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


def confidence_figure(answers: Sequence[Answer], min_confidence: float) -> Figure:
    """Histogram of the confidences of right and of wrong best places, refused ones too."""
    figure, axes = _figure()
    answers = [a for a in answers if a.place is not None]
    confidences = np.array([a.confidence for a in answers])
    right = np.array([a.right for a in answers], bool)
    axes.hist(
        [confidences[right], confidences[~right]],
        bins=np.linspace(0, 1, 21),
        stacked=True,
        color=[STATES[state][0] for state in ('right', 'wrong')],
        label=[f'right ({right.sum()})', f'wrong ({(~right).sum()})'],
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
    figure = Figure(figsize=_SIZE, layout='constrained')
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
    columns = len(names) if sum(map(len, names)) <= 36 else 1
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


def svg_uri(figure: Figure) -> str:
    """Data URI of the figure as SVG; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    with matplotlib.rc_context({'svg.hashsalt': 'ashtkd_ros'}):
        figure.savefig(buffer, format='svg', metadata={'Date': None})
    return _data('svg+xml', buffer.getvalue())


def png_uri(figure: Figure) -> str:
    """Data URI of the figure as PNG; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format='png', dpi=160, metadata={'Software': None})
    return _data('png', buffer.getvalue())


def picture_uri(image: np.ndarray, height: int = 240) -> str:
    """Data URI of uint8 RGB (H, W, 3) as a small JPEG."""
    height = min(height, image.shape[0])
    width = min(max(1, round(image.shape[1] * height / image.shape[0])), _WIDEST)
    small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    bgr = np.ascontiguousarray(small[..., ::-1])
    return _data('jpeg', cv2.imencode('.jpg', bgr, [cv2.IMWRITE_JPEG_QUALITY, 80])[1].tobytes())


def _data(kind: str, content: bytes) -> str:
    return f'data:image/{kind};base64,{base64.b64encode(content).decode()}'

# SPDX-License-Identifier: Apache-2.0
"""Figures as HTML shows them: drawn into a data URI, with a title and how to read them."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import matplotlib
import numpy as np
from matplotlib.figure import Figure

from ashtkd_ros.evaluation.figures import (
    FIGURE_SIZE,
    confidence_figure,
    localisation_figure,
    precision_recall_figure,
    reliability_figure,
    route_figure,
    similarity_figure,
)
from ashtkd_ros.evaluation.metrics import localisation_errors
from ashtkd_ros.evaluation.result import Evaluation
from ashtkd_ros.text import reason_of

_WIDEST = 4096  # pixels; a JPEG of twenty times that is impossible

PRECISION_RECALL = (
    'As the threshold on the score falls, more is found and more of it is wrong. The further a '
    'curve runs along the top before it falls, the better; AP is the area under it.'
)
RELIABILITY = (
    'Of the answers with a confidence of 0.8, 80 % should be right. Dots below the dotted line '
    'are too sure, dots above it too modest; a large dot stands for many answers.'
)
_ROUTE = (
    'Each mark is a query; an unknown one was refused, a near miss is within twice the tolerance. '
    'With poses it is where it was taken, and from a wrong one a line leads to the place it was '
    'taken for; without poses it is its frame over the map frame it was matched to, where a clean '
    'diagonal is a good traverse.'
)
_SIMILARITY = (
    'Bright: the query looks like the place. One bright line is a route that is recognised; '
    'bright blocks off it are places that look alike.'
)
_CONFIDENCES = (
    'What lies left of the dashed line is refused as unknown. Right and wrong should lie far '
    'apart, the wrong left of the line. A near miss is within twice the tolerance.'
)
_LOCALISATION = (
    'Share of the accepted answers, right or wrong, whose place is nearer to the query than the '
    'metres below. Where some are more than 10 m away, the scale is logarithmic above 1 m.'
)


@dataclass(frozen=True)
class Illustration:
    """A figure in HTML: its data URI, its title, and how to read it."""

    uri: str
    title: str
    caption: str


def illustrations(evaluation: Evaluation) -> list[Illustration]:
    """Every figure of a report."""
    methods, judged, similarity = evaluation.methods, evaluation.judged, evaluation.similarity
    least, errors = evaluation.min_confidence, localisation_errors(judged)
    curves = {
        f'{name}, AP {m.average_precision:.3f}': (m.recall_curve, m.precision_curve)
        for name, m in methods.items()
    }
    drawn = [
        illustration(
            lambda: precision_recall_figure(curves), 'Precision and recall', PRECISION_RECALL
        ),
        illustration(lambda: route_figure(judged), 'Along the route', _ROUTE),
    ]
    if similarity is not None:
        title = 'Similarity of queries and map'
        drawn.append(
            illustration(lambda: similarity_figure(similarity), title, _SIMILARITY, png_uri)
        )
    title = 'Reliability of the confidence'
    drawn += [
        illustration(lambda: reliability_figure(evaluation.reliability), title, RELIABILITY),
        illustration(lambda: confidence_figure(judged, least), 'Confidences', _CONFIDENCES),
    ]
    if errors.size:
        title = 'Localisation error'
        drawn.append(illustration(lambda: localisation_figure(errors), title, _LOCALISATION))
    return drawn


def illustration(
    draw: Callable[[], Figure],
    title: str,
    caption: str,
    uri_of: Callable[[Figure], str] | None = None,
) -> Illustration:
    """A figure as SVG, or as `uri_of` encodes it; one that cannot be drawn says so instead."""
    try:
        return Illustration((uri_of or svg_uri)(draw()), title, caption)
    except Exception as error:  # of Matplotlib, of any kind: no figure is worth the report
        figure = Figure(figsize=FIGURE_SIZE)
        text = f'cannot be drawn\n{reason_of(error)[:60]}'
        figure.text(0.5, 0.5, text, ha='center', parse_math=False)
        return Illustration(svg_uri(figure), title, caption)


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

# SPDX-License-Identifier: Apache-2.0
"""One HTML file that shows how an evaluation went; opens from disk, nothing else needed."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import jinja2
import numpy as np
from matplotlib.figure import Figure

from ashtkd_ros.errors import VprError
from ashtkd_ros.evaluation import Metrics
from ashtkd_ros.place_map import Place
from ashtkd_ros.sources import Frame, read_image

_PICTURE_HEIGHT = 150
_SHOWN = 60
_RIGHT, _WRONG = '#2a9d5c', '#d1495b'


@dataclass(frozen=True)
class Answer:
    """What was said of one query: the best place and its confidence, and whether it is right."""

    query: Frame
    place: Place
    confidence: float
    right: bool


def write_report(
    path: Path,
    title: str,
    metrics: Metrics,
    answers: Sequence[Answer],
    map_images: Path,
    facts: Mapping[str, str] | None = None,
) -> None:
    """Write the report; `map_images` is the folder that the places' `source` lies in.

    `facts`: more rows for the table of figures. Of many answers every n-th is pictured.
    """
    shown = answers[:: max(1, -(-len(answers) // _SHOWN))]
    pairs = [
        {
            'answer': answer,
            'query': _picture(answer.query.path),
            'match': _picture(map_images / answer.place.source),
        }
        for answer in shown
    ]
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader('ashtkd_ros'),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    html = environment.get_template('report.html').render(
        title=title,
        metrics=metrics,
        facts=facts or {},
        pairs=pairs,
        curve=_data('svg+xml', _svg(precision_recall_figure(metrics))),
        route=_data('svg+xml', _svg(route_figure(answers))),
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(html, encoding='utf-8')
    except OSError as error:
        raise VprError(f'{path}: the report could not be written ({error.strerror})') from error


def precision_recall_figure(metrics: Metrics) -> Figure:
    """Precision over recall as the threshold on the confidence falls."""
    figure = Figure(figsize=(4.4, 3.3), layout='constrained')
    axes = figure.subplots()
    axes.step(metrics.found, metrics.precision, where='post', color='#1f6f8b')
    axes.set(xlim=(0, 1.02), ylim=(0, 1.05), xlabel='recall', ylabel='precision')
    axes.set_title(f'precision-recall, AP {metrics.average_precision:.3f}', fontsize=10)
    axes.grid(alpha=0.3)
    return figure


def route_figure(answers: Sequence[Answer]) -> Figure:
    """The queries where they were taken, right and wrong; without poses query against match."""
    figure = Figure(figsize=(4.4, 3.3), layout='constrained')
    _draw_route(figure.subplots(), answers)
    return figure


def _draw_route(axes, answers: Sequence[Answer]) -> None:
    with_poses = all(a.query.pose is not None for a in answers)
    if with_poses:
        points = np.array([(a.query.pose.x, a.query.pose.y) for a in answers])
        axes.set(xlabel='x [m]', ylabel='y [m]', aspect='equal')
    else:
        points = np.array([(a.query.order, a.place.order) for a in answers])
        axes.set(xlabel='query frame', ylabel='matched map frame')
    right = np.array([a.right for a in answers])
    for chosen, colour, name in ((right, _RIGHT, 'right'), (~right, _WRONG, 'wrong')):
        label = f'{name} ({chosen.sum()})'
        axes.scatter(*points[chosen].T, s=14, color=colour, label=label)
    axes.legend(fontsize=8)
    axes.set_title('queries along the route' if with_poses else 'matches', fontsize=10)
    axes.grid(alpha=0.3)


def write_picture(path: Path, answers: Sequence[Answer], map_images: Path, shown: int = 6) -> None:
    """One picture of the map at work: queries above their matches, and the route (PNG)."""
    figure = Figure(figsize=(11, 3.0), layout='constrained')
    left, right = figure.subfigures(1, 2, width_ratios=(2.4, 1))
    axes = left.subplots(2, shown)
    chosen = [answers[i] for i in np.linspace(0, len(answers), shown, endpoint=False).astype(int)]
    for column, answer in zip(axes.T, chosen, strict=True):
        colour = _RIGHT if answer.right else _WRONG
        pictures = (answer.query.path, map_images / answer.place.source)
        titles = ('query', f'place {answer.place.id}, {answer.confidence:.2f}')
        for cell, picture, title in zip(column, pictures, titles, strict=True):
            cell.imshow(read_image(picture))
            cell.set_title(title, fontsize=9, color=colour)
            cell.set_axis_off()
    _draw_route(right.subplots(), answers)
    figure.savefig(path, dpi=100, metadata={'Software': None})


def _svg(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format='svg', metadata={'Date': None})
    return buffer.getvalue()


def _picture(path: Path) -> str:
    """Data URI of a small JPEG; empty when the image is not there any more."""
    try:
        image = read_image(path)
    except VprError:
        return ''
    height, width = image.shape[:2]
    size = max(1, round(width * _PICTURE_HEIGHT / height)), _PICTURE_HEIGHT
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    bgr = cv2.cvtColor(small, cv2.COLOR_RGB2BGR)
    return _data('jpeg', cv2.imencode('.jpg', bgr, [cv2.IMWRITE_JPEG_QUALITY, 80])[1].tobytes())


def _data(kind: str, content: bytes) -> str:
    return f'data:image/{kind};base64,{base64.b64encode(content).decode()}'

# SPDX-License-Identifier: Apache-2.0
"""The report as a page: its headline figures, and the queries that it pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import cv2
import numpy as np

from ashtkd_ros.errors import VprError
from ashtkd_ros.evaluation.figures import state_of
from ashtkd_ros.evaluation.ground_truth import JudgedQuery
from ashtkd_ros.evaluation.illustrations import illustrations, picture_uri
from ashtkd_ros.evaluation.metrics import (
    RECALL_AT,
    calibration_of,
    localisation_error,
    unknown_share,
)
from ashtkd_ros.evaluation.page import decimal, percent, render
from ashtkd_ros.evaluation.result import Evaluation
from ashtkd_ros.maps.place_map import Place
from ashtkd_ros.traverses.frame import Frame

_PAIRS = 12  # queries that are pictured, of the right ones and of the wrong ones
# A place → its image, uint8 RGB (H, W, 3); VprError where it is gone.
PictureOf = Callable[[Place], np.ndarray]
# An image → where the network looks in it, uint8 RGB (h, w, 3).
SalientOf = Callable[[np.ndarray], np.ndarray]


def report_page(
    evaluation: Evaluation, picture_of: PictureOf, salient_of: SalientOf | None = None
) -> str:
    """HTML of the report; the pictures, where the images are still there, are read only here."""
    judged, starts = evaluation.judged, evaluation.starts
    return render(
        'report.html',
        evaluation=evaluation,
        query_name=lambda query: _query_name(query, starts),
        place_name=lambda place: _place_name(place, starts),
        recall_at=RECALL_AT,
        cards=_headline_figures(evaluation),
        figures=illustrations(evaluation),
        pairs={
            right: [_pair(q, picture_of, salient_of) for q in _surest(judged, right)]
            for right in (False, True)
        },
        counts={
            right: sum(q.right == right and q.place is not None for q in judged)
            for right in (False, True)
        },
        unnamed=sum(q.place is None for q in judged),
        salient=salient_of is not None,
    )


def _query_name(query: Frame, starts: Mapping[int | None, float]) -> str:
    """Name of the file; in a recording the image's number, and the seconds since it began."""
    return query.name + ('' if query.file else _time_after(query.stamp, starts.get(None)))


def _place_name(place: Place, starts: Mapping[int | None, float]) -> str:
    """Name of the file; in a recording the image's number, and seconds since the first place."""
    if place.source.partition('#')[0].isdecimal():  # a bag's images have no names but times
        return f'image {place.order}{_time_after(place.stamp, starts.get(place.traverse))}'
    return place.source


def _time_after(stamp: float, start: float | None) -> str:
    return '' if start is None else f', {stamp - start:.1f} s'


def _headline_figures(evaluation: Evaluation) -> list[tuple[str, str, str]]:
    """Headline figures: name, value, explanation."""
    metrics, judged = next(iter(evaluation.methods.values())), evaluation.judged
    metres, right = localisation_error(judged), sum(q.right for q in judged)
    return [
        ('Recall@1', percent(metrics.recall.get(1)), f'{right} of {metrics.queries} queries'),
        (
            'Recall at 100 % precision',
            percent(metrics.recall_at_full_precision),
            'found if nothing wrong may be accepted',
        ),
        (
            'Unknown',
            percent(unknown_share(judged)),
            f'refused, confidence below {evaluation.min_confidence:.2f}',
        ),
        (
            'Localisation error',
            f'{metres.median:.1f} m' if metres else '–',
            f'median of {metres.n}; 95 % within {metres.p95:.1f} m'
            if metres
            else 'no accepted answer with poses',
        ),
        (
            'Calibration error',
            decimal(calibration_of(judged).error),
            'expected (ECE); 0 is perfect',
        ),
    ]


def _surest(judged: Sequence[JudgedQuery], right: bool) -> list[JudgedQuery]:
    """The right answers, or the wrong ones, with the highest confidence."""
    named = [q for q in judged if q.right == right and q.place is not None]
    return sorted(named, key=lambda q: -q.confidence)[:_PAIRS]


def _pair(judged: JudgedQuery, picture_of: PictureOf, salient_of: SalientOf | None) -> dict:
    """What the template shows of a query and the place that was named for it."""
    columns = {f'query {judged.query.name}': unless_gone(judged.query.read)}
    if judged.place is not None:
        picture = unless_gone(lambda: picture_of(judged.place))
        columns[f'place {judged.place.id}'] = picture
    pictures = []
    for name, image in columns.items():
        column = [] if image is None else [(picture_uri(image), name)]
        if image is not None and salient_of is not None:
            looked = unless_gone(lambda image=image: salient_of(image))
            column += [] if looked is None else [(picture_uri(looked), f'salient parts of {name}')]
        pictures.append(column)
    return {'judged': judged, 'state': state_of(judged), 'pictures': pictures}


def unless_gone(read: Callable[[], np.ndarray]) -> np.ndarray | None:
    """The picture; None where the image is no longer there, or no such picture can be made."""
    try:
        return read()
    except (VprError, ValueError, ArithmeticError, cv2.error):
        return None

# SPDX-License-Identifier: Apache-2.0
"""The report as a page: its headline figures, and the queries that it pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import cv2
import numpy as np

from ashtkd_ros.errors import VprError
from ashtkd_ros.evaluation.figures import STATES, state_of, verdict_of
from ashtkd_ros.evaluation.ground_truth import JudgedQuery
from ashtkd_ros.evaluation.illustrations import illustrations, picture_uri
from ashtkd_ros.evaluation.metrics import (
    RECALL_AT,
    calibration_of,
    localisation_error,
    unknown_share,
)
from ashtkd_ros.evaluation.page import decimal, percent, render
from ashtkd_ros.evaluation.result import ALONE, UNCALIBRATED, Evaluation
from ashtkd_ros.images.matched_pictures import matched_pictures
from ashtkd_ros.maps.place_map import Place
from ashtkd_ros.recognition.matcher import Check, Matches
from ashtkd_ros.text import counted
from ashtkd_ros.traverses.frame import Frame

_Read = TypeVar('_Read')
_DIRECTIONS = ('higher', 'lower'), ('further left', 'further right')  # less than 0, or more
_PAIRS = 12  # queries that are pictured, of the right ones and of the wrong ones
# A place → its image, uint8 RGB (H, W, 3); VprError where it is gone.
PictureOf = Callable[[Place], np.ndarray]
# An image → where the network looks in it, uint8 RGB (h, w, 3).
SalientOf = Callable[[np.ndarray], np.ndarray]
# A query → where it and its place agree, None where that is not known; VprError as above.
MatchesOf = Callable[[JudgedQuery], Matches | None]


def report_page(
    evaluation: Evaluation,
    picture_of: PictureOf,
    salient_of: SalientOf | None = None,
    matches_of: MatchesOf | None = None,
) -> str:
    """HTML of the report; the pictures, where the images are still there, are read only here."""
    judged, starts = evaluation.judged, evaluation.starts
    pairs = {
        right: [_pair(q, picture_of, salient_of, matches_of) for q in _surest(judged, right)]
        for right in (False, True)
    }
    return render(
        'report.html',
        evaluation=evaluation,
        query_name=lambda query: _query_name(query, starts),
        place_name=lambda place: _place_name(place, starts),
        recall_at=RECALL_AT,
        cards=_headline_figures(evaluation),
        figures=illustrations(evaluation),
        pairs=pairs,
        counts={
            right: sum(q.right == right and q.place is not None for q in judged)
            for right in (False, True)
        },
        alone=ALONE if ALONE in evaluation.methods else '',
        uncalibrated=UNCALIBRATED in evaluation.methods,
        matched=any(pair['matched'] for pair in pairs[False] + pairs[True]),
        near=sum(verdict_of(q) == 'near' for q in judged),
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
    near = percent(metrics.within_twice)
    accepted = [q.right for q in judged if q.accepted]
    share = percent(sum(accepted) / len(accepted)) if accepted else ''
    kept = f'; of the others {share} are right' if accepted else ''
    return [
        (
            'Recall@1',
            percent(metrics.recall.get(1)),
            f'{right} of {metrics.queries} queries; {near} within twice the tolerance',
        ),
        (
            'Recall at 100 % precision',
            percent(metrics.recall_at_full_precision),
            'found if nothing wrong may be accepted',
        ),
        (
            'Unknown',
            percent(unknown_share(judged)),
            f'refused, confidence below {evaluation.min_confidence:.2f}{kept}',
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
    """The right answers with the highest confidence, or the wrong ones, near misses last."""
    named = [q for q in judged if q.right == right and q.place is not None]
    return sorted(named, key=lambda q: (q.within_twice and not right, -q.confidence))[:_PAIRS]


def _pair(
    judged: JudgedQuery,
    picture_of: PictureOf,
    salient_of: SalientOf | None,
    matches_of: MatchesOf | None,
) -> dict:
    """What the template shows of a query and the place that was named for it."""
    images = [unless_gone(judged.query.read), unless_gone(lambda: picture_of(judged.place))]
    names = (f'query {judged.query.name}', f'place {judged.place.id}')
    pictures = []
    for name, image in zip(names, images, strict=True):
        column = [] if image is None else [(picture_uri(image), name)]
        if image is not None and salient_of is not None:
            looked = unless_gone(lambda image=image: salient_of(image))
            column += [] if looked is None else [(picture_uri(looked), f'salient parts of {name}')]
        pictures.append(column)
    return {
        'judged': judged,
        'state': state_of(judged),
        'verdict': STATES[verdict_of(judged)][2],
        'pictures': pictures,
        'check': '' if judged.check is None else _check_text(judged.check),
        'matched': None if matches_of is None else _matched(judged, *images, matches_of),
    }


def _matched(
    judged: JudgedQuery,
    query: np.ndarray | None,
    place: np.ndarray | None,
    matches_of: MatchesOf,
) -> tuple[str, str] | None:
    """Data URI of query and place with their matched positions, and what it shows."""
    found = unless_gone(lambda: matches_of(judged))
    if query is None or place is None or found is None:
        return None
    red, green, blue = bytes.fromhex(STATES[state_of(judged)][0][1:])
    both = matched_pictures(query, place, (found.image, found.place), (red, green, blue))
    count = counted(len(found.image), 'matched position')
    return picture_uri(both), f'{count} of {judged.query.name} and place {judged.place.id}'


def _check_text(check: Check) -> str:
    """How much of the query agrees, and where that stands in the picture of the place."""
    moved = [
        f'{100 * abs(share):.0f} % {words[share > 0]}'
        for share, words in zip(check.displacement, _DIRECTIONS, strict=True)
        if round(100 * abs(share))
    ]
    where = f"{' and '.join(moved)} in the map's picture" if moved else 'unmoved'
    return f'{100 * check.agreement:.0f} % of the picture agrees, {where}'


def unless_gone(read: Callable[[], _Read]) -> _Read | None:
    """What is read; None where the image is no longer there, or no such picture can be made."""
    try:
        return read()
    except (VprError, ValueError, ArithmeticError, cv2.error):
        return None

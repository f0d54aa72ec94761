# SPDX-License-Identifier: Apache-2.0
"""A report of an evaluation: one HTML file that opens from disk, its figures as JSON beside it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import cv2
import jinja2
import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure

from ashtkd_ros.errors import VprError
from ashtkd_ros.evaluation.figures import (
    CURVE_POINTS,
    STATES,
    calibration_of,
    draw_route,
    illustrations,
    picture_uri,
    state_of,
)
from ashtkd_ros.evaluation.metrics import (
    RECALL_AT,
    Answer,
    Metrics,
    localisation_error,
    unknown_share,
)
from ashtkd_ros.files.writing import check_replaceable, whole_file, write_text
from ashtkd_ros.maps.place_map import Place
from ashtkd_ros.sampling import thin
from ashtkd_ros.text import one_line
from ashtkd_ros.traverses.frame import Frame

SCHEMA_VERSION = 1
# What the JSON tells of each answer, in this order.
ANSWER_COLUMNS = (
    'query',
    'stamp',
    'place',
    'confidence',
    'similarity',
    'right',
    'accepted',
    'has_positive',
)
_PAIRS = 12
# What an earlier report begins with; the second, one of older versions.
PAGE_MARKS = (b'name="generator" content="ashtkd_ros"', b'--ink: #20262b; --soft: #5b666f')
_VALUES_MARK = b'{"schema_version":'
PictureOf = Callable[[Place], np.ndarray]
SalientOf = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Timing:
    """Percentiles, in milliseconds, of `n` durations of one stage."""

    p50: float
    p95: float
    p99: float
    n: int

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Timing:
        """Of at least one duration in seconds."""
        p50, p95, p99 = (float(p) for p in 1000 * np.percentile(seconds, (50, 95, 99)))
        return cls(p50, p95, p99, len(seconds))


@dataclass(frozen=True)
class Traffic:
    """Images sent to the node, answers that came, images that it dropped."""

    sent: int
    answered: int
    dropped: int


@dataclass(frozen=True)
class Evaluation:
    """All that a report tells.

    `facts`: name → value, how it was measured; `methods`: name → figures, ours first; `answers`:
    of the first method; `similarity`: float32 (q, n) of evenly spread queries and places;
    `timing`: stage → durations; `notes`: what went otherwise than expected, a line each;
    `machine`: what the durations were measured on; `starts`: number of a traverse of the map, and
    None for the queries → its first stamp, in seconds.
    """

    title: str
    facts: Mapping[str, str]
    methods: Mapping[str, Metrics]
    answers: Sequence[Answer]
    min_confidence: float
    similarity: np.ndarray | None
    timing: Mapping[str, Timing]
    traffic: Traffic | None
    notes: Sequence[str]
    machine: Mapping[str, str] = field(default_factory=dict)
    starts: Mapping[int | None, float] = field(default_factory=dict)


def write_report(
    path: Path,
    evaluation: Evaluation,
    picture_of: PictureOf,
    salient_of: SalientOf | None = None,
) -> None:
    """Write `path` (.html), and beside it .json and, where there is timing, .timing.json.

    `picture_of`: a place's image, uint8 RGB (H, W, 3), VprError when it is gone; `salient_of`: an
    image → where the network looks in it, uint8 RGB (h, w, 3). The JSON is the same for the same
    evaluation: durations, which never are, lie in a file of their own. VprError when there is no
    answer or a file cannot be written.
    """
    if not evaluation.answers:
        raise VprError(f'{path}: no query was answered, nothing to report; check the traverse')
    if path.suffix != '.html':
        raise VprError(f'{path}: the report is an HTML file; give it a name that ends in .html')
    check_report(path)
    save_text(path.with_suffix('.json'), _json(report_values(evaluation)))
    timing = path.with_suffix('.timing.json')
    if evaluation.timing:
        stages = {name: asdict(t) for name, t in evaluation.timing.items()}
        values = {'schema_version': SCHEMA_VERSION, 'milliseconds': stages}
        save_text(timing, _json({**values, 'machine': dict(evaluation.machine)}))
    else:
        timing.unlink(missing_ok=True)  # that of an earlier run would seem to be of this one
    save_text(path, _html(evaluation, picture_of, salient_of))


def check_report(path: Path) -> None:
    """VprError where `write_report` or `write_comparison` would replace what is none of theirs."""
    check_replaceable(path, PAGE_MARKS)
    for name in ('.json', '.timing.json'):
        check_replaceable(path.with_suffix(name), (_VALUES_MARK,))


def report_values(evaluation: Evaluation) -> dict:
    """What the JSON holds; `comparison` reads it."""
    answers = evaluation.answers
    found = localisation_error(answers)
    return {
        'schema_version': SCHEMA_VERSION,
        'title': evaluation.title,
        'facts': dict(evaluation.facts),
        'min_confidence': evaluation.min_confidence,
        'methods': [_method(name, m) for name, m in evaluation.methods.items()],
        'calibration': asdict(calibration_of(answers)),
        'localisation_m': asdict(found) if found else None,
        'unknown_share': unknown_share(answers),
        'traffic': asdict(evaluation.traffic) if evaluation.traffic else None,
        'notes': list(evaluation.notes),
        'answer_columns': ANSWER_COLUMNS,
        'answers': [_row(a) for a in answers],
    }


def _method(name: str, metrics: Metrics) -> dict:
    values = asdict(metrics)
    kept = thin(len(metrics.found), CURVE_POINTS)
    curves = {key: values.pop(key)[kept] for key in ('thresholds', 'precision', 'found')}
    return {'name': name, **values, 'curve': {k: v.round(6) for k, v in curves.items()}}


def _row(a: Answer) -> list:
    similar = round(float(a.similarity), 6)
    verdicts = bool(a.right), bool(a.accepted), bool(a.has_positive)
    place = None if a.place is None else a.place.id
    return [a.query.order, a.query.stamp, place, round(a.confidence, 6), similar, *verdicts]


def _json(values: dict) -> str:
    return json.dumps(_plain(values), allow_nan=False, separators=(',', ':')) + '\n'


def _plain(value: object) -> object:
    """The value as JSON knows it: no NumPy, and null for what is no finite number."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def save_text(path: Path, text: str) -> None:
    """Write a file of a report and its folder; VprError where that is not possible."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, text)
    except OSError as error:
        raise VprError(f'{path}: the report cannot be written ({error.strerror})') from error


def render(template: str, **values: object) -> str:
    """HTML of a template of the package; what is inserted is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader('ashtkd_ros.evaluation'),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        finalize=_harmless,
    )
    environment.filters |= {'percent': percent, 'decimal': decimal}
    return environment.get_template(template).render(**values)


def _harmless(value: object) -> object:
    """Text of any origin without control characters; HTML of our own stays as it is."""
    plain = isinstance(value, str) and not isinstance(value, Markup)
    return one_line(value) if plain else value


def percent(share: float | None) -> str:
    """A share in [0, 1] for readers; a dash where there is none."""
    return '–' if share is None or math.isnan(share) else f'{100 * share:.1f} %'


def decimal(value: float | None, places: int = 3) -> str:
    """A number for readers; a dash where there is none."""
    return '–' if value is None or math.isnan(value) else f'{value:.{places}f}'


def _html(evaluation: Evaluation, picture_of: PictureOf, salient_of: SalientOf | None) -> str:
    starts = evaluation.starts
    return render(
        'report.html',
        evaluation=evaluation,
        query_name=lambda answer: _query_name(answer.query, starts),
        place_name=lambda place: _place_name(place, starts),
        recall_at=RECALL_AT,
        cards=_cards(evaluation),
        figures=illustrations(
            evaluation.methods,
            evaluation.answers,
            evaluation.similarity,
            evaluation.min_confidence,
        ),
        pairs={
            right: [_pair(a, picture_of, salient_of) for a in _surest(evaluation.answers, right)]
            for right in (False, True)
        },
        counts={
            right: sum(a.right == right and a.place is not None for a in evaluation.answers)
            for right in (False, True)
        },
        silent=sum(a.place is None for a in evaluation.answers),
        salient=salient_of is not None,
    )


def _query_name(query: Frame, starts: Mapping[int | None, float]) -> str:
    """File, or number of the image in the recording and seconds since that began."""
    return query.name + ('' if query.file else _since(query.stamp, starts.get(None)))


def _place_name(place: Place, starts: Mapping[int | None, float]) -> str:
    """File, or number of the image in the bag and seconds since the traverse's first place."""
    if place.source.partition('#')[0].isdecimal():  # a bag's images have no names but times
        return f'image {place.order}{_since(place.stamp, starts.get(place.traverse))}'
    return place.source


def _since(stamp: float, start: float | None) -> str:
    return '' if start is None else f', {stamp - start:.1f} s'


def _cards(evaluation: Evaluation) -> list[tuple[str, str, str]]:
    """Headline figures: name, value, what it is."""
    metrics = next(iter(evaluation.methods.values()))
    found = localisation_error(evaluation.answers)
    right = sum(a.right for a in evaluation.answers)
    return [
        ('Recall@1', percent(metrics.recall.get(1)), f'{right} of {metrics.queries} queries'),
        (
            'Recall at 100 % precision',
            percent(metrics.recall_at_full_precision),
            'found if nothing wrong may be accepted',
        ),
        (
            'Unknown',
            percent(unknown_share(evaluation.answers)),
            f'refused, confidence below {evaluation.min_confidence:.2f}',
        ),
        (
            'Localisation error',
            f'{found.median:.1f} m' if found else '–',
            f'median of {found.n}; 95 % within {found.p95:.1f} m'
            if found
            else 'no accepted answer with poses',
        ),
        (
            'Calibration error',
            decimal(calibration_of(evaluation.answers).error),
            'expected (ECE); 0 is perfect',
        ),
    ]


def _surest(answers: Sequence[Answer], right: bool) -> list[Answer]:
    """The answers that are right, or are not, of the highest confidence."""
    given = [a for a in answers if a.right == right and a.place is not None]
    return sorted(given, key=lambda a: -a.confidence)[:_PAIRS]


def _pair(answer: Answer, picture_of: PictureOf, salient_of: SalientOf | None) -> dict:
    """What the template shows of an answer; only here are pictures read."""
    columns = {f'query {answer.query.name}': _unless_gone(answer.query.read)}
    if answer.place is not None:
        picture = _unless_gone(lambda: picture_of(answer.place))
        columns[f'place {answer.place.id}'] = picture
    pictures = []
    for name, image in columns.items():
        column = [] if image is None else [(picture_uri(image), name)]
        if image is not None and salient_of is not None:
            looked = _unless_gone(lambda image=image: salient_of(image))
            column += [] if looked is None else [(picture_uri(looked), f'salient parts of {name}')]
        pictures.append(column)
    return {'answer': answer, 'state': state_of(answer), 'pictures': pictures}


def _unless_gone(read: Callable[[], np.ndarray]) -> np.ndarray | None:
    """The picture; None when the image is not there any more, or no such picture can be made."""
    try:
        return read()
    except (VprError, ValueError, ArithmeticError, cv2.error):
        return None


def pictured(answers: Sequence[Answer], shown: int) -> list[Answer]:
    """At most `shown` answers that name a place, evenly spread, in order.

    The accepted mistake of the highest confidence, if any, takes the place of the nearest.
    """
    answered = [a for a in answers if a.place is not None]
    rows = thin(len(answered), shown).tolist()
    wrong = [i for i, a in enumerate(answered) if a.accepted and not a.right]
    if wrong and rows:
        worst = max(wrong, key=lambda i: answered[i].confidence)
        rows[min(range(len(rows)), key=lambda n: abs(rows[n] - worst))] = worst
    return [answered[i] for i in rows]


def write_picture(
    path: Path, answers: Sequence[Answer], picture_of: PictureOf, shown: int = 6
) -> None:
    """One picture of the map at work (PNG): queries above their matches, and the route.

    The most confident mistake is among them. VprError where the file cannot be written.
    """
    chosen = pictured(answers, shown)
    figure = Figure(figsize=(11, 3.0), layout='constrained')
    left, right = figure.subfigures(1, 2, width_ratios=(2.4, 1))
    grid = left.subplots(2, len(chosen), squeeze=False)
    for column, answer in zip(grid.T, chosen, strict=True):
        reads = (answer.query.read, lambda place=answer.place: picture_of(place))
        state = state_of(answer)
        titles = ('query', f'place {answer.place.id}\n{answer.confidence:.2f} {state}')
        for cell, read, title in zip(column, reads, titles, strict=True):
            image = _unless_gone(read)
            if image is not None:
                cell.imshow(image)
            cell.set_title(title, fontsize=9, color=STATES[state][0])
            cell.set_axis_off()
    axes = right.subplots()
    draw_route(axes, answers)
    axes.legend(fontsize=8)
    axes.grid(alpha=0.3)
    try:
        with whole_file(path) as draft:
            figure.savefig(draft, dpi=100, metadata={'Software': None})
    except OSError as error:
        raise VprError(f'{path}: the picture cannot be written ({error.strerror})') from error

# SPDX-License-Identifier: Apache-2.0
"""The report of a trial as one HTML page, which needs no network."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass

from ashtkd_ros.evaluation.illustrations import Illustration, illustration, picture_uri
from ashtkd_ros.evaluation.page import decimal, percent, render
from ashtkd_ros.text import counted
from ashtkd_ros.trials.judging import UNJUDGED, WRONG
from ashtkd_ros.trials.recorded_pictures import MapPictures, images_of
from ashtkd_ros.trials.report_files import GENERATOR
from ashtkd_ros.trials.stretches import LOST_S, Stretch, chief
from ashtkd_ros.trials.trial_pictures import numbered, route_figure, time_figure
from ashtkd_ros.trials.trial_report import TrialReport

PACKAGE = 'ashtkd_ros.trials'
_MOST_STRETCHES, _MOST_PICTURED = 200, 12
_MOST_EVENTS, _MOST_CHECKS = 500, 100
_FIRST_NOTES, _MOST_REASONS = 5, 4  # above all else
_ROUTE = (
    'Each mark is an answer, where its image was taken. Numbers are faults, as in the list; '
    'letters are marks: S start, W wrong, L landmark, N note.'
)
_TIME = (
    'Above: each answer, how sure it was; unknown ones at 0. Dotted lines are faults by their '
    'numbers. Below: what failed, when and why.'
)
Card = tuple[str, str, str]


@dataclass(frozen=True)
class Pictured:
    """A stretch and its pictures: (data URI, what it shows) of image, right place, named place."""

    stretch: Stretch
    pictures: list[tuple[str, str]]


def trial_page(report: TrialReport) -> str:
    """HTML; the images that it shows are read from the bag and the map only here."""
    source = report.source
    events = [event for event in source.events if event.is_fault]
    return render(
        'trial.html',
        PACKAGE,
        generator=GENERATOR,
        report=report,
        figures=report.figures,
        cards=cards_of(report),
        summary=summary_of(report),
        first_notes=_FIRST_NOTES,
        faults=list(numbered(source.events))[:_MOST_EVENTS],
        more_faults=max(len(events) - _MOST_EVENTS, 0),
        lines=_lines(report),
        stretches=chief(report.stretches, _MOST_STRETCHES),
        most_stretches=_MOST_STRETCHES,
        pictured=_pictured(report),
        time=illustration(lambda: time_figure(report), 'Along the time', _TIME),
        route=_route(report),
        clock=clock,
        why=why_text,
        facts=_facts(report),
        checks=check_lines(source.checks),
        lost_after=LOST_S,
    )


def clock(seconds: float) -> str:
    """Minutes and seconds of the trial."""
    minutes, rest = divmod(round(abs(seconds)), 60)
    return f'{"-" if seconds <= -0.5 else ""}{minutes}:{rest:02d}'


def why_text(stretch: Stretch) -> str:
    """The reasons of a stretch in words, the commonest first."""
    total = sum(stretch.why.values())
    parts = [
        f'{why} ({percent(n / total)})' if len(stretch.why) > 1 else why
        for why, n in stretch.why.items()
    ]
    return ', '.join(parts[:3]) or stretch.what


def summary_of(report: TrialReport) -> list[str]:
    """Where it failed most and why, and what is not judged, in sentences."""
    lost: dict[str, list[Stretch]] = {}
    for stretch in report.stretches:
        if stretch.what != UNJUDGED:
            lost.setdefault(stretch.reason, []).append(stretch)
    seconds = {why: sum(s.end - s.start for s in own) for why, own in lost.items()}
    worst = sorted(seconds, key=lambda why: -seconds[why])[:_MOST_REASONS]
    told = [f'{why} ({seconds[why]:.1f} s, from {clock(lost[why][0].start)} on)' for why in worst]
    lines = [f'It failed longest for these reasons: {", ".join(told)}.'] if told else []
    unjudged = Counter(one.why for one in report.judged if one.verdict == UNJUDGED)
    if unjudged and report.truth.kinds:
        of = f'{report.figures["unjudged"]} of {counted(len(report.judged), "answer")}'
        whys = ', '.join(why for why, _ in unjudged.most_common(_MOST_REASONS))
        lines.append(f'{of} could not be judged: {whys}.')
    return lines


def cards_of(report: TrialReport) -> list[Card]:
    """Headline figures: name, value, explanation."""
    f = report.figures
    answered = f'of {counted(f["answers"], "answer")}, {f["named"]} named a place'
    if not report.truth.kinds:
        sure = f'median of {f["named"]}'
        return [
            ('Named', percent(f['named_share']), answered),
            ('Confidence', decimal(f['median_confidence'], 2), sure),
            ('Places', str(f['places_named']), 'different ones were named'),
            _latency(report),
        ]
    lowest = f['lowest_confidence']
    threshold = 'of the places named' if lowest is None else f'from confidence {lowest:.3f} on'
    on, between = f['on_map'], f['metres_between_median']
    lost = f'{decimal(f["lost_s"], 1)} s together, longest {decimal(f["longest_lost_s"], 1)} s'
    off = f'{f["off_map_wrong"]} of them named, {f["off_map_unknown"]} unknown'
    return [
        ('Right on the map', percent(f['right_share']), f'{f["right"]} of {on} answers'),
        ('Wrong', percent(f['wrong_share']), f'{f["wrong"]} of {on}'),
        ('Unknown', percent(f['unknown_share']), f'{f["unknown"]} of {on}, on the map'),
        ('Precision', percent(f['precision']), threshold),
        ('Off the map', str(f['off_map']), off),
        (
            'Between right answers',
            '–' if between is None else f'{between:.1f} m',
            f'median; longest {decimal(f["metres_between_longest"], 1)} m',
        ),
        ('Lost', counted(f['lost_times'], 'time'), lost),
        _latency(report),
    ]


def _latency(report: TrialReport) -> Card:
    f = report.figures
    p50, p95 = f['latency_p50_ms'], f['latency_p95_ms']
    value = '–' if p50 is None else f'{p50:.0f} ms'
    return ('Latency', value, f'median; 95 % within {decimal(p95, 0)} ms')


def _route(report: TrialReport) -> Illustration | None:
    if not any(one.at is not None for one in report.judged):
        return None
    return illustration(lambda: route_figure(report), 'On the route', _ROUTE)


def _lines(report: TrialReport) -> list[tuple[float, str, str, str]]:
    """Events and marks in order: seconds, kind, text, who said it."""
    source = report.source
    lines = [
        (e.seconds, e.kind, e.text, 'live' if e.live else 'found in the recording')
        for e in source.events
    ]
    lines += [(when, mark.kind, mark.text or mark.kind, 'mark') for when, mark in source.marks]
    return sorted(lines)[:_MOST_EVENTS]


def _pictured(report: TrialReport) -> list[Pictured]:
    """The longest failed stretches with an image from their middle, in order of time."""
    failed = [s for s in report.stretches if s.judged is not None and s.what != UNJUDGED]
    failed.sort(key=lambda s: (s.what != WRONG, s.start - s.end))
    chosen = sorted(failed[:_MOST_PICTURED], key=lambda s: s.start)
    images = {
        answer: picture_uri(image)
        for answer, image in images_of(report.source.recording, [s.judged.answer for s in chosen])
    }
    places, pictured = MapPictures(report.source.maps.main), []
    for stretch in chosen:
        one = stretch.judged
        pictures = [(images[one.answer], 'the image')] if one.answer in images else []
        for picture, text in (
            (places.of_row(one.nearest), 'the right place'),
            (places.of_place(one.place), f'place {one.place}, which was named'),
        ):
            if picture is not None:
                pictures.append((picture_uri(picture), text))
        if pictures:
            pictured.append(Pictured(stretch, pictures))
    return pictured


def _facts(report: TrialReport) -> dict[str, str]:
    """How the trial was driven and judged."""
    source, truth = report.source, report.truth
    facts = {
        'Trial': str(source.folder.path),
        **{
            name.capitalize(): text
            for name, text in asdict(source.sheet).items()
            if name != 'name' and text
        },
        'Length': f'{source.seconds / 60:.1f} minutes',
        'Right is': '; '.join(truth.rule) or 'not known',
    }
    if source.maps.path is not None:
        count = f', {len(source.maps.main.places)} pictures of places' if source.maps.main else ''
        facts['Map'] = f'{source.maps.path}{count}'
    for name, key in (('Program', 'program'), ('Started', 'started')):
        if isinstance(source.configuration.get(key), (str, int, float)):
            facts[name] = str(source.configuration[key])
    recording = source.recording
    facts['Recorded'] = ', '.join(
        f'{path.name} ({clock(start)} to {clock(end)})'
        for path, (start, end) in zip(recording.bags, recording.spans, strict=True)
    )
    return {key: value for key, value in facts.items() if value}


def check_lines(checks: dict) -> list[str]:
    """What the check list said before the start: the verdict, and a line a check."""
    lines = [str(checks['verdict'])] if 'verdict' in checks else []
    rows = checks.get('checks')
    for row in rows if isinstance(rows, list) else []:
        if isinstance(row, dict):
            told = [str(row.get(key) or '') for key in ('verdict', 'name', 'text', 'advice')]
            lines.append('; '.join(filter(None, [': '.join(told[:3]), told[3]])))
    return lines[:_MOST_CHECKS]

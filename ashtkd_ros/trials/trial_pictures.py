# SPDX-License-Identifier: Apache-2.0
"""The pictures of a trial: its route on the map, and what happened along the time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ashtkd_ros.evaluation.figures import STATES
from ashtkd_ros.sampling import thin
from ashtkd_ros.trials.judging import RIGHT, UNJUDGED, UNKNOWN, WRONG, Judged
from ashtkd_ros.trials.stretches import Stretch
from ashtkd_ros.trials.timeline import Event
from ashtkd_ros.trials.trial_report import TrialReport

# Verdict → colour and marker, as in the reports of evaluations.
LOOKS = {
    UNJUDGED: ('#BBBBBB', '.'),
    UNKNOWN: STATES['unknown'][:2],
    RIGHT: STATES['right'][:2],
    WRONG: STATES['wrong'][:2],
}
_SILENT = '#20262b'
_MOST, _MOST_PLACES = 3000, 5000
_MOST_REASONS = 9
_ROUTE_SIZE, _TIME_SIZE = (5.8, 5.0), (11.0, 4.6)


def route_figure(report: TrialReport) -> Figure | None:
    """The route from above: right, wrong and unknown answers, faults by their numbers in the list,
    and marks. None where no answer has a position."""
    placed = [one for one in report.judged if one.at is not None]
    if not placed:
        return None
    figure = Figure(figsize=_ROUTE_SIZE, layout='constrained')
    axes = figure.subplots()
    main = report.source.maps.main
    if main is not None and main.places.posed.any():
        at = main.places.positions[main.places.posed, :2]
        at = at[thin(len(at), _MOST_PLACES)]
        axes.plot(*at.T, '.', ms=2.5, color='#C9CED2', label='places of the map', zorder=0)
    _draw_answers(axes, placed)
    times = np.array([one.seconds for one in placed])
    where = np.array([one.at for one in placed])
    for number, event in numbered(report.source.events):
        _note(axes, _at(event.seconds, times, where), str(number), '#8A1C00')
    for when, mark in report.source.marks:
        _note(axes, _at(when, times, where), mark.kind[:1].upper(), '#00533A')
    axes.set(xlabel='x [m]', ylabel='y [m]')
    axes.set_aspect('equal', adjustable='datalim')
    axes.grid(alpha=0.25)
    axes.legend(fontsize=8, loc='best')
    return figure


def numbered(events: Sequence[Event]) -> list[tuple[int, Event]]:
    """The faults among events, numbered from 1, as all pictures and lists number them."""
    return list(enumerate((event for event in events if event.is_fault), 1))


def _draw_answers(axes: Axes, placed: Sequence[Judged]) -> None:
    for verdict, (colour, marker) in LOOKS.items():  # the last on top
        chosen = np.array([one.at for one in placed if one.verdict == verdict]).reshape(-1, 2)
        shown = chosen[thin(len(chosen), _MOST)] if len(chosen) else chosen
        if len(chosen):
            name = f'{verdict} ({len(chosen)})'
            axes.scatter(*shown.T, s=18, marker=marker, linewidths=0, color=colour, label=name)


def _at(seconds: float, times: np.ndarray, where: np.ndarray) -> tuple[float, float]:
    return tuple(float(np.interp(seconds, times, where[:, k])) for k in (0, 1))


def _note(axes: Axes, at: tuple[float, float], text: str, colour: str) -> None:
    axes.annotate(
        text,
        at,
        xytext=(8, 8),
        textcoords='offset points',
        fontsize=8,
        color=colour,
        bbox={'boxstyle': 'round,pad=0.2', 'fc': 'white', 'ec': colour, 'lw': 0.8},
        arrowprops={'arrowstyle': '-', 'color': colour, 'lw': 0.8},
    )


def time_figure(report: TrialReport) -> Figure:
    """Confidences over the minutes, coloured by verdict, above the reasons for what failed."""
    figure = Figure(figsize=_TIME_SIZE, layout='constrained')
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1.5))
    for verdict, (colour, marker) in LOOKS.items():
        chosen = [one for one in report.judged if one.verdict == verdict]
        chosen = [chosen[k] for k in thin(len(chosen), _MOST).tolist()] if chosen else []
        minutes = [one.seconds / 60 for one in chosen]
        sure = [0.0 if one.place is None else one.confidence for one in chosen]
        if chosen:
            above.scatter(
                minutes, sure, s=14, marker=marker, linewidths=0, color=colour, label=verdict
            )
    above.set(ylabel='confidence', ylim=(-0.06, 1.12))
    above.grid(alpha=0.25)
    if above.get_legend_handles_labels()[0]:
        place = {'loc': 'lower left', 'bbox_to_anchor': (0, 1.0), 'frameon': False}
        above.legend(fontsize=8, ncols=4, **place)
    _draw_reasons(below, report.stretches)
    for number, event in numbered(report.source.events):
        for axes in (above, below):
            axes.axvline(event.minute, color='#8A1C00', lw=0.8, ls=':')
        look = {'color': '#8A1C00', 'fontsize': 8, 'ha': 'center', 'clip_on': True}
        above.text(event.minute, 1.04, str(number), **look)
    for when, mark in report.source.marks:
        look = {'color': '#00533A', 'fontsize': 8, 'clip_on': True}
        above.text(when / 60, -0.05, mark.kind[:1].upper(), **look)
    below.set(xlabel='minute of the trial', xlim=(0, max(report.source.seconds / 60, 1e-3)))
    return figure


def _draw_reasons(axes: Axes, stretches: Sequence[Stretch]) -> None:
    lengths: dict[str, float] = {}
    for stretch in stretches:
        length = stretch.end - stretch.start
        lengths[stretch.reason] = lengths.get(stretch.reason, 0.0) + length
    shown = sorted(lengths, key=lambda reason: -lengths[reason])[:_MOST_REASONS]
    for row, reason in enumerate(reversed(shown)):
        for stretch in stretches:
            if stretch.reason == reason:
                colour = LOOKS.get(stretch.what, (_SILENT, ''))[0]
                length = max(stretch.end - stretch.start, 0.2) / 60
                axes.broken_barh([(stretch.start / 60, length)], (row - 0.4, 0.8), color=colour)
    axes.set_yticks(range(len(shown)), list(reversed(shown)), fontsize=8)
    axes.set_ylim(-0.6, max(len(shown), 1) - 0.4)
    axes.grid(alpha=0.25, axis='x')

# SPDX-License-Identifier: Apache-2.0
"""The screen of the dashboard in whatever room the terminal has."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import numpy as np
from rich import box
from rich.cells import cell_len, set_cell_size
from rich.console import Group, RenderableType
from rich.layout import Layout
from rich.panel import Panel
from rich.rule import Rule
from rich.text import Text

from ashtkd_ros.trials.dashboard.alerts import alerts
from ashtkd_ros.trials.dashboard.keys import HELP, Keys
from ashtkd_ros.trials.dashboard.panels import (
    log_lines,
    more_node_lines,
    more_trial_lines,
    node_lines,
    place_lines,
    state_line,
    trial_lines,
)
from ashtkd_ros.trials.dashboard.place_map import PlaceMap
from ashtkd_ros.trials.dashboard.state import DashboardState
from ashtkd_ros.trials.dashboard.tame_text import duration

_SMALL = (60, 20)  # columns and rows; with less there are no frames
_LARGE = (120, 36)  # from these on the map has a column of its own
_ROOMY = 44  # rows from which a large screen tells more
_MAP = 76  # columns from which there is a map beside the rest
_LEFT, _LEFT_LARGE = 54, 84  # columns
_BAR_SMALL = 8  # columns
_SMALL_REST = 6  # rows of a small screen: title, place, confidence, an alert, an event, keys
# Of its figures, those that come first where there is little room: sequence, recorder, camera,
# rates, pose, latency, disk, messages, watch, candidates.
_IMPORTANCE = (0, 6, 5, 3, 2, 4, 8, 7, 9, 1)
_SHORT = 56  # columns; with less the keys are only named
_KEYS = 's start  w wrong  l landmark  n note  ? help  q quit'
_KEYS_SHORT = 'marks: s w l n  ? help  q quit'
_NO_KEYS = 'no keys: the input is no terminal; Ctrl-C ends'


class View:
    """Draws a state; keeps the map that it has drawn."""

    def __init__(self, state: DashboardState, keys: Keys | None):
        """`keys`: None where none can be pressed."""
        self._state, self._keys, self._map = state, keys, PlaceMap()

    @property
    def _helping(self) -> bool:
        return self._keys is not None and self._keys.help

    def screen(self, width: int, height: int, ascii_only: bool = False) -> RenderableType:
        """All of it, at most `width` x `height` characters."""
        if width < _SMALL[0] or height < _SMALL[1]:
            return Group(*self._small(width, height))
        large = width >= _LARGE[0] and height >= _LARGE[1]
        body = self._large if large else self._medium
        room = 4 if large else 2 if height >= 24 else 1
        layout = Layout()
        layout.split_column(
            Layout(self._title(width), size=1),
            body(width, height - room - 2, ascii_only),
            Layout(Group(*self._alerts(room)), size=room),
            Layout(self._prompt(width), size=1),
        )
        return layout

    def _medium(self, width: int, height: int, ascii_only: bool) -> Layout:
        """Place and figures, the map beside them, the log below."""
        left = [_panel('place', place_lines(self._state))]
        if not self._helping:
            figures = node_lines(self._state) + trial_lines(self._state)
            left.append(_panel('node and trial', figures))
        tall = sum(panel.height for panel in left)
        above = Layout(size=tall)
        if width >= _MAP:
            seen = self._map_panel(width - _LEFT, tall, ascii_only)
            above.split_row(_stack(left, _LEFT), Layout(seen))
        else:
            above.split_column(*_stack(left).children)
        body = Layout()
        body.split_column(above, Layout(self._lower(height - tall)))
        return body

    def _lower(self, height: int) -> RenderableType:
        if self._helping:
            return _panel('keys', _help_lines())
        return Group(_rule('events and marks'), *log_lines(self._state, height - 1))

    def _large(self, width: int, height: int, ascii_only: bool) -> Layout:
        """Everything in the left column, the map on the right."""
        state = self._state
        node, trial = [state_line(state), *node_lines(state)], trial_lines(state)
        if height >= _ROOMY:
            node, trial = node + more_node_lines(state), trial + more_trial_lines(state)
        left = [
            _panel('place', place_lines(state)),
            _panel('node', node),
            _panel('trial', trial),
        ]
        rest = height - sum(panel.height for panel in left)
        title, lines = 'events and marks', log_lines(state, rest - 2)
        if self._helping:
            title, lines = 'keys', _help_lines()
        left.append(_panel(title, lines, rest))
        body = Layout()
        seen = self._map_panel(width - _LEFT_LARGE, height, ascii_only)
        body.split_row(_stack(left, _LEFT_LARGE), Layout(seen))
        return body

    def _small(self, width: int, height: int) -> list[Text]:
        """Lines without frames; where not all have room, those that matter."""
        state = self._state
        if self._helping:
            return [*_help_lines()[: height - 1], self._prompt(width)]
        headline, confidence, *rest = place_lines(state, _BAR_SMALL)
        figures = [*rest, *node_lines(state), *trial_lines(state)]
        room = height - _SMALL_REST
        shown = sorted(_IMPORTANCE[: max(room, 0)])
        lines = [headline, self._title(width), confidence, *(figures[i] for i in shown)]
        lines = [*lines, *self._alerts(1)][: height - 1]
        lines += log_lines(state, height - 1 - len(lines))
        lines[:2] = lines[1::-1] if height > 2 else lines[:2]
        return [*lines, self._prompt(width)] if height > 1 else [headline]

    def _title(self, width: int) -> Text:
        """Who is watched, how long the trial has been going on, what time it is."""
        state = self._state
        does = '' if state.node_status is None else state.node_status.value.values.get('state', '')
        left = f' {state.node} {does}' if state.node else ' waiting for a vpr_node'
        trial = 'no trial' if state.watch is None else 'trial'
        if math.isfinite(elapsed := state.elapsed_s):
            trial = 'ended' if state.has_ended else 'trial'
            trial += f'{"" if state.start_is_sure else " about"} {duration(elapsed)}'
        right = f'  {trial}  ' + (time.strftime('%H:%M:%S ') if width >= _SMALL[0] else '')
        room = max(width - cell_len(right), 0)
        return Text(set_cell_size(left, room) + right, 'reverse', no_wrap=True, overflow='crop')

    def _alerts(self, room: int) -> list[Text]:
        """At most `room` lines; the last one tells how many have no room."""
        found = alerts(self._state)
        if not found:
            return [_cut(Text('no alert', 'dim'))]
        hidden = len(found) - room
        lines = []
        for number, alert in enumerate(found[:room], start=1):
            more = f'({hidden} more) ' if number == room and hidden > 0 else ''
            style = 'bold white on red' if alert.bad else 'yellow'
            lines.append(_cut(Text(f'! {more}{alert.text}', style)))
        return lines

    def _prompt(self, width: int) -> Text:
        keys = self._keys
        if keys is None:
            return _cut(Text(_NO_KEYS, 'dim'))
        if not keys.typing:
            return _cut(Text(_KEYS if width >= _SHORT else _KEYS_SHORT, 'bold'))
        text, advice = keys.text, '  (Enter sends, Esc takes back)' if width >= _SHORT else ''
        room = max(width - len(keys.typing) - len(advice) - 4, 1)
        while cell_len(text) > room:
            text = text[1:]
        line = Text.assemble((f'{keys.typing}: ', 'bold'), text, (' ', 'reverse'), (advice, 'dim'))
        return _cut(line)

    def _map_panel(self, width: int, height: int, ascii_only: bool) -> Panel:
        state, size = self._state, (width - 4, height - 2)
        if state.places is None or not len(state.places):
            why = 'no map heard yet' if state.places is None else 'the map has no poses'
            return _panel('map', [Text(why, 'dim')], height)
        pose = state.pose and state.pose.value
        known = state.place is not None and bool(state.place.value)
        live = known and not state.is_stale(state.pose)
        lines = self._map.lines(state.places, state.trail, pose, live, size, ascii_only)
        across, up = np.ptp(state.places, axis=0)
        return _panel(f'map, {across:.0f} x {up:.0f} m', lines, height)


def _panel(title: str, lines: Sequence[Text], height: int | None = None) -> Panel:
    """A framed list of lines, as tall as it must be, or `height` with its frame."""
    tall = len(lines) + 2 if height is None else max(height, 2)
    return Panel(
        Group(*lines),
        title=title,
        title_align='left',
        height=tall,
        box=box.ROUNDED,
        border_style='bright_black',
    )


def _rule(title: str) -> Rule:
    return Rule(title, align='left', style='bright_black')


def _stack(panels: Sequence[Panel], width: int | None = None) -> Layout:
    """Panels above each other; `width`: of the column, by default all that there is."""
    column = Layout(size=width)
    column.split_column(*(Layout(panel, size=panel.height) for panel in panels))
    return column


def _help_lines() -> list[Text]:
    return [_cut(Text.assemble((key.ljust(5), 'bold'), text)) for key, text in HELP]


def _cut(line: Text) -> Text:
    line.no_wrap, line.overflow = True, 'ellipsis'
    return line

# SPDX-License-Identifier: Apache-2.0
"""What the dashboard has heard, and when; fed by the ROS skin, drawn by `view`."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np

from ashtkd_ros.trials.dashboard.marks import Marks
from ashtkd_ros.trials.dashboard.tame_text import tame
from ashtkd_ros.trials.trial_log import LogEntry, parsed_entry
from ashtkd_ros.trials.vocabulary import ENDED, RECORDER_STATUS, STARTED, WATCH_STATUS

NODE_STATUS = ': place recognition'  # how the status of a vpr_node ends, after its full name
STALE_S = 3.0  # what is older is shown as old
_FARTHEST_M = 1e7
_LONGEST_ENTRY = 2**16  # bytes
_EVENTS, _TRAIL, _CANDIDATES = 100, 300, 10
_RATE_S = 60.0  # over which the writing of the recorder is measured
_AGREES_S = 2.0  # between two clocks about the time that has passed
OK, WARN, ERROR = 0, 1, 2

_Value = TypeVar('_Value')


@dataclass(frozen=True)
class Heard(Generic[_Value]):
    """A value, and the second of the state's clock when it came."""

    value: _Value
    at: float


@dataclass(frozen=True)
class Status:
    """One status of /diagnostics; `level`: OK, WARN, ERROR, or 3 for stale."""

    level: int
    text: str
    hardware_id: str = ''
    values: Mapping[str, str] = field(default_factory=dict)

    def number(self, key: str) -> float:
        """A value as a number; NaN where it is none."""
        try:
            return float(self.values.get(key, 'nan'))
        except ValueError:
            return math.nan


@dataclass(frozen=True)
class Candidate:
    """A place as the node names it, and its confidence, NaN where that is no probability."""

    place: str
    confidence: float


@dataclass(frozen=True)
class Position:
    """Metres in the map, and the heading in radians."""

    x: float
    y: float
    yaw: float


class DashboardState:
    """All that has been heard; every text is tame, every number of places and poses is finite.

    `clock()`: seconds that never jump. `node`: full name of the vpr_node, empty until one is
    found. `places`: float (N, 2), metres; None until the map has been heard.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self.marks = Marks(clock)
        self.events: deque[LogEntry] = deque(maxlen=_EVENTS)
        self.events_heard = 0
        self.recorder: Heard[Status] | None = None
        self.watch: Heard[Status] | None = None
        self._folder = ''  # of the trial, as the watch tells it
        self._start_s = self._end_s = math.nan  # of the trial, on the state's clock
        self.start_is_sure = True
        self._written: deque[tuple[float, float]] = deque(maxlen=round(_RATE_S))
        self.follow('')

    def follow(self, node: str) -> None:
        """From now on this node is watched; what was known of another one is forgotten."""
        self.node = node
        self.place: Heard[list[Candidate]] | None = None  # best first; empty: unknown
        self.name = ''
        self.pose: Heard[Position] | None = None
        self.trail: deque[tuple[float, float]] = deque(maxlen=_TRAIL)
        self.places: np.ndarray | None = None
        self.node_status: Heard[Status] | None = None

    def now(self) -> float:
        """The second that it is."""
        return self._clock()

    def age(self, heard: Heard | None) -> float:
        """Seconds since something was heard; infinite if it never was."""
        return math.inf if heard is None else self._clock() - heard.at

    def is_stale(self, heard: Heard | None) -> bool:
        """Whether something is too old to be taken as the present."""
        return self.age(heard) > STALE_S

    def hear_place(self, candidates: Sequence[tuple[str, float]]) -> None:
        """An answer of the node: places and confidences, best first; none: unknown."""
        kept = [Candidate(tame(i, 20), _probability(c)) for i, c in candidates[:_CANDIDATES]]
        before = self.place.value[0].place if self.place and self.place.value else ''
        if not kept or kept[0].place != before:
            self.name = ''
        self.place = Heard(kept, self._clock())

    def hear_name(self, name: str) -> None:
        """The name of the place that was heard last."""
        self.name = tame(name)

    def hear_pose(self, x: float, y: float, yaw: float) -> None:
        """A pose in metres and radians; one that cannot be is passed over."""
        if abs(x) <= _FARTHEST_M and abs(y) <= _FARTHEST_M and math.isfinite(yaw):
            self.pose = Heard(Position(x, y, yaw), self._clock())
            self.trail.append((x, y))

    def hear_places(self, points: np.ndarray) -> None:
        """The places of a map that have a pose, float (N, 2), metres."""
        self.places = points[(np.abs(points) <= _FARTHEST_M).all(axis=1)]

    def hear_status(
        self, name: str, level: int, text: str, hardware_id: str, values: Mapping[str, str]
    ) -> None:
        """A status of /diagnostics; those of others are passed over."""
        of = {RECORDER_STATUS: 'recorder', WATCH_STATUS: 'watch'}
        if self.node:
            of[f'{self.node}{NODE_STATUS}'] = 'node_status'
        if name not in of or (name == RECORDER_STATUS and not self._is_of_trial(hardware_id)):
            return
        if name == WATCH_STATUS:
            self._folder = hardware_id
        tamed = {tame(key, 60): tame(value) for key, value in values.items()}
        status = Status(level, tame(text), tame(hardware_id), tamed)
        setattr(self, of[name], Heard(status, self._clock()))
        if name == RECORDER_STATUS:
            self._note_written(status.number('bytes'))

    def _is_of_trial(self, bag: str) -> bool:
        """Whether a bag is in the folder of the trial; others may record as well."""
        known = self._folder and not self.is_stale(self.watch)
        return not known or bag.rpartition('/')[0] == self._folder

    def _note_written(self, size: float) -> None:
        if self._written and not size >= self._written[-1][1]:
            self._written.clear()  # another recording
        if math.isfinite(size):
            self._written.append((self._clock(), size))

    @property
    def minutes_left(self) -> float:
        """Until the disk is full, as fast as the recorder writes now; NaN if that is unknown."""
        if self.recorder is None or len(self._written) < 2:
            return math.nan
        (began, first), (ended, last) = self._written[0], self._written[-1]
        free = self.recorder.value.number('disk free MB') * 1e6
        speed = (last - first) / max(ended - began, 1e-3)
        return free / speed / 60 if speed > 0 else math.nan

    def hear_event(self, text: str) -> None:
        """An event of the trial as JSON; one that is damaged, or was heard before, is passed
        over."""
        entry = _tame_entry(text)
        if entry is None or any(_same(entry, other) for other in self.events):
            return
        self.events.append(entry)
        self.events_heard += 1
        if entry.kind == STARTED:
            self._note_start(entry)
        elif entry.kind == ENDED:
            self._end_s = self._clock()

    def hear_marked(self, text: str) -> None:
        """A mark as JSON that is on the disk; a damaged one is passed over."""
        if (entry := _tame_entry(text)) is not None:
            self.marks.acknowledge(entry)

    def _note_start(self, entry: LogEntry) -> None:
        """By the clock that never jumps, which another machine does not share."""
        steady = (time.monotonic_ns() - entry.monotonic_ns) / 1e9
        system = (time.time_ns() - entry.stamp_ns) / 1e9
        self.start_is_sure = abs(steady - system) < _AGREES_S and steady > -_AGREES_S
        self._start_s = self._clock() - (steady if self.start_is_sure else system)
        self._end_s = math.nan

    @property
    def has_ended(self) -> bool:
        """Whether the trial has ended."""
        return math.isfinite(self._end_s)

    @property
    def elapsed_s(self) -> float:
        """Seconds that the trial has taken so far; NaN where no beginning was heard."""
        return (self._end_s if self.has_ended else self._clock()) - self._start_s

    def present_place(self) -> str:
        """What the screen says the place is, for a mark."""
        if self.place is None:
            return 'no place'
        best = f'place {self.place.value[0].place}' if self.place.value else 'unknown place'
        return f'{best}, {self.age(self.place):.0f} s old' if self.is_stale(self.place) else best


def _probability(value: float) -> float:
    return value if 0.0 <= value <= 1.0 else math.nan


def _same(one: LogEntry, other: LogEntry) -> bool:
    return (one.stamp_ns, one.kind, one.text) == (other.stamp_ns, other.kind, other.text)


def _tame_entry(text: str) -> LogEntry | None:
    if len(text) > _LONGEST_ENTRY:
        return None
    entry = parsed_entry(text.encode(errors='replace'))
    if entry is None:
        return None
    return LogEntry(tame(entry.kind, 40), tame(entry.text), entry.stamp_ns, entry.monotonic_ns)

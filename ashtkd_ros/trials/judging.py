# SPDX-License-Identifier: Apache-2.0
"""Each answer of a trial judged: right, wrong, unknown, or unjudged; and why it is not right."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ashtkd_ros.trials.node_status import NodeStatus
from ashtkd_ros.trials.recorded_images import FAULTS
from ashtkd_ros.trials.recording import Answer, Recording
from ashtkd_ros.trials.trial_log import LogEntry
from ashtkd_ros.trials.trial_maps import KnownMap, TrialMaps
from ashtkd_ros.trials.truth import NOWHERE, Truth
from ashtkd_ros.trials.vocabulary import LANDMARK
from ashtkd_ros.trials.vocabulary import WRONG as MARKED_WRONG

RIGHT, WRONG, UNKNOWN, UNJUDGED = 'right', 'wrong', 'unknown', 'unjudged'
VERDICTS = (RIGHT, WRONG, UNKNOWN, UNJUDGED)
OFF_THE_MAP, SWAPPED, NEW_LOOK = 'off the map', 'map swapped', 'new look'
ALIKE, NEAR_MISS, NOT_SURE = 'looks like another place', 'near miss', 'not sure enough'
MARKED, NOT_IN_MAP = 'marked wrong', 'place not in the map'
_SIMILARITY_S = 1.6  # a status tells of the images of about the second before it
_BEFORE_MARK_S, _AFTER_MARK_S = 5.0, 0.5  # an operator needs seconds to see and press
LANDMARK_S = 1.5  # around a mark "landmark": these images show it


@dataclass(frozen=True)
class Judged:
    """One answer. `seconds`: when its image was received, since the trial began.

    `on_map`: whether the map has a place there, None: not known; `metres`: from the image to the
    named place, NaN: not known; `at`: where the image was taken, or None; `nearest`: row of the
    right place that is nearest, in the map of the trial; `expected`: its name, where a name tells
    what is right; `why`: why it is not right, empty where it is.
    """

    answer: Answer
    seconds: float
    verdict: str
    on_map: bool | None = None
    metres: float = math.nan
    at: tuple[float, float] | None = None
    nearest: int | None = None
    expected: str = ''
    name: str = ''
    why: str = ''

    @property
    def place(self) -> int | None:
        """The place that was named; None: unknown."""
        return self.answer.places[0] if self.answer.places else None

    @property
    def confidence(self) -> float:
        """Of the named place; NaN without one."""
        return self.answer.scores[0] if self.answer.scores else math.nan

    @property
    def failed(self) -> bool:
        """Wrong, or unknown where the map has a place."""
        return self.verdict == WRONG or (self.verdict == UNKNOWN and bool(self.on_map))


def image_seconds(recording: Recording) -> list[float]:
    """When the image of each answer was received; of one that is not in the bag, the answer."""
    return [
        a.seconds if a.row is None else recording.cameras[a.camera].seconds[a.row]
        for a in recording.answers
    ]


def judge(
    recording: Recording,
    seconds: Sequence[float],
    truth: Truth,
    maps: TrialMaps,
    metres: float,
    new_look_below: float | None = None,
) -> list[Judged]:
    """Judge all answers of a recording, in their order.

    `seconds`: of their images; `metres`: how near is right; `new_look_below`: similarity, see
    `mapping.looks`.
    """
    similar = _Similarities(recording.statuses)
    judged = []
    for k, (answer, at_s) in enumerate(zip(recording.answers, seconds, strict=True)):
        where = None if math.isnan(truth.positions[k][0]) else tuple(truth.positions[k].tolist())
        known, swapped = maps.at(answer)
        blank = Judged(answer, at_s, UNJUDGED, at=where, expected=truth.names[k])
        if known is not None and answer.places:
            blank = replace(blank, name=known.name_of(answer.places[0]))
        if where is not None and maps.main is not None:
            one = _by_position(blank, maps.main, known, metres)
        elif blank.expected:
            one = _by_name(blank, maps.main, known)
        else:
            verdict = UNJUDGED if answer.places else UNKNOWN
            one = replace(blank, verdict=verdict, why=truth.reasons[k] or NOWHERE)
        if one.verdict != RIGHT:
            fault = '' if answer.row is None else _fault(recording, answer)
            similarity = similar.at(answer.seconds)
            one = replace(one, why=_why(one, swapped, fault, similarity, new_look_below, metres))
        judged.append(one)
    return judged


def _fault(recording: Recording, answer: Answer) -> str:
    return FAULTS[recording.cameras[answer.camera].faults[answer.row]]


def _by_position(one: Judged, main: KnownMap, known: KnownMap | None, metres: float) -> Judged:
    nearest = main.nearest(*one.at, metres)
    one = replace(one, on_map=nearest is not None, nearest=nearest)
    if one.place is None:
        return replace(one, verdict=UNKNOWN)
    apart = math.nan if known is None else known.metres_to(one.place, *one.at)
    if math.isnan(apart):
        # A place that the map does not have, or without a pose, is right nowhere that is known.
        why = SWAPPED if known is None else NOT_IN_MAP
        return replace(one, why=why)
    return replace(one, metres=apart, verdict=RIGHT if apart <= metres else WRONG)


def _by_name(one: Judged, main: KnownMap | None, known: KnownMap | None) -> Judged:
    expected = one.expected.casefold()
    on_map = None if main is None else expected in main.names
    one = replace(one, on_map=on_map)
    if one.place is None:
        return replace(one, verdict=UNKNOWN)
    if known is None:
        return one
    return replace(one, verdict=RIGHT if one.name.casefold() == expected else WRONG)


def _why(
    one: Judged,
    swapped: bool,
    fault: str,
    similarity: float,
    new_look_below: float | None,
    metres: float,
) -> str:
    """Why an answer is not right, in a few words."""
    if one.verdict == UNJUDGED:
        return one.why or NOWHERE
    if swapped or fault:
        return SWAPPED if swapped else fault
    if one.on_map is None:
        return one.why or NOWHERE
    if not one.on_map:
        return OFF_THE_MAP
    if new_look_below is not None and similarity < new_look_below:
        return NEW_LOOK
    if one.verdict == WRONG:
        return NEAR_MISS if one.metres <= 2 * metres else ALIKE
    return NOT_SURE


class _Similarities:
    """The similarity of the best place, which a node tells once a second."""

    def __init__(self, statuses: Sequence[NodeStatus]):
        told = [(s.seconds, s.similarity) for s in statuses if not math.isnan(s.similarity)]
        self._told = sorted(told)
        self._times = [at for at, _ in self._told]

    def at(self, seconds: float) -> float:
        """Of the images around an answer at a time; NaN where it is not told."""
        k = bisect_right(self._times, seconds)
        if k == len(self._told) or self._times[k] - seconds > _SIMILARITY_S:
            return math.nan
        return self._told[k][1]


def landmark_names(
    seconds: Sequence[float], marks: Sequence[tuple[float, LogEntry]]
) -> dict[int, str]:
    """Number of an answer → the landmark that its image shows, by the marks of the operator.

    `seconds`: of the images; `marks`: when, and what.
    """
    names: dict[int, str] = {}
    for when, mark in marks:
        if mark.kind == LANDMARK and mark.text.strip():
            near = (k for k, s in enumerate(seconds) if abs(s - when) <= LANDMARK_S)
            names |= dict.fromkeys(near, mark.text.strip())
    return names


def with_wrong_marks(
    judged: Sequence[Judged], marks: Sequence[tuple[float, LogEntry]]
) -> tuple[list[Judged], list[str]]:
    """The answers, those wrong that the operator marked so; notes where the truth says otherwise.

    A mark means the place that was shown then, named by the mark or the last one before it.
    """
    judged, notes = list(judged), []
    for when, mark in marks:
        if mark.kind != MARKED_WRONG:
            continue
        near = [
            k
            for k, one in enumerate(judged)
            if -_BEFORE_MARK_S <= one.answer.seconds - when <= _AFTER_MARK_S
            and one.place is not None
        ]
        shown = _shown(mark, [judged[k] for k in near])
        meant = [k for k in near if judged[k].place == shown]
        right = sum(judged[k].verdict == RIGHT for k in meant)
        if right:
            notes.append(
                f'minute {when / 60:.1f}: marked as wrong, but right by the truth; {right} of '
                f'{len(meant)} answers "{shown}" stay right'
            )
        for k in meant:
            if judged[k].verdict == UNJUDGED:
                judged[k] = replace(judged[k], verdict=WRONG, why=MARKED)
    return judged, notes


def _shown(mark: LogEntry, near: Sequence[Judged]) -> int | None:
    """The place that a mark means."""
    given = str(mark.values.get('place', ''))
    if given.isdecimal():
        return int(given)
    return near[-1].place if near else None

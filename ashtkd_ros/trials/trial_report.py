# SPDX-License-Identifier: Apache-2.0
"""The report of one trial: its answers judged, what failed when and why, and what happened."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ashtkd_ros.errors import VprError
from ashtkd_ros.mapping.looks import looks_of
from ashtkd_ros.recognition.matcher import Matcher
from ashtkd_ros.trials.folder import TrialFolder
from ashtkd_ros.trials.judging import (
    Judged,
    image_seconds,
    judge,
    landmark_names,
    with_wrong_marks,
)
from ashtkd_ros.trials.stretches import LostTime, Stretch, failures, lost_times
from ashtkd_ros.trials.trial_figures import Figures, figures_of
from ashtkd_ros.trials.trial_source import TrialSource, read_trial
from ashtkd_ros.trials.truth import AUTO, MARKS, NAMES, Truth, truth_by_position
from ashtkd_ros.trials.vocabulary import GNSS_JUMP, LANDMARK, WRONG

_ENOUGH, _DOUBTFUL = 20, 0.05  # named places, and a precision that is too bad to be true
METRES = 5.0  # default: how near a place is right; satellites are no more exact


@dataclass(frozen=True)
class ReportOptions:
    """`map`: folder, None: that of the trial's configuration; `metres`: how near a place is
    right; `truth`: one of TRUTHS."""

    map: Path | None = None
    metres: float = METRES
    truth: str = AUTO


@dataclass
class TrialReport:
    """`stretches`: of failed or unjudged answers, and of silence, in order; `truth`: which there
    was; `new_look_below`: similarity, None: not known."""

    source: TrialSource
    options: ReportOptions
    truth: Truth
    judged: list[Judged]
    figures: Figures
    stretches: list[Stretch]
    lost: list[LostTime]
    new_look_below: float | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Of the folder, which has date and name of the trial."""
        return self.source.folder.path.name

    @property
    def condition(self) -> str:
        """As the sheet says; empty where it does not."""
        return self.source.sheet.condition.strip()


def make_report(
    folder: TrialFolder,
    options: ReportOptions,
    tell: Callable[[str], object] = lambda _: None,
) -> TrialReport:
    """Read and judge a trial; VprError where the map that is given cannot be read.

    `tell`: called with a line when a step begins that may take long.
    """
    tell(f'{folder.path}: reading')
    source = read_trial(folder, options.map)
    recording = source.recording
    seconds = image_seconds(recording)
    jumps = [e.seconds for e in source.events if e.kind == GNSS_JUMP]
    main = source.maps.main
    truth = truth_by_position(
        options.truth, np.array(seconds), recording.tracks, main, options.metres, jumps
    )
    _add_names(truth, options.truth, source, seconds)
    limit = _new_look_below(source)
    judged = judge(recording, seconds, truth, source.maps, options.metres, limit)
    judged, contradictions = with_wrong_marks(judged, source.marks)
    figures = figures_of(recording, judged)
    stretches = sorted([*failures(judged), *source.pauses], key=lambda stretch: stretch.start)
    notes = [*_doubt(figures), *_without_truth(truth, source), *truth.notes, *source.notes]
    notes += contradictions
    return TrialReport(
        source,
        options,
        truth,
        judged,
        figures,
        stretches,
        lost_times(judged, recording.recorded),
        limit,
        list(dict.fromkeys(notes)),
    )


def _add_names(truth: Truth, wanted: str, source: TrialSource, seconds: list[float]) -> None:
    """What names of images and landmarks tell, where that is wanted."""
    recording = source.recording
    if wanted in (NAMES, AUTO) and recording.labels:
        firsts: dict[tuple[str, int], int] = {}
        for name, camera in recording.cameras.items():
            for row, bag in enumerate(camera.bags):
                firsts.setdefault((name, bag), row)
        names = {}
        for k, answer in enumerate(recording.answers):
            if answer.row is not None:
                bag = recording.cameras[answer.camera].bags[answer.row]
                number = answer.row - firsts[answer.camera, bag]
                names[k] = recording.labels.get((bag, number), '')
        truth.take_names(NAMES, names, 'the place of the name that labels.csv gives the image')
    marked, main = landmark_names(seconds, source.marks), source.maps.main
    known = frozenset() if main is None else main.names
    for name in dict.fromkeys(marked.values()):
        if name.casefold() not in known and wanted in (MARKS, AUTO):
            truth.notes.append(f'the map has no place "{name}": that landmark judges nothing')
    marked = {k: name for k, name in marked.items() if name.casefold() in known}
    if wanted in (MARKS, AUTO) and marked:
        truth.take_names(MARKS, marked, 'the place of the landmark that was marked just then')
    if wanted in (MARKS, AUTO) and any(mark.kind == WRONG for _, mark in source.marks):
        truth.kinds += [] if MARKS in truth.kinds else [MARKS]
        truth.rule.append('not what was marked as wrong')


def _new_look_below(source: TrialSource) -> float | None:
    """The similarity below which an image of a known place has a new look; None: not known."""
    if source.maps.main is None or not source.recording.statuses:
        return None
    try:
        return looks_of(Matcher(source.maps.main.map)).limit
    except VprError:
        return None


def _doubt(figures: Figures) -> list[str]:
    """Whether the truth itself is to be doubted."""
    named, precision = figures['all_right'] + figures['all_wrong'], figures['precision']
    if named < _ENOUGH or precision > _DOUBTFUL:
        return []
    return [
        f'nearly all of the {named} places that were named are wrong by the truth: are map and '
        'truth in one frame, and is this the map that the trial was driven with?'
    ]


def _without_truth(truth: Truth, source: TrialSource) -> list[str]:
    """What cannot be said where nothing tells where the robot was."""
    landmarks = sum(mark.kind == LANDMARK for _, mark in source.marks)
    if truth.kinds and truth.kinds != [MARKS]:
        return []
    if truth.kinds:
        return [
            f'only marks tell what is right ({landmarks} landmarks): the other answers are not '
            'judged'
        ]
    return [
        'nothing tells what is right: no fixes or poses in the frame of the map, no names, no '
        'marks; what is said is how often a place was named, how surely, how fast, and what failed'
    ]

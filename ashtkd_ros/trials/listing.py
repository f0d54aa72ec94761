# SPDX-License-Identifier: Apache-2.0
"""Trials at a glance, without reading what they recorded."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ashtkd_ros.bags.bag import Bag
from ashtkd_ros.errors import VprError
from ashtkd_ros.files.reading import is_file
from ashtkd_ros.text import counted
from ashtkd_ros.trials.bag_topics import bag_topics
from ashtkd_ros.trials.folder import REPORT, SHEET, TrialFolder, trials_in
from ashtkd_ros.trials.trial_clock import TrialClock
from ashtkd_ros.trials.vocabulary import GOOD_NEWS


@dataclass(frozen=True)
class TrialSummary:
    """One trial. `faults`: told live; `reported`: whether it has a report."""

    name: str
    condition: str
    minutes: float
    images: int
    faults: int
    reported: bool

    @property
    def line(self) -> str:
        """In words."""
        reported = 'reported' if self.reported else 'no report yet'
        return (
            f'{self.name}  {self.condition or "-"}  {self.minutes:.1f} min  '
            f'{counted(self.images, "image")}  {counted(self.faults, "fault")}  {reported}'
        )


def summary_of(trial: TrialFolder) -> TrialSummary:
    """What can be told at once; damaged files count as not there."""
    try:
        condition = trial.sheet().condition
    except VprError:
        condition = ''
    try:
        entries = [*trial.events.read()[0], *trial.marks.read()[0]]
        clock = TrialClock.of(entries)
        entries = [e for e in entries if clock.holds(e)]
    except VprError:
        entries = []
    minutes = max((clock.of_entry(e) for e in entries), default=0.0) / 60
    images = 0
    recorded = 0.0
    for path in trial.bags():
        try:
            bag = Bag(path)
        except VprError:
            continue
        recorded += bag.end_s - bag.start_s
        topics = bag_topics(bag, {}).images.values()
        images += sum(bag.topics[name].count for name in topics)
        bag.close()
    return TrialSummary(
        trial.path.name,
        condition,
        max(minutes, recorded / 60),
        images,
        sum(e.kind not in GOOD_NEWS for e in entries),
        is_file(trial.path / REPORT),
    )


def trials_of(paths: Iterable[Path]) -> list[TrialFolder]:
    """The trials that paths name, each once: folders of trials, and folders that have some.

    VprError for a path that is neither.
    """
    found: dict[Path, TrialFolder] = {}
    for path in paths:
        path = Path(path).expanduser()
        if is_file(path / SHEET):
            trial = TrialFolder.open(path)
            found[trial.path] = trial
            continue
        inside = trials_in(path)
        if not inside:
            raise VprError(f'{path}: holds no trial; name the folder of a trial, or of some')
        found |= {trial.path: trial for trial in inside}
    return list(found.values())

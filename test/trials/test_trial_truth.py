# SPDX-License-Identifier: Apache-2.0
"""What judges a trial where there are no fixes, or no map that knows where on earth it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from trial_maker import TrialMaker

from ashtkd_ros.trials.recorded_tracks import Fixes
from ashtkd_ros.trials.trial_report import ReportOptions, TrialReport, make_report
from ashtkd_ros.trials.truth import MARKS, NAMES, ODOM, jump_spans
from ashtkd_ros.trials.vocabulary import LANDMARK, WRONG

pytest_plugins = ['trial_fixtures']


def report_of(
    maker: TrialMaker, folder: Path, options: ReportOptions, **how: object
) -> TrialReport:
    return make_report(maker.make(folder / 'trials', 'trial', **how), options)


def notes_of(report: TrialReport) -> str:
    return ' | '.join(report.notes)


def test_odometry_judges_nothing_unless_it_must(maker: TrialMaker, flat_map: Path, tmp_path: Path):
    report = report_of(maker, tmp_path, ReportOptions(map=flat_map))
    assert report.truth.kinds == [] and report.figures['unjudged'] > 100
    assert 'where on earth' in notes_of(report) and 'frame of the map' in notes_of(report)
    forced = report_of(maker, tmp_path, ReportOptions(map=flat_map, truth=ODOM))
    assert forced.truth.kinds == [ODOM] and 'CAUTION' in notes_of(forced)
    assert forced.figures['right_share'] > 0.9


def test_poses_in_the_frame_of_the_map_judge(maker: TrialMaker, flat_map: Path, tmp_path: Path):
    report = report_of(maker, tmp_path, ReportOptions(map=flat_map), odom_frame='map')
    assert report.truth.kinds == [ODOM] and report.figures['right_share'] > 0.9
    assert 'CAUTION' not in notes_of(report) and report.figures['on_map'] > 100


def test_a_mark_makes_the_place_wrong_that_was_shown_then(
    maker: TrialMaker, flat_map: Path, tmp_path: Path
):
    marks = [(20.0, WRONG, '')]
    report = report_of(maker, tmp_path, ReportOptions(map=flat_map), marks=marks)
    assert report.truth.kinds == [MARKS]
    wrong = [one for one in report.judged if one.verdict == 'wrong']
    assert wrong and {one.why for one in wrong} == {'marked wrong'}
    assert len({one.place for one in wrong}) == 1
    assert all(15 <= one.seconds <= 20.5 for one in wrong)
    assert report.figures['precision'] is None  # nobody marks what is right
    assert report.figures['unjudged'] == report.figures['answers'] - len(wrong)


def test_a_mark_does_not_outweigh_fixes_but_is_told(maker: TrialMaker, tmp_path: Path):
    report = report_of(maker, tmp_path, ReportOptions(), marks=[(20.0, WRONG, '')])
    assert report.figures['all_wrong'] == 0
    assert 'minute 0.3: marked as wrong, but right' in notes_of(report)


def test_landmarks_are_compared_with_the_names_of_places(
    maker: TrialMaker, named_map: Path, tmp_path: Path
):
    marks = [(8.0, LANDMARK, 'Market'), (12.0, LANDMARK, 'church'), (35.0, LANDMARK, 'mill')]
    report = report_of(maker, tmp_path, ReportOptions(map=named_map), marks=marks)
    assert report.truth.kinds == [MARKS]

    def verdicts(at: float) -> set[tuple[str, bool | None]]:
        near = [one for one in report.judged if abs(one.seconds - at) < 1.4]
        return {(one.verdict, one.on_map) for one in near}

    assert verdicts(8) == {('right', True)}
    assert verdicts(12) == {('wrong', True)}
    assert verdicts(35) == {('unjudged', None)} and 'no place "mill"' in notes_of(report)
    assert verdicts(25) == {('unjudged', None)}


def test_names_of_images_judge(maker: TrialMaker, named_map: Path, tmp_path: Path):
    trial = maker.make(tmp_path / 'trials', 'trial', unplugged=(8, 10))
    images = len(maker.frames) - 6
    rows = ''.join(f'{k},{"market" if k < 80 else "church"}\n' for k in range(images))
    (trial.path / 'bag' / 'labels.csv').write_text(f'frame,label\n{rows}')
    report = make_report(trial, ReportOptions(map=named_map))
    assert report.truth.kinds == [NAMES] and report.figures['on_map'] == images
    wrong = [one for one in report.judged if one.verdict == 'wrong']
    # The second half of the map begins at its place 58, 1.75 m a place; the names change later.
    assert 10 <= len(wrong) <= 30 and all(20 < one.seconds < 32 for one in wrong)


def test_a_wish_for_one_truth_is_kept(maker: TrialMaker, tmp_path: Path):
    report = report_of(maker, tmp_path, ReportOptions(truth=MARKS), marks=[(9.0, WRONG, '')])
    assert report.truth.kinds == [MARKS] and report.figures['on_map'] == 0


@pytest.mark.parametrize('back', [True, False])
def test_fixes_are_doubted_until_they_come_back_or_shortly(back: bool):
    at = np.arange(0.0, 60.0, 0.5)
    x = at.copy()
    x[(at >= 20) & ((at < 40) | (not back))] += 50
    fixes = Fixes('/fix', None, at, 0 * at, np.column_stack([x, 0 * at]))
    assert fixes.jumps() == ([20.0, 40.0] if back else [20.0])
    spans = jump_spans(fixes, [20.3])
    doubted = any(start <= 32 <= end for start, end in spans)
    assert doubted == back and any(start <= 20 <= end for start, end in spans)
    assert not any(start <= 50 <= end for start, end in spans)

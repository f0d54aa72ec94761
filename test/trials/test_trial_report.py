# SPDX-License-Identifier: Apache-2.0
"""The report of a trial: figures follow what was driven, and each fault is named where it was."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from bag_helpers import write_bag
from trial_maker import FIRST, LATENCY, STEP, T0, Faults, TrialMaker, entry

from ashtkd_ros.errors import VprError
from ashtkd_ros.trials.folder import TrialFolder
from ashtkd_ros.trials.judging import UNJUDGED, WRONG
from ashtkd_ros.trials.report_files import load_written, write_report_files
from ashtkd_ros.trials.stretches import CAMERA_GONE, SILENT, UNRECORDED, Stretch, chief
from ashtkd_ros.trials.trial_page import trial_page
from ashtkd_ros.trials.trial_report import ReportOptions, TrialReport, make_report
from ashtkd_ros.trials.vocabulary import (
    CAMERA_FAULT,
    CAMERA_STOPPED,
    CLOCK_JUMP,
    GNSS_BACK,
    GNSS_JUMP,
    GNSS_LOST,
    MAP_SWAPPED,
    NODE_SILENT,
    PROCESS_DIED,
    RECORDER_LOST,
    STARTED,
)

pytest_plugins = ['trial_fixtures']
Reported = Callable[..., TrialReport]


@pytest.fixture
def reported(maker: TrialMaker, tmp_path: Path) -> Reported:
    """Drive a trial and report on it; arguments as of `TrialMaker.make`."""

    def report(options: ReportOptions | None = None, **how: object) -> TrialReport:
        trial = maker.make(tmp_path / 'trials', 'trial', **how)
        return make_report(trial, options or ReportOptions())

    return report


def only(report: TrialReport, what: str) -> Stretch:
    found = [s for s in report.stretches if what in (s.what, s.reason)]
    assert len(found) == 1, report.stretches
    return found[0]


def lasts(stretch: Stretch, start: float, end: float, slack: float = 1.0) -> bool:
    return abs(stretch.start - start) <= slack and abs(stretch.end - end) <= slack


def second_of(report: TrialReport, kind: str) -> float:
    """Of the only event of a kind."""
    found = [e.seconds for e in report.source.events if e.kind == kind]
    assert len(found) == 1, report.source.events
    return found[0]


def test_a_drive_without_faults_is_right_and_quiet(reported: Reported, maker: TrialMaker):
    report = reported()
    f, images = report.figures, len(maker.frames)
    assert (f['images'], f['answers'], f['on_map']) == (images, images, images)
    assert f['right_share'] > 0.95 and f['precision'] > 0.95
    assert 0 < f['metres_between_median'] < 3 and f['lost_times'] == 0
    assert f['latency_p50_ms'] == pytest.approx(1000 * LATENCY, abs=2)
    assert f['node_p50_ms'] == 70.0 and f['dropped'] == 3
    assert f['lowest_confidence'] == pytest.approx(maker.lowest, abs=1e-3)
    assert not [e for e in report.source.events if e.is_fault]
    assert not report.notes and not report.stretches


def test_darkness_is_named_at_its_seconds_and_costs_answers(reported: Reported):
    report = reported(dark=(10, 20))
    stretch = only(report, 'dark')
    assert lasts(stretch, 10, 20) and stretch.what == 'unknown'
    assert report.figures['unknown'] == pytest.approx(10 / STEP, abs=3)
    lost = report.lost[0]
    assert len(report.lost) == 1 and lost.ended == 'a right answer'
    assert lost.end - lost.start == pytest.approx(10, abs=1.5)
    assert 10 <= second_of(report, CAMERA_FAULT) <= 14
    dark = [one for one in report.judged if one.why == 'dark']
    assert dark and all(9.5 <= one.seconds <= 20.5 for one in dark)


def test_images_that_the_map_does_not_know_have_a_new_look(reported: Reported):
    report = reported(mirrored=(18, 26))
    stretch = only(report, 'new look')
    assert 17 <= stretch.start <= 22 and 24 <= stretch.end <= 27
    assert report.figures['right_share'] < 0.9


def test_fixes_that_are_off_throughout_make_answers_wrong(reported: Reported):
    report = reported(shift=(-1, 100))
    f = report.figures
    assert f['right'] == 0 and f['off_map_wrong'] > 80 and f['precision'] == 0
    assert {s.reason for s in report.stretches} == {'off the map'}
    assert any('nearly all' in note for note in report.notes)


def test_fixes_that_jump_and_come_back_judge_nothing_meanwhile(reported: Reported):
    report = reported(shift=(10, 20))
    stretch = only(report, 'GNSS jumped')
    assert stretch.what == 'unjudged' and stretch.start < 10.5 and stretch.end > 19.5
    assert report.figures['wrong'] == report.figures['off_map'] == 0
    jumps = [e.seconds for e in report.source.events if e.kind == GNSS_JUMP]
    assert jumps == pytest.approx([10, 20], abs=0.5)


def test_fixes_that_are_vague_or_missing_judge_nothing(reported: Reported):
    report = reported(vague=(10, 20), no_fix=(30, 36))
    assert lasts(only(report, 'GNSS too inexact'), 10, 20)
    assert lasts(only(report, 'GNSS lost'), 30, 36)
    assert 30 <= second_of(report, GNSS_LOST) <= 34
    f = report.figures
    assert f['unjudged'] == f['answers'] - f['on_map'] > 40
    wide = reported(ReportOptions(metres=25.0), vague=(10, 20))
    assert wide.figures['unjudged'] == 0


def test_unknown_places_are_not_blamed_on_missing_fixes(reported: Reported):
    report = reported(no_fix=(10, 20), mirrored=(12, 18))
    assert any(one.verdict == 'unknown' for one in report.judged if 12 < one.seconds < 18)
    assert lasts(only(report, 'GNSS lost'), 10, 20)


def test_camera_node_and_frozen_images_are_told_apart(reported: Reported):
    report = reported(unplugged=(8, 13), silent=(20, 28), frozen=(33, 39))
    assert lasts(only(report, CAMERA_GONE), 8, 13)
    assert lasts(only(report, SILENT), 20, 28)
    assert lasts(only(report, 'frozen'), 33, 39, 2.5)
    assert 8 <= second_of(report, CAMERA_STOPPED) <= 11
    assert 20 <= second_of(report, NODE_SILENT) <= 25
    assert report.figures['metres_between_longest'] > 20
    assert [lost.ended for lost in report.lost][:2] == ['a right answer'] * 2


def test_a_clock_that_is_set_back_costs_no_answer(maker: TrialMaker, tmp_path: Path):
    trial, hour = maker.make(tmp_path / 'trials', 'trial', live=False), 3600
    jump = replace(entry(20.1, CLOCK_JUMP, ''), stamp_ns=T0 + round((20.1 - hour) * 1e9))
    for event in (entry(0, STARTED, ''), entry(19.9, GNSS_BACK, ''), jump):
        trial.events.append(event)
    shutil.rmtree(trial.path / 'bag')
    records = [
        replace(r, received=r.received - hour * (r.received > T0 / 1e9 + 20))
        for r in maker.records(Faults())
    ]
    write_bag(trial.next_bag(), records=records, storage='mcap')
    report = make_report(trial, ReportOptions())
    seconds = [one.seconds for one in report.judged]
    assert seconds == sorted(seconds) and len(seconds) == len(maker.frames)
    assert report.figures['right_share'] > 0.95 and not report.stretches


@pytest.mark.parametrize('odometry', [True, False])
def test_a_gap_in_the_recording_is_no_fault_of_the_sensors(reported: Reported, odometry: bool):
    report = reported(unrecorded=(15, 22), live=False, odometry=odometry)
    assert lasts(only(report, UNRECORDED), 15, 22)
    assert second_of(report, RECORDER_LOST) == pytest.approx(15, abs=1)
    assert {e.kind for e in report.source.events} == {RECORDER_LOST}
    assert report.figures['metres_between_median'] < 3
    assert not report.lost and any('nothing was told live' in n for n in report.notes)


def test_a_full_disk_is_no_fault_of_the_sensors(reported: Reported):
    report = reported(full=(15, 22), live=False)
    assert lasts(only(report, UNRECORDED), 15, 22) and len(report.stretches) == 1
    assert second_of(report, RECORDER_LOST) == pytest.approx(15, abs=1)
    assert not report.lost and report.figures['metres_between_longest'] < 10


def test_what_was_told_live_is_not_told_again(reported: Reported):
    died = (15.2, PROCESS_DIED, 'trial_recorder has died')
    stopped = (9.8, CAMERA_STOPPED, 'no image')
    report = reported(unplugged=(8, 13), unrecorded=(15, 22), events=[stopped, died])
    kinds = [(e.kind, e.live) for e in report.source.events if e.is_fault]
    assert kinds == [(CAMERA_STOPPED, True), (PROCESS_DIED, True)]


def test_answers_from_another_map_are_not_judged(reported: Reported):
    report = reported(swapped_at=25.0)
    assert second_of(report, MAP_SWAPPED) == pytest.approx(25, abs=0.5)
    stretch = only(report, 'map swapped')
    assert stretch.what == 'unjudged' and stretch.start > 24.5
    later = [one for one in report.judged if one.seconds > 26]
    assert later and not any(one.verdict == 'right' for one in later)


def test_its_files_tell_the_same_and_are_replaced_by_later_ones(
    reported: Reported, maker: TrialMaker
):
    report = reported(dark=(10, 20))
    for _ in range(2):
        write_report_files(report, trial_page(report))
    folder = report.source.folder.path
    values = load_written(report.source.folder).values
    assert values['schema_version'] == 1 and values['truth']['kinds'] == ['fix']
    assert values['figures']['right'] == report.figures['right']
    assert any(e['kind'] == CAMERA_FAULT and e['fault'] for e in values['events'])
    with (folder / 'answers.csv').open(newline='', encoding='utf-8') as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(maker.frames)
    dark = [float(row['minute']) * 60 for row in rows if row['why'] == 'dark']
    assert 9.5 < min(dark) < 11 and 19 < max(dark) < 20.5
    right = [row for row in rows if row['verdict'] == 'right']
    assert len(right) == report.figures['right']
    assert all(float(row['distance']) <= 5 and row['place'] for row in right)
    assert float(rows[1]['minute']) == pytest.approx((FIRST + STEP) / 60, abs=1e-3)


@pytest.mark.parametrize('name', ['report.html', 'report.json', 'answers.csv'])
def test_files_of_others_are_never_replaced(reported: Reported, name: str):
    report = reported()
    other = report.source.folder.path / name
    other.write_text('<!doctype html><head></head>{"figures": 1} mine')
    with pytest.raises(VprError, match='not the result of an earlier run'):
        write_report_files(report, trial_page(report))
    assert other.read_text().endswith('mine')
    assert len(list(other.parent.glob('*report*'))) + len(list(other.parent.glob('*.csv'))) == 1


def test_the_page_says_first_why_it_failed_and_what_is_doubtful(reported: Reported):
    report = reported(dark=(10, 20), no_fix=(30, 36), silent=(22, 27))
    report.notes.insert(0, 'DOUBT')
    page = trial_page(report)
    top = page[page.index('<h1>') : page.index('What went wrong')]
    assert re.search(r'reasons: dark \((9|10)\.\d s, from 0:\d\d on\), node silent', top)
    assert f'{report.figures["unjudged"]} of {report.figures["answers"]} answers could not' in top
    assert 'GNSS lost' in top and 'DOUBT' in top


def test_what_could_not_be_judged_does_not_crowd_out_what_failed():
    stretches = [Stretch(float(k), k + 0.5, UNJUDGED) for k in range(30)]
    stretches += [Stretch(40.0, 41.0, WRONG), Stretch(42.0, 43.0, SILENT)]
    shown = chief(stretches, 5)
    assert [s.start for s in shown] == [0.0, 1.0, 2.0, 40.0, 42.0]
    assert [s.what for s in chief(stretches, 2)] == [WRONG, SILENT]


def test_text_of_a_log_is_only_text_in_the_page(reported: Reported):
    text = '<script>alert(1)</script>\x1b[2J'
    report = reported(events=[(10, CAMERA_STOPPED, text)], marks=[(12, 'note', text)])
    page = trial_page(report)
    assert '<script>' not in page and '\x1b' not in page and '&lt;script&gt;' in page


def test_json_of_a_report_is_plain(reported: Reported):
    report = reported(silent=(-1, 100))
    assert report.figures['answers'] == 0 and report.figures['right_share'] is None
    write_report_files(report, trial_page(report))
    text = (report.source.folder.path / 'report.json').read_text(encoding='utf-8')
    assert 'NaN' not in text and json.loads(text)['figures']['precision'] is None


def test_a_report_needs_a_trial(tmp_path: Path):
    (tmp_path / 'empty').mkdir()
    with pytest.raises(VprError, match='is not a trial'):
        TrialFolder.open(tmp_path / 'empty')

# SPDX-License-Identifier: Apache-2.0
"""Trials that are not whole: each has a report that says what is missing, and the right rest."""

from __future__ import annotations

import math
import random
import shutil
from pathlib import Path

import pytest
from bag_helpers import storage_files, write_bag
from conftest import line_of
from door_fixtures import harmless
from evaluation_helpers import run
from test_doors import garble
from trial_maker import PLACE, Faults, TrialMaker, entry

from ashtkd_ros.commands.trials import main
from ashtkd_ros.errors import VprError
from ashtkd_ros.trials.folder import TrialFolder
from ashtkd_ros.trials.report_files import write_report_files
from ashtkd_ros.trials.trial_page import trial_page
from ashtkd_ros.trials.trial_report import ReportOptions, TrialReport, make_report
from ashtkd_ros.trials.vocabulary import DISK_FULL, NOTE

pytest_plugins = ['trial_fixtures', 'door_fixtures']


@pytest.fixture
def trial(maker: TrialMaker, tmp_path: Path) -> TrialFolder:
    return maker.make(tmp_path / 'trials', 'trial')


def written(trial: TrialFolder, options: ReportOptions | None = None) -> tuple[TrialReport, str]:
    """Its report, whose files could be written, and its notes in one text."""
    report = make_report(trial, options or ReportOptions())
    write_report_files(report, trial_page(report))
    assert (trial.path / 'report.html').stat().st_size > 5000
    return report, ' | '.join(report.notes)


def test_no_bag(trial: TrialFolder):
    shutil.rmtree(trial.path / 'bag')
    trial.events.append(entry(12, DISK_FULL, 'the disk is full'))
    report, notes = written(trial)
    assert 'there is no bag' in notes and report.figures['images'] == 0
    assert [e.kind for e in report.source.events if e.is_fault] == [DISK_FULL]


def test_an_empty_bag_beside_a_sound_one(trial: TrialFolder, maker: TrialMaker):
    (trial.path / 'bag_2').mkdir()
    report, notes = written(trial)
    assert 'bag_2' in notes and report.figures['images'] == len(maker.frames)


@pytest.mark.parametrize('share', [0.9, 0.5, 0.01])
def test_a_bag_that_was_cut_off(trial: TrialFolder, maker: TrialMaker, share: float):
    for file in storage_files(trial.path / 'bag'):
        with file.open('r+b') as opened:
            opened.truncate(int(file.stat().st_size * share))
    report, notes = written(trial)
    assert 'bag' in notes
    assert report.figures['images'] <= share * len(maker.frames) + 3
    assert share < 0.4 or report.figures['right'] > 20


def test_a_bag_without_answers(maker: TrialMaker, tmp_path: Path):
    report, notes = written(maker.make(tmp_path / 'trials', 'mute', silent=(-1, 100)))
    assert 'no answers' in notes and report.figures['images'] == len(maker.frames)


def test_answers_that_are_none_are_skipped(maker: TrialMaker, tmp_path: Path):
    trial = maker.make(tmp_path / 'trials', 'trial')
    shutil.rmtree(trial.path / 'bag')
    records = maker.records(Faults())
    for record in [r for r in records if r.topic == PLACE][:10]:
        record.values['results'][0]['score'] = math.nan
    write_bag(trial.next_bag(), records=records, storage='mcap')
    report, notes = written(trial)
    assert '10 damaged messages skipped' in notes
    assert report.figures['answers'] == len(maker.frames) - 10 and report.figures['unknown'] == 0


def test_damaged_lines_sheet_configuration_and_checks(trial: TrialFolder):
    with (trial.path / 'events.jsonl').open('ab') as log:
        log.write(b'{"stamp_ns": \xff\n{"kind": 1}\n')
    (trial.path / 'trial.yaml').write_text('version: 1\nwhether: rain\n')
    (trial.path / 'configuration.yaml').write_text('[')
    (trial.path / 'checks.json').write_text('{')
    report, notes = written(trial)
    assert '2 damaged lines' in notes and 'whether' in notes and 'checks.json' in notes
    assert 'configuration.yaml' in notes and 'no map' in notes
    assert report.truth.kinds == [] and report.figures['named'] > 100


def test_without_a_map_it_tells_what_it_can(trial: TrialFolder, maker: TrialMaker):
    told = maker.configuration() | {'map': {'path': '/nowhere/map'}}
    trial.write_configuration(told)
    report, notes = written(trial)
    assert 'no such map' in notes and 'nothing tells what is right' in notes
    f = report.figures
    assert f['on_map'] == 0 and f['named_share'] > 0.9 and f['median_confidence'] > 0.9
    assert f['unjudged'] == f['answers']
    again, notes = written(trial, ReportOptions(map=maker.map_folder))
    assert again.figures['right_share'] > 0.9 and 'no such map' not in notes


def test_a_map_that_is_given_must_be_one(trial: TrialFolder, tmp_path: Path):
    with pytest.raises(VprError) as error:
        make_report(trial, ReportOptions(map=tmp_path))
    assert 'map.yaml' in line_of(error)


def test_values_of_other_types_in_the_configuration(trial: TrialFolder):
    strange = {'topics': {'camera': 5, 'fix': ['/fix', 7], 'place': {'a': 1}}, 'map': 'here'}
    strange |= {'started_ns': 1.5, 'program': ['x']}
    trial.write_configuration(strange)
    report, notes = written(trial)
    assert 'no map' in notes and report.figures['answers'] > 100


def test_a_map_that_was_built_anew_judges_nothing(trial: TrialFolder, maker: TrialMaker):
    told = maker.configuration()
    told['map']['sha256'] = '0' * 64
    trial.write_configuration(told)
    report, notes = written(trial)
    assert 'another one was built there' in notes and report.figures['on_map'] == 0
    report, notes = written(trial, ReportOptions(map=maker.map_folder))
    assert 'the map has changed since the trial' in notes and report.figures['right_share'] > 0.9


def test_a_log_alone_in_a_trial_that_never_began(maker: TrialMaker, tmp_path: Path):
    trial = maker.make(tmp_path / 'trials', 'mute', live=False, marks=[(3, NOTE, 'rain')])
    shutil.rmtree(trial.path / 'bag')
    (trial.path / 'configuration.yaml').unlink()
    report, notes = written(trial)
    assert report.source.seconds == 0 and 'no bag' in notes
    assert [mark.text for _, mark in report.source.marks] == ['rain']


@pytest.mark.usefixtures('alarm')
def test_any_damage_of_a_trial(trial: TrialFolder, maker: TrialMaker, tmp_path: Path, capsys):
    """25 damages: a report that says what it lacks, or one line; never a traceback or a hang."""
    trial.marks.append(entry(12, NOTE, 'rain'))
    (trial.path / 'checks.json').write_text('{"go": true, "checks": [{"camera": "10 Hz"}]}')
    draw, refused = random.Random(5), 0
    for turn in range(25):
        here = tmp_path / str(turn) / 'trial'
        shutil.copytree(trial.path, here)
        files = sorted(here.rglob('*'))
        victim = draw.choice(files)
        kind = garble(victim, draw)
        assert run(main, 'list', here.parent) in (0, 1), (kind, victim)
        status = run(main, 'report', here)
        printed = capsys.readouterr()
        errors = [x for x in printed.err.splitlines() if not x.startswith('note: ')]
        assert status == len(errors) and 'ASHTKD_DEBUG' not in printed.err, (kind, victim, errors)
        assert harmless(printed.out) and harmless(printed.err), (kind, victim)
        refused += status
        assert status or (here / 'report.html').stat().st_size > 5000
    assert refused < 10

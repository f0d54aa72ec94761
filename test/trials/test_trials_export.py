# SPDX-License-Identifier: Apache-2.0
"""Hard cases of trials become a set that the training reads, with its positives."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import cv2
import pytest
from trial_maker import TrialMaker

from ashtkd_ros.errors import VprError
from ashtkd_ros.trials.hard_cases import HardOptions, hard_cases
from ashtkd_ros.trials.judging import WRONG
from ashtkd_ros.trials.training_set import Exported, check_new, export_training_set
from ashtkd_ros.trials.trial_report import ReportOptions, TrialReport, make_report

pytest_plugins = ['trial_fixtures']


@pytest.fixture(scope='module')
def report(maker: TrialMaker, tmp_path_factory: pytest.TempPathFactory) -> TrialReport:
    """Unknown because of a new look, black for a while, wrong because frozen."""
    root = tmp_path_factory.mktemp('hard') / 'trials'
    how = {'mirrored': (20, 26), 'dark': (5, 9), 'frozen': (32, 41)}
    return make_report(maker.make(root, 'hard', **how), ReportOptions())


@pytest.fixture(scope='module')
def exported(
    report: TrialReport, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Exported]:
    folder = tmp_path_factory.mktemp('sets') / 'hard'
    return folder, export_training_set(folder, [report], HardOptions(apart_s=0.0))


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / 'index.csv').open(newline='', encoding='utf-8') as file:
        return list(csv.DictReader(file))


def test_each_case_has_its_right_place_from_the_map(exported: tuple[Path, Exported]):
    folder, done = exported
    rows = rows_of(folder)
    assert done.cases['unknown'] >= 10 and done.cases.total() + done.map_pictures == len(rows)
    mapped = {row['place'] for row in rows if row['role'] == 'database'}
    queries = [row for row in rows if row['role'] == 'query']
    assert queries and all(row['place'] in mapped for row in queries)
    for row in rows:
        image = cv2.imread(str(folder / row['file']))
        assert image is not None and min(image.shape[:2]) >= 120
    unknown = [float(row['minute']) * 60 for row in queries if row['kind'] == 'unknown']
    assert all(19.5 <= second <= 26.5 for second in unknown)


def test_images_that_teach_nothing_are_left_out(
    report: TrialReport, exported: tuple[Path, Exported]
):
    _, done = exported
    black = sum(one.failed and one.why == 'dark' for one in report.judged)
    frozen = sum(one.failed and one.why == 'frozen' for one in report.judged)
    assert black > 5 and done.left_out['nearly black'] == black
    assert frozen > 5 and done.left_out['frozen'] == frozen


def test_options_choose_what_is_hard(report: TrialReport):
    few, _ = hard_cases(report, HardOptions(0.0, 0.0, 0.0))
    some, _ = hard_cases(report, HardOptions(0.0, 0.99, 0.0))
    every, _ = hard_cases(report, HardOptions(0.0, 1.0, 0.0))
    thin, left_out = hard_cases(report, HardOptions(0.0, 1.0, 2.0))
    assert len(few) < len(some) < len(every)
    assert {case.kind for case in few} <= {'wrong', 'unknown'}
    assert len(thin) < len(every) / 3 and left_out['less than 2 s after another one'] > 20


def test_the_training_reads_it_and_sees_positives(exported: tuple[Path, Exported]):
    from small_student import torch  # noqa: F401  skips where it is missing

    from tools.training.config import SetsSource
    from tools.training.data.sources import read_places

    folder, done = exported
    source = SetsSource(kind='sets', path=folder.parent, positives={'hard': 'tour'})
    places = read_places([source])
    assert len(places.places) == done.places and not places.skipped
    with_cases = [p for p in places.places if len(p.pictures) > 1]
    assert len(with_cases) >= 8
    for place in with_cases:
        names = [places.pictures[k].path.name for k in place.pictures]
        assert any(n.startswith('map') for n in names), names
        assert any(not n.startswith('map') for n in names), names
    # Places beside each other are never taken as different ones.
    first, second = with_cases[:2]
    assert first.may_be(second)


def test_only_a_new_folder_is_written_and_whole(report: TrialReport, tmp_path: Path):
    (tmp_path / 'mine').mkdir()
    with pytest.raises(VprError, match='exists already'):
        export_training_set(tmp_path / 'mine', [report], HardOptions())

    with pytest.raises(VprError, match='name too long'):
        check_new(tmp_path / ('n' * 300))

    def broken():
        yield report
        raise VprError('the second trial cannot be read')

    with pytest.raises(VprError, match='second trial'):
        export_training_set(tmp_path / 'new', broken(), HardOptions())
    assert [p.name for p in tmp_path.iterdir()] == ['mine']


def test_without_a_hard_case_nothing_is_written(maker: TrialMaker, tmp_path: Path):
    trial = maker.make(tmp_path / 'trials', 'easy')
    report = make_report(trial, ReportOptions())
    with pytest.raises(VprError, match='no hard case.*written; raise --margin'):
        export_training_set(tmp_path / 'new', [report], HardOptions(0.0, 0.0))
    report.judged[0] = replace(report.judged[0], verdict=WRONG, nearest=None)
    with pytest.raises(VprError, match='1 because the right place is not known.*fixes'):
        export_training_set(tmp_path / 'new', [report], HardOptions(0.0, 0.0))
    assert not (tmp_path / 'new').exists()

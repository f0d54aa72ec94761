# SPDX-License-Identifier: Apache-2.0
"""Many trials in one overview: conditions, all faults, spots that fail again and again."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from trial_maker import TrialMaker

from ashtkd_ros.errors import VprError
from ashtkd_ros.trials.overview import Overview, overview_of
from ashtkd_ros.trials.overview_page import check_overview, overview_page, write_overview
from ashtkd_ros.trials.report_files import report_values
from ashtkd_ros.trials.trial_report import ReportOptions, make_report

pytest_plugins = ['trial_fixtures']


@pytest.fixture(scope='module')
def values(maker: TrialMaker, tmp_path_factory: pytest.TempPathFactory) -> list[Mapping]:
    """Four trials: two that fail at one spot, one in the dark elsewhere, one without truth."""
    root = tmp_path_factory.mktemp('many') / 'trials'
    trials = [
        maker.make(root, 'plain', 'dusk'),
        maker.make(root, 'changed', 'rain', mirrored=(18, 24)),
        maker.make(root, 'again', 'night', mirrored=(18, 24), dark=(5, 10)),
        maker.make(root, 'blind', 'night', no_fix=(-1, 100), silent=(30, 38)),
    ]
    return [report_values(make_report(trial, ReportOptions())) for trial in trials]


@pytest.fixture(scope='module')
def overview(values: list[Mapping]) -> Overview:
    return overview_of(json.loads(json.dumps(values)))


def test_conditions_add_up_their_trials(overview: Overview):
    rows = {row.condition: row for row in overview.conditions}
    assert list(rows) == ['dusk', 'night', 'rain'] and rows['night'].trials == 2
    for condition, row in rows.items():
        own = [t for t in overview.trials if t.condition == condition]
        assert row.figures['right'] == sum(t.figures['right'] for t in own)
        assert row.faults == sum(len(t.faults) for t in own)
    assert rows['dusk'].figures['right_share'] > rows['rain'].figures['right_share']
    assert rows['rain'].figures['right_share'] > rows['night'].figures['right_share']
    assert [t.judged for t in overview.trials] == [True, True, True, False]


def test_faults_of_all_trials_have_their_minutes(overview: Overview):
    told = {(t.name[20:], kind): minute for t in overview.trials for minute, kind, _ in t.faults}
    assert told['again', 'camera fault'] * 60 == pytest.approx(7.5, abs=2.5)
    assert told['blind', 'node silent'] * 60 == pytest.approx(33.5, abs=2.5)
    assert not [name for name, _ in told if name == 'plain']


def test_reasons_are_compared_by_condition(overview: Overview):
    reasons = {row.condition: row.reasons for row in overview.conditions}
    assert reasons['night']['dark'] == pytest.approx(5, abs=1)
    assert reasons['night']['node silent'] == pytest.approx(8, abs=1)
    assert reasons['rain']['new look'] > 3 and 'dark' not in reasons['rain']
    assert not reasons['dusk']
    page = overview_page(overview)
    assert page.index('Why it failed') < page.index('node silent') < page.index('Pictures')


def test_a_spot_is_told_that_fails_in_several_trials(overview: Overview):
    assert overview.spots
    for spot in overview.spots:
        assert sorted(name[20:] for name in spot.failed) == ['again', 'changed']
        assert [name[20:] for name in spot.passed] == ['plain']
    alone = [spot for spot in overview.route if spot.failed]
    assert alone and all(spot.failed[0].endswith('again') for spot in alone)


def test_its_files(overview: Overview, tmp_path: Path):
    page = tmp_path / 'overview.html'
    for _ in range(2):
        write_overview(page, overview)
    with page.with_suffix('.csv').open(newline='', encoding='utf-8') as file:
        rows = list(csv.DictReader(file))
    assert [row['condition'] for row in rows] == ['dusk', 'rain', 'night', 'night']
    assert int(rows[0]['right']) == overview.trials[0].figures['right']
    assert rows[3]['right_share'] == '' and rows[3]['judged'] == 'no'
    read = json.loads(page.with_suffix('.json').read_text(encoding='utf-8'))
    assert read['schema_version'] == 1 and len(read['spots']) == len(overview.spots)
    text = page.read_text(encoding='utf-8')
    assert 'http' not in text.replace('http://www.w3.org', '') and 'night' in text


def test_it_replaces_nothing_else(overview: Overview, tmp_path: Path):
    page = tmp_path / 'report.html'
    with pytest.raises(VprError, match='is the report of a trial'):
        check_overview(page, [page])
    page.with_suffix('.csv').write_text('mine')
    with pytest.raises(VprError, match='not the result of an earlier run'):
        write_overview(page, overview)
    assert not page.exists() and page.with_suffix('.csv').read_text() == 'mine'
    with pytest.raises(VprError, match='ends in .html'):
        check_overview(tmp_path / 'overview')


def test_a_damaged_report_is_refused(values: list[Mapping]):
    for damage in ({'places': [[1]]}, {'events': [{}]}, {'figures': None}, {'trial': 7}):
        with pytest.raises(VprError, match='report 2: is damaged'):
            overview_of([values[0], {**values[1], **damage}])

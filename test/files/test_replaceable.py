# SPDX-License-Identifier: Apache-2.0
"""A result takes the place of an earlier one of its kind, and of nothing else of the user's."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, line_of
from small_evaluation import evaluation_of, judged_queries
from test_commands import call

from ashtkd_ros.errors import VprError
from ashtkd_ros.evaluation.comparison import write_comparison
from ashtkd_ros.evaluation.node_answers import check_answers
from ashtkd_ros.evaluation.report import write_report
from ashtkd_ros.evaluation.report_file import load_report
from ashtkd_ros.evaluation.timing import Timing

# The last ones only speak of this program.
MINE = [
    '<html>my thesis</html>',
    '{"mine": 1}',
    'x',
    '[]',
    '\x00' * 10_000,
    '{"schema_version": 1, "mine": 1}',
    '{"schema_version":1,"mine":[{"answer_columns":[],"answers":[],"milliseconds":{}}]}',
    '<!doctype html><head></head><p><meta name="generator" content="ashtkd_ros">',
    'name="generator" content="ashtkd_ros"',
]


def grey(place: object) -> np.ndarray:
    return np.zeros((4, 4, 3), np.uint8)


def report(path: Path) -> None:
    timing = {'embed': Timing.of([0.007])}
    write_report(path, evaluation_of(judged_queries([True, False]), timing=timing), grey)


@pytest.mark.parametrize('name', ['report.html', 'report.json', 'report.timing.json'])
@pytest.mark.parametrize('text', MINE)
def test_a_file_of_the_users_is_not_replaced_by_a_report(tmp_path: Path, name: str, text: str):
    (tmp_path / name).write_text(text)
    with pytest.raises(VprError) as error:
        report(tmp_path / 'report.html')
    assert 'give another name' in line_of(error) and name in line_of(error)
    assert [p.name for p in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == text


def test_an_earlier_report_is_replaced(tmp_path: Path):
    for _ in range(2):
        report(tmp_path / 'report.html')
    old = (
        (tmp_path / 'report.html').read_text().replace('<meta name="generator"', '<meta name="x"')
    )
    (tmp_path / 'report.html').write_text(old)  # as older versions wrote them
    report(tmp_path / 'report.html')
    reports = [load_report(tmp_path / 'report.json')] * 2
    for _ in range(2):
        write_comparison(tmp_path / 'both.html', reports)
    (tmp_path / 'empty.html').touch()
    write_comparison(tmp_path / 'empty.html', reports)
    (tmp_path / 'mine.html').write_text('mine')
    with pytest.raises(VprError):
        write_comparison(tmp_path / 'mine.html', reports)
    assert (tmp_path / 'mine.html').read_text() == 'mine'


@pytest.mark.parametrize('name', ['r.html', 'r.json'])
def test_evaluate_says_so_before_it_evaluates(town: Path, tmp_path: Path, name: str, capsys):
    assert call('build_map', town / 'day', '-o', tmp_path / 'map') == 0
    (tmp_path / name).write_text('mine')
    capsys.readouterr()
    assert call('evaluate', tmp_path / 'map', town / 'dusk', '-o', tmp_path / 'r.html') == 1
    printed = capsys.readouterr()
    assert 'R@1' not in printed.out and 'give another name' in printed.err
    assert (tmp_path / name).read_text() == 'mine'


OLD = ROOT / 'test' / 'data' / 'version_0_1'
ANSWERS = json.loads((OLD / 'live.answers.json').read_text())
REPORT = json.loads((OLD / 'report.json').read_text())


@pytest.mark.parametrize('text', MINE)
def test_a_file_of_the_users_is_not_replaced_by_answers(tmp_path: Path, text: str):
    (tmp_path / 'a.json').write_text(text)
    with pytest.raises(VprError) as error:
        check_answers(tmp_path / 'a.json')
    assert 'give another name' in line_of(error) and (tmp_path / 'a.json').read_text() == text


@pytest.mark.parametrize('version', [1, 2, 3])
@pytest.mark.parametrize('indent', [None, 2])
def test_answers_and_reports_of_any_version_are_replaced(
    tmp_path: Path, version: int, indent: int | None
):
    """A report that is too new or too old to be read is to be written anew."""
    check_answers(tmp_path / 'a.json')  # nothing is there yet
    values = {**ANSWERS, 'schema_version': version}
    if version == 1:
        del values['map_sha256'], values['machine'], values['hz']
    (tmp_path / 'a.json').write_text(json.dumps(values, indent=indent))
    check_answers(tmp_path / 'a.json')
    values = {**REPORT, 'schema_version': version}
    (tmp_path / 'r.json').write_text(json.dumps(values, indent=indent))
    report(tmp_path / 'r.html')
    assert load_report(tmp_path / 'r.html').values['title'] == 'dusk in day'


def test_reports_and_answers_do_not_replace_each_other(tmp_path: Path):
    """`evaluate --answers run.json -o run.html` would write its figures to run.json."""
    shutil.copy(OLD / 'live.answers.json', tmp_path / 'run.json')
    with pytest.raises(VprError) as error:
        report(tmp_path / 'run.html')
    assert 'run.json: exists' in line_of(error)
    shutil.copy(OLD / 'report.json', tmp_path / 'run.json')
    report(tmp_path / 'run.html')
    with pytest.raises(VprError):
        check_answers(tmp_path / 'run.json')


def test_a_report_does_not_replace_the_durations_of_another_one(tmp_path: Path):
    report(tmp_path / 'r.html')
    with pytest.raises(VprError) as error:
        report(tmp_path / 'r.timing.html')
    assert 'r.timing.json: exists' in line_of(error)


@pytest.mark.parametrize('as_before', [False, True])
def test_comparisons_and_reports_do_not_replace_each_other(tmp_path: Path, as_before: bool):
    """The figures beside a report would otherwise belong to no page."""
    for name in ('a', 'b', 'third'):
        report(tmp_path / f'{name}.html')
    reports = [load_report(tmp_path / 'a.html'), load_report(tmp_path / 'b.html')]
    write_comparison(tmp_path / 'both.html', reports)
    if as_before:  # older versions marked both alike
        text = (tmp_path / 'both.html').read_text()
        text = text.replace('content="ashtkd_ros comparison"', 'content="ashtkd_ros"')
        (tmp_path / 'both.html').write_text(text)
    third = (tmp_path / 'third.html').read_bytes()
    with pytest.raises(VprError) as error:
        write_comparison(tmp_path / 'third.html', reports)
    assert 'third.html: exists' in line_of(error)
    assert (tmp_path / 'third.html').read_bytes() == third
    with pytest.raises(VprError):
        report(tmp_path / 'both.html')
    assert not (tmp_path / 'both.json').exists()
    write_comparison(tmp_path / 'both.html', reports)


def test_a_link_to_a_file_that_is_not_there_yet_is_followed(tmp_path: Path):
    (tmp_path / 'far').mkdir()
    for name in ('r.html', 'r.json', 'a.json'):
        (tmp_path / name).symlink_to(tmp_path / 'far' / name)
    report(tmp_path / 'r.html')
    check_answers(tmp_path / 'a.json')
    assert {p.name for p in (tmp_path / 'far').iterdir()} == {'r.html', 'r.json'}
    assert load_report(tmp_path / 'r.html').path.is_symlink()

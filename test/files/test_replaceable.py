# SPDX-License-Identifier: Apache-2.0
"""A result takes the place of an earlier one of its kind, and of nothing else of the user's."""

from __future__ import annotations

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

MINE = ['<html>my thesis</html>', '{"mine": 1}', 'x', '[]', '\x00' * 10_000]


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


def test_answers_replace_answers_only(tmp_path: Path):
    check_answers(tmp_path / 'a.json')
    (tmp_path / 'a.json').write_text('{"schema_version": 2, "answers": []}')
    check_answers(tmp_path / 'a.json')
    (tmp_path / 'a.json').write_text('{"answers": []}')
    with pytest.raises(VprError):
        check_answers(tmp_path / 'a.json')


def test_reports_and_answers_do_not_replace_each_other(tmp_path: Path):
    """`evaluate --answers run.json -o run.html` would write its figures to run.json."""
    old = ROOT / 'test' / 'data' / 'version_0_1'
    shutil.copy(old / 'live.answers.json', tmp_path / 'run.json')
    with pytest.raises(VprError) as error:
        report(tmp_path / 'run.html')
    assert 'run.json: exists' in line_of(error)
    shutil.copy(old / 'report.json', tmp_path / 'run.json')
    report(tmp_path / 'run.html')
    with pytest.raises(VprError):
        check_answers(tmp_path / 'run.json')

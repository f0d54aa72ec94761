# SPDX-License-Identifier: Apache-2.0
"""Reports side by side: what changed, what cannot be compared, and files that are no reports."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from conftest import line_of
from small_evaluation import evaluation_of, judged_queries, metrics_for
from test_report import ODD, assert_stands_alone, gone, text_of

from ashtkd_ros.errors import VprError
from ashtkd_ros.evaluation.comparison import (
    changes,
    compare,
    differences,
    names_of,
    table,
    write_comparison,
)
from ashtkd_ros.evaluation.report import write_report
from ashtkd_ros.evaluation.report_file import Report, load_report

BEFORE, AFTER = [True, True, False, True], [True, False, True, True]


def report_in(folder: Path, right: list[bool] = BEFORE, **changed: object) -> Report:
    """A report of these verdicts, written to `folder` and read again."""
    write_report(folder / 'report.html', evaluation_of(judged_queries(right), **changed), gone)
    return load_report(folder)


@pytest.fixture
def two(tmp_path: Path) -> list[Report]:
    return [report_in(tmp_path / 'old'), report_in(tmp_path / 'new', AFTER)]


def test_a_line_a_report_and_method_with_the_change_to_the_first(tmp_path: Path):
    first = report_in(tmp_path / 'old')
    ours = metrics_for(judged_queries([True] * 4))
    second = report_in(
        tmp_path / 'new', [True] * 4, methods={'single images': ours, 'sequence': ours}
    )
    rows = compare([first, second])
    assert rows[1].change['within_twice'] == pytest.approx(0.25)
    assert [(r.report, r.method) for r in rows] == [
        ('old', 'single images'),
        ('new', 'single images'),
        ('new', 'sequence'),
    ]
    assert rows[0].change == {} and rows[2].change == {}
    assert rows[1].change['R@1'] == pytest.approx(0.25)
    assert rows[1].figures['R@10'] is None and 'R@10' not in rows[1].change
    lines = table(rows).splitlines()
    assert len(lines) == 4 and lines[0].split()[:4] == ['report', 'method', 'R@1', '%']
    assert '75.0' in lines[1] and '(' not in lines[1]
    assert '100.0 (+25.0)' in lines[2] and '–' in lines[2]
    assert len({line.index('single') for line in lines[1:3]}) == 1


def test_queries_that_changed_are_listed_with_both_answers(two: list[Report]):
    found = changes(*two)
    (lost,), (won,) = found['right_to_wrong'], found['wrong_to_right']
    assert (lost.query, won.query) == (1, 2)
    assert lost.stamp == 0.5 and lost.after['right'] is False
    assert not differences(two)


def test_other_queries_are_not_compared(tmp_path: Path):
    reports = [report_in(tmp_path / 'old'), report_in(tmp_path / 'new', AFTER[:3])]
    assert changes(*reports) is None
    (line,) = differences(reports)
    assert line == 'new has other queries than old: their figures are not comparable.'
    assert table(compare(reports)).splitlines()[-1].startswith('* This report has other queries')
    assert 'new *' in table(compare(reports))
    write_comparison(tmp_path / 'c.html', reports)
    text = text_of((tmp_path / 'c.html').read_text())
    assert line in text and 'nothing to list' in text


def test_another_ground_truth_is_told(tmp_path: Path):
    judged = judged_queries(BEFORE)
    judged[2] = replace(judged[2], has_positive=False)
    write_report(tmp_path / 'new' / 'report.html', evaluation_of(judged), gone)
    reports = [report_in(tmp_path / 'old'), load_report(tmp_path / 'new')]
    assert 'another map or tolerance' in differences(reports)[0]


def test_the_page_tells_figures_changes_and_differing_facts(tmp_path: Path):
    reports = [
        report_in(tmp_path / 'old', facts={'map': 'day', 'model': 'student'}),
        report_in(tmp_path / 'new', AFTER, facts={'map': 'noon', 'model': 'student'}),
        report_in(tmp_path / 'third', AFTER, methods={'HOG': metrics_for(judged_queries(AFTER))}),
    ]
    write_comparison(tmp_path / 'deep' / 'c.html', reports)
    html = (tmp_path / 'deep' / 'c.html').read_text()
    assert_stands_alone(html)
    text = text_of(html)
    assert 'Right, then wrong: 1' in text and 'Wrong, then right: 1' in text
    assert 'single images 75.0 (+0.0)' in text
    assert 'map day noon town/day' in text and 'model student student –' in text
    for title in ('single images', 'HOG'):
        assert f'alt="figure: Precision and recall: {title}"' in html
    assert html.count('<img') == 3


def test_odd_names_are_escaped(tmp_path: Path):
    ours = metrics_for(judged_queries(BEFORE))
    odd = {'title': ODD, 'facts': {ODD: ODD}, 'methods': {ODD: ours}}
    reports = [report_in(tmp_path / '<b>$x_{$', **odd), report_in(tmp_path / 'other')]
    write_comparison(tmp_path / 'c.html', reports)
    html = (tmp_path / 'c.html').read_text()
    assert_stands_alone(html)
    assert '<script' not in html and '<b>$' not in html and 'alert(' in html


def test_names_are_short_and_no_two_alike(tmp_path: Path):
    paths = ['a/report.json', 'b/report.json', 'b/dusk.json']
    reports = [Report(Path(p), {}) for p in paths]
    assert names_of(reports) == ['a', 'b', 'dusk']
    assert names_of([reports[0], Report(Path('c/a/report.json'), {})]) == [
        'a/report.json',
        'c/a/report.json',
    ]
    assert names_of([reports[0]] * 2) == ['a/report.json', 'a/report.json (2)']


def test_comparison_that_cannot_be_written_is_one_line(tmp_path: Path, two: list[Report]):
    with pytest.raises(VprError) as error:
        write_comparison(tmp_path, two)
    assert 'cannot be written' in line_of(error)
    with pytest.raises(VprError) as error:
        write_comparison(tmp_path / 'c.html', two[:1])
    assert 'needs at least two reports' in line_of(error)


def test_a_comparison_does_not_replace_what_it_compares(tmp_path: Path, two: list[Report]):
    before = (tmp_path / 'new' / 'report.html').read_text()
    for path in (
        tmp_path / 'new' / 'report.html',
        tmp_path / 'old' / '..' / 'new' / 'report.html',
    ):
        with pytest.raises(VprError) as error:
            write_comparison(path, two)
        assert 'is one of the reports that are compared' in line_of(error)
    assert (tmp_path / 'new' / 'report.html').read_text() == before


def test_a_query_that_one_run_did_not_answer_is_lost_without_a_place(tmp_path: Path):
    judged = judged_queries(BEFORE)
    judged[0] = replace(judged[0], place=None, right=False, accepted=False, confidence=0.0)
    write_report(tmp_path / 'new' / 'report.html', evaluation_of(judged), gone)
    reports = [report_in(tmp_path / 'old'), load_report(tmp_path / 'new')]
    found = changes(*reports)
    (silent,) = found.pop('right_to_unnamed')
    assert (silent.before['place'], silent.after['place']) == (0, None)
    assert not any(found.values())
    (spoke,) = changes(*reversed(reports))['unnamed_to_right']
    assert (spoke.before['place'], spoke.after['place']) == (None, 0)
    write_comparison(tmp_path / 'both.html', reports)
    text = text_of((tmp_path / 'both.html').read_text())
    assert 'None' not in text and 'Right, then no place named: 1' in text
    assert 'Right, then wrong: 0' in text


def test_reports_of_one_title_are_told_apart(tmp_path: Path):
    how = {'live': 'by the node, live', 'report': 'offline, every image'}
    reports = []
    for name, value in how.items():
        evaluation = evaluation_of(judged_queries(BEFORE), facts={'How': value})
        write_report(tmp_path / f'{name}.html', evaluation, gone)
        reports.append(load_report(tmp_path / f'{name}.html'))
    write_comparison(tmp_path / 'both.html', reports)
    text = text_of((tmp_path / 'both.html').read_text())
    assert all(f'dusk in day; {value}' in text for value in how.values())

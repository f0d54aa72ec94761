# SPDX-License-Identifier: Apache-2.0
"""Reports that are read again: by any of their names, of the version before, or refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import ROOT, line_of
from test_comparison import report_in

from ashtkd_ros.errors import VprError
from ashtkd_ros.evaluation.comparison import compare, write_comparison
from ashtkd_ros.evaluation.report_file import load_report

OLD = ROOT / 'test' / 'data' / 'version_0_1'


def test_a_report_of_the_version_before_is_read_and_compared(tmp_path: Path):
    old = load_report(OLD)
    assert old.methods['single images']['recall']['1'] == pytest.approx(0.9744, abs=1e-4)
    assert compare([old])[0].figures['within_twice'] is None  # it was not told then
    write_comparison(tmp_path / 'both.html', [old, report_in(tmp_path)])
    assert 'dusk in map map' in (tmp_path / 'both.html').read_text()


def test_a_report_is_read_by_its_json_its_html_and_its_folder(tmp_path: Path):
    values = report_in(tmp_path).values
    for path in (tmp_path / 'report.json', tmp_path / 'report.html', str(tmp_path)):
        assert load_report(path).values == values
    assert values['title'] == 'dusk in day'


def damaged(change: Callable[[dict], object]) -> Callable[[Path], None]:
    """Writes a report whose values were changed."""

    def write(path: Path) -> None:
        values = json.loads(json.dumps(report_in(path.parent / 'whole').values))
        change(values)
        path.write_text(json.dumps(values))

    return write


@pytest.mark.parametrize(
    ('write', 'message'),
    [
        (lambda path: None, 'no such report'),
        (lambda path: path.write_text('<html>'), 'is not JSON'),
        (lambda path: path.write_bytes(b'\xff\xfe'), 'is not JSON'),
        (lambda path: path.write_text('[' * 100_000), 'is not JSON'),
        (lambda path: path.mkdir(), 'no such report'),
        (lambda path: path.write_text('[1, 2]'), 'is not a report'),
        (lambda path: path.write_text('{"schema_version": 1}'), 'is not a report'),
        (damaged(lambda v: v.update(schema_version=99)), 'has report format 99'),
        (damaged(lambda v: v.pop('methods')), 'is damaged'),
        (damaged(lambda v: v.update(methods=[])), 'is damaged'),
        (damaged(lambda v: v['methods'][0].update(within_twice='x')), 'is damaged'),
        (damaged(lambda v: v.update(answers=[])), 'is damaged'),
        (damaged(lambda v: v['methods'].append('HOG')), 'is damaged'),
        (damaged(lambda v: v['methods'][0].pop('f1_max')), 'is damaged'),
        (damaged(lambda v: v['methods'][0]['curve']['found'].pop()), 'is damaged'),
        (damaged(lambda v: v['methods'][0]['recall'].update({'1': 'x'})), 'is damaged'),
        (damaged(lambda v: v['calibration'].update(count=['x'] * 10)), 'is damaged'),
        (damaged(lambda v: v['calibration'].pop('error')), 'is damaged'),
        (damaged(lambda v: v['answers'][0].pop()), 'is damaged'),
        (damaged(lambda v: v['answers'][0].__setitem__(3, 'x')), 'is damaged'),
        (damaged(lambda v: v['answer_columns'].reverse()), 'is damaged'),
        (damaged(lambda v: v.update(localisation_m={'median': 'x'})), 'is damaged'),
    ],
)
def test_what_is_no_report_is_one_line(tmp_path: Path, write: Callable, message: str):
    path = tmp_path / 'r.json'
    write(path)
    with pytest.raises(VprError) as error:
        load_report(path)
    assert message in line_of(error) and str(path) in line_of(error)


def test_a_file_of_another_kind_is_named_itself(tmp_path: Path):
    (tmp_path / 'map.yaml').write_text('frame: map')
    with pytest.raises(VprError, match='map.yaml: is not JSON'):
        load_report(tmp_path / 'map.yaml')

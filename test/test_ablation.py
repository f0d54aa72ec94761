# SPDX-License-Identifier: Apache-2.0
"""The ablation: what each row changes, and what is said of the paper's orderings."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import line_of
from small_student import torch  # noqa: F401  skips where it is missing

from ashtkd_ros.errors import VprError
from tools.ablation import FULL, rows, table, verdicts
from tools.config import read_config


def test_rows_change_what_their_names_say(root: Path):
    config = read_config(root / 'config' / 'train' / 'ablation.yaml')
    found = rows(config)
    alone, soft = found['student alone'], found['soft only, 3 teachers']
    assert alone['teachers'] == () and not any(alone[k] for k in ('soft', 'hard', 'ranking'))
    assert soft['soft'] > 0 and soft['hard'] == soft['descriptor'] == 0 == soft['ranking']
    counts = [len(found[f'soft + hard, {n}']['teachers']) for n in ('1 teacher', '4 teachers')]
    assert counts == [1, 4]
    assert set(found[FULL]) == {'teachers'}
    assert found['without adaptive weights']['adaptive'] == 'mean'


def test_fewer_than_four_teachers_are_one_line(root: Path):
    with pytest.raises(VprError) as error:
        rows(read_config(root / 'config' / 'train' / 'first.yaml'))
    assert 'needs four teachers' in line_of(error)


def test_table_and_verdicts_follow_the_figures():
    results = {
        FULL: [{'a': 60.0, 'b': 80.0}, {'a': 62.0, 'b': 82.0}],
        'student alone': [{'a': 50.0, 'b': 70.0}, {'a': 52.0, 'b': 72.0}],
        'without feature guidance': [{'a': 59.0, 'b': 81.0}, {'a': 63.0, 'b': 81.0}],
        'without adaptive weights': [{'a': 90.0, 'b': 90.0}, {'a': 90.0, 'b': 90.0}],
    }
    text = table(results)
    assert f'| {FULL} | 61.0 ± 1.4 | 81.0 ± 1.4 | 71.0 ± 1.4 |' in text
    lines = {line.split(': ')[0]: line for line in verdicts(results)}
    assert 'holds (+10.0 points, spread 1.4)' in lines[f'{FULL} > student alone']
    assert 'within the spread' in lines[f'{FULL} > without feature guidance']
    assert 'FAILS (-19.0 points' in lines[f'{FULL} > without adaptive weights']
    assert len(lines) == 3

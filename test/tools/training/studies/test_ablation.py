# SPDX-License-Identifier: Apache-2.0
"""The ablation: what each row changes, and what is said of the paper's orderings."""

from __future__ import annotations

import errno
import json
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import line_of
from small_student import torch  # noqa: F401  skips where it is missing

from ashtkd_ros.errors import VprError
from ashtkd_ros.files import writing
from tools.training.config import as_plain, read_config
from tools.training.run_folder import start_folder
from tools.training.studies.ablation import (
    FULL,
    main,
    rows,
    stored_recalls,
    table,
    verdicts,
    write_report,
)


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


def test_results_of_other_settings_are_not_reused(root: Path, tmp_path: Path):
    config = read_config(root / 'config' / 'train' / 'ablation.yaml')
    folder, sets = tmp_path / 'student', [Path('a'), Path('b')]
    assert stored_recalls(folder, config, sets) is None
    start_folder(folder, as_plain(config))
    assert stored_recalls(folder, config, sets) is None  # begun: goes on
    results = folder / 'results.json'
    results.write_text(json.dumps({'a': 1.0, 'b': 2.0}))
    assert stored_recalls(folder, config, sets) == {'a': 1.0, 'b': 2.0}
    changed = replace(config, schedule=replace(config.schedule, steps=7))

    def refused(config, sets) -> str:
        with pytest.raises(VprError) as error:
            stored_recalls(folder, config, sets)
        return line_of(error)

    assert 'steps' in refused(changed, sets)
    assert 'other validation sets' in refused(config, sets[:1])
    results.write_text('{')
    assert 'is damaged' in refused(config, sets)
    (folder / 'config.yaml').unlink()
    assert 'of unknown settings' in refused(config, sets)


def test_the_report_is_made_again_from_stored_results(tmp_path: Path, capsys):
    stored = tmp_path / 'report.json'
    stored.write_text(json.dumps({FULL: [{'a': 60.0}], 'student alone': [{'a': 50.0}]}))
    assert main(['--stored', str(stored)]) == 0
    assert f'{FULL} > student alone: holds (+10.0 points' in capsys.readouterr().out
    stored.write_text('{}')
    for arguments, expected in (
        (['--stored', str(stored)], 'not a report.json'),
        ([], 'are missing'),
    ):
        with pytest.raises(VprError) as error:
            main(arguments)
        assert expected in line_of(error)


def test_a_report_replaces_one_of_an_ablation_only(tmp_path: Path):
    results = {FULL: [{'a': 60.0}], 'student alone': [{'a': 50.0}]}
    for _ in range(2):
        assert 'holds (+10.0 points' in write_report(results, tmp_path)
    files = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    assert set(files) == {'report.md', 'report.json', 'ablation.png'}
    for name, data in files.items():
        (tmp_path / name).write_text('| | mine')
        with pytest.raises(VprError) as error:
            write_report(results, tmp_path)
        assert f'{name}: exists' in line_of(error)
        (tmp_path / name).write_bytes(data)


def test_a_full_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(writing.os, 'fsync', full)
    with pytest.raises(VprError) as error:
        write_report({FULL: [{'a': 60.0}]}, tmp_path)
    assert 'the report cannot be written (No space left on device); make room' in line_of(error)
    assert not list(tmp_path.iterdir())


def test_more_teachers_and_the_single_teacher_are_claims_of_their_own():
    results = {f'soft + hard, {n} teachers': [{'a': 10.0 * n}] for n in (2, 3, 4)}
    results |= {'soft + hard, 1 teacher': [{'a': 10.0}]}
    results |= {'teacher "everywhere" alone': [{'a': 30.5}]}
    lines = verdicts(results)
    for more, fewer in (('2 teachers', '1 teacher'), ('3 teachers', '2 teachers')):
        assert f'soft + hard, {more} > soft + hard, {fewer}: holds (+10.0' in '\n'.join(lines)
    assert any('4 teachers > soft + hard, 3 teachers: holds' in line for line in lines)
    assert any('> teacher "everywhere" alone: FAILS (-0.5 points' in line for line in lines)


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

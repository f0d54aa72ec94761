# SPDX-License-Identifier: Apache-2.0
"""The folder of a trial: never replaced, read with care."""

from __future__ import annotations

from datetime import datetime
from multiprocessing import get_context
from pathlib import Path

import pytest

from ashtkd_ros.errors import VprError
from ashtkd_ros.trials.folder import SHEET, TrialFolder, trials_in
from ashtkd_ros.trials.sheet import Sheet
from ashtkd_ros.trials.trial_log import LogEntry, TrialLog

NOW = datetime(2026, 11, 28, 9, 5, 7)


def test_names_sort_and_nothing_is_replaced(tmp_path: Path):
    first = TrialFolder.create(tmp_path, Sheet('yard', condition='day'), NOW)
    second = TrialFolder.create(tmp_path, Sheet('yard', condition='dusk'), NOW)
    assert [t.path.name for t in trials_in(tmp_path)] == [
        '2026-11-28_09-05-07_yard',
        '2026-11-28_09-05-07_yard_2',
    ]
    assert first.sheet().condition == 'day' and second.sheet().condition == 'dusk'


@pytest.mark.parametrize('name', ['', '../x', 'a/b', '.x', '-x', 'a b', 'x' * 81, 'a\n'])
def test_odd_names_are_refused(name: str, tmp_path: Path):
    with pytest.raises(VprError, match='no name for a trial'):
        TrialFolder.create(tmp_path, Sheet(name), NOW)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ('text', 'said'),
    [
        ('- 1', 'lines such as'),
        ('version: 2\nname: a', 'version'),
        ('version: 1\nname: a\nwether: rain', '"wether" is not one of'),
        ('version: 1\nname: a\nweather: [rain]', '"weather" is not a text'),
        ('version: 1', '"name" is missing'),
        (': :', 'cannot be read'),
    ],
)
def test_a_damaged_sheet_is_one_line(text: str, said: str, tmp_path: Path):
    trial = TrialFolder.create(tmp_path, Sheet('yard'), NOW)
    (trial.path / SHEET).write_text(text)
    with pytest.raises(VprError, match=said):
        trial.sheet()


def test_what_was_written_by_hand_is_read(tmp_path: Path):
    trial = TrialFolder.create(tmp_path, Sheet('yard'), NOW)
    (trial.path / SHEET).write_text('version: 1\nname: yard\nweather: rain, 4 °C\noperator: 12\n')
    assert trial.sheet() == Sheet('yard', weather='rain, 4 °C', operator='12')


def test_a_half_line_costs_that_line_alone(tmp_path: Path):
    log = TrialLog(tmp_path / 'events.jsonl')
    log.append(LogEntry('a', 'one\ntwo', values={'n': 1}))
    with log.path.open('ab') as file:
        file.write(b'{"stamp_ns": 1')
    log.append(LogEntry('b'))
    entries, damaged = log.read()
    assert [(e.kind, e.text) for e in entries] == [('a', 'one two'), ('b', '')]
    assert damaged == 1


def _write(path: Path, kind: str) -> None:
    for number in range(50):
        TrialLog(path).append(LogEntry(kind, values={'n': number}))


def test_processes_do_not_mix_their_lines(tmp_path: Path):
    path = tmp_path / 'events.jsonl'
    writers = [get_context('spawn').Process(target=_write, args=(path, k)) for k in 'ab']
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    entries, damaged = TrialLog(path).read()
    assert damaged == 0
    for kind in 'ab':
        assert [e.values['n'] for e in entries if e.kind == kind] == list(range(50))


def test_bags_are_numbered(tmp_path: Path):
    trial = TrialFolder.create(tmp_path, Sheet('yard'), NOW)
    assert trial.next_bag().name == 'bag' and trial.bags() == []
    trial.next_bag().mkdir()
    assert trial.next_bag().name == 'bag_2' and [b.name for b in trial.bags()] == ['bag']

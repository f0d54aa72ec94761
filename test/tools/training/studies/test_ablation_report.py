# SPDX-License-Identifier: Apache-2.0
"""Results of the ablation and what is said of them: stored whole, compared query by query."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import numpy as np
import pytest
import training_packages  # noqa: F401  skips where one of them is missing
from conftest import line_of

from ashtkd_ros.errors import VprError
from ashtkd_ros.files import writing
from tools.training.studies.ablation_report import (
    ALONE,
    BOTH,
    CLAIMS,
    FULL,
    PAPER,
    SINGLE,
    gaps_of,
    mean_recall,
    read_results,
    report_of,
    table,
    write_report,
)
from tools.training.studies.ablation_results import Results
from tools.training.studies.query_sets import AskedSet

SETS = {'corridor': 100, 'robot_loop': 60, 'town11/left1': 143}


def answered(share: float, seed: int, methods=('descriptor', 'verified')) -> dict[str, AskedSet]:
    """The first `share` of the queries are right, but for a few by the seed; `descriptor` alone
    ten points less."""
    asked = {}
    for name, count in SETS.items():
        luck = np.random.default_rng(seed).normal(0, 0.05, count)
        ease = np.linspace(0, 1, count, endpoint=False) + luck
        right = {m: ease < share - 0.1 * (m == 'descriptor') for m in methods}
        asked[name] = AskedSet(right, [f'{name} {q}' for q in range(count)], f'{name} asked')
    return asked


def results_of(rows: dict[str, float], seeds: int = 3) -> Results:
    """Rows by their shares of right answers."""
    results = Results()
    for row, share in rows.items():
        for seed in range(seeds):
            results.extend(Results.of(row, answered(share, seed), 'v1-g12', 1800.0))
    return results


def test_every_answer_is_kept_in_the_file(tmp_path: Path):
    results = results_of({ALONE: 0.61, FULL: 0.7})
    (tmp_path / 'report.json').write_text(results.to_json())
    again = read_results(tmp_path / 'report.json')
    assert (again.spots, again.digests) == (results.spots, results.digests)
    for row, kept in results.rows.items():
        assert again.rows[row].revisions == kept.revisions
        assert again.rows[row].seconds == kept.seconds
        for measure in ('descriptor', 'verified'):
            for group, right in results.right(row, measure).items():
                assert (again.right(row, measure)[group] == right).all()
    assert report_of(again) == report_of(results)


def test_table_means_and_claims():
    results = results_of({ALONE: 0.5, BOTH[3]: 0.6, FULL: 0.6})
    lines = table(results, 'verified')
    assert lines[0] == '| Recall@1 in %, verified | indoor (160) | walks, moved (143) | mean |'
    mean = [float(line.split('|')[-2].split()[0]) for line in lines[2:]]
    assert mean == pytest.approx([50, 60, 60], abs=1)
    report = report_of(results)
    verified, _, descriptor = report.partition('| Recall@1 in %, descriptor')
    claim = next(
        line for line in verified.splitlines() if line.startswith(f'- {BOTH[3]} > {ALONE}')
    )
    assert ': holds (+10' in claim and 'can be resolved; in the paper +2.5)' in claim
    claim = next(
        line for line in verified.splitlines() if line.startswith(f'- {FULL} > {BOTH[3]}')
    )
    assert ': not resolved (+0.0 points' in claim and 'in the paper' not in claim
    assert '| 40.' in descriptor and f'- {BOTH[3]} > {ALONE}: holds' in descriptor
    assert report.endswith('303 queries, 3 seeds; made in 4.5 h, revision v1-g12.\n')
    assert mean_recall(results, ALONE, 'verified') == lines[2].split('|')[-2].split()[0]


def test_what_fails_and_what_one_seed_cannot_tell():
    report = report_of(results_of({ALONE: 0.6, BOTH[3]: 0.5}))
    assert f'- {BOTH[3]} > {ALONE}: FAILS (-10' in report
    report = report_of(results_of({ALONE: 0.5, BOTH[3]: 0.6}, seeds=1))
    assert f'- {BOTH[3]} > {ALONE}: not resolved (+10' in report and 'one seed' in report


def test_a_teacher_is_measured_once_and_has_perhaps_no_local_features():
    results = results_of({ALONE: 0.5, BOTH[3]: 0.6})
    teacher = answered(0.55, 7, methods=('descriptor',))
    results.extend(Results.of(f'{SINGLE}: big', teacher))
    assert (BOTH[3], SINGLE) not in gaps_of(results, 'verified')
    assert gaps_of(results, 'descriptor')[BOTH[3], SINGLE].points == pytest.approx(5, abs=3)
    assert not any('big' in line for line in table(results, 'verified'))
    assert any('big' in line for line in table(results, 'descriptor'))


def test_the_gaps_of_the_paper_are_those_of_its_table():
    paper = {pair: PAPER[pair[0]] - PAPER[pair[1]] for pair in CLAIMS if set(pair) <= set(PAPER)}
    assert CLAIMS[0] == (BOTH[3], ALONE) and paper[CLAIMS[0]] == pytest.approx(2.475)
    assert len(paper) == 7 and min(paper.values()) == pytest.approx(0.45)


def test_answers_to_other_queries_are_not_mixed():
    results, other = results_of({ALONE: 0.5}), answered(0.5, 0)
    other['corridor'] = AskedSet(other['corridor'].right, other['corridor'].spots, 'others')
    with pytest.raises(VprError) as error:
        results.extend(Results.of(FULL, other))
    assert f'{FULL}: measured by other queries' in line_of(error)


def damaged(values: dict, kind: str) -> dict:
    """The table of a report.json, spoiled in one way."""
    row = values['rows'][ALONE]
    if kind == 'bits':
        row['seeds'][0]['verified']['corridor'] = '00'
    elif kind == 'no seeds':
        row['seeds'] = []
    elif kind == 'a set less':
        del values['digests']['corridor']
    elif kind == 'no row':
        values['rows'] = {}
    elif kind == 'not hexadecimal':
        row['seeds'][0]['verified']['corridor'] = 'x' * 26
    return values


@pytest.mark.parametrize('kind', ['bits', 'no seeds', 'a set less', 'no row', 'not hexadecimal'])
def test_a_damaged_file_is_one_line(tmp_path: Path, kind: str):
    values = json.loads(results_of({ALONE: 0.5}).to_json())
    file = tmp_path / 'report.json'
    for text in (json.dumps(damaged(values, kind)), '{', '[]', '{}', 'null', '1'):
        file.write_text(text)
        with pytest.raises(VprError) as error:
            read_results(file)
        assert 'not a report.json' in line_of(error)


def test_a_report_replaces_one_of_an_ablation_only(tmp_path: Path):
    results = results_of({ALONE: 0.5, BOTH[3]: 0.6})
    for _ in range(2):
        assert write_report(results, tmp_path) == report_of(results)
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
        write_report(results_of({FULL: 0.5}, 1), tmp_path)
    assert 'the report cannot be written (No space left on device); make room' in line_of(error)
    assert not list(tmp_path.iterdir())

# SPDX-License-Identifier: Apache-2.0
"""The ablation: what each row changes, a whole one in small, and how it is taken up again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from conftest import line_of
from small_student import torch
from small_training import write_settings

from ashtkd_ros.errors import VprError
from tools.render.walks import EVALUATION_TOWNS
from tools.training.config import TrainConfig, as_plain, read_config
from tools.training.run_folder import start_folder
from tools.training.studies import ablation as study
from tools.training.studies.ablation import main, rows, scaled, settings_of, stored_results
from tools.training.studies.ablation_report import ALONE, BOTH, EQUAL, FULL, HARD, MATCHED, SOFT
from tools.training.studies.ablation_results import Results, Row
from tools.training.studies.query_sets import AskedPlaces


@pytest.fixture(scope='module')
def shipped(root: Path) -> TrainConfig:
    return read_config(root / 'config' / 'train' / 'ablation.yaml')


def test_rows_change_what_their_names_say(shipped: TrainConfig):
    lessons = {row: settings_of(shipped, row, 0).lesson for row in rows(shipped)}
    weights = {
        row: {n for n in ('match', 'maps', 'descriptor', 'soft', 'hard') if getattr(lesson, n)}
        for row, lesson in lessons.items()
    }
    assert weights[ALONE] == set() and weights[MATCHED] == {'match'}
    assert weights[SOFT] == {'soft'} and weights[HARD] == {'hard'}
    assert all(weights[row] == {'soft', 'hard'} for row in BOTH.values())
    assert weights[FULL] == weights[EQUAL] == {'match', 'maps', 'descriptor', 'soft', 'hard'}
    counts = {row: len(lesson.teachers) for row, lesson in lessons.items()}
    assert [counts[BOTH[n]] for n in (1, 2, 3, 4)] == [1, 2, 3, 4]
    assert counts[ALONE] == counts[MATCHED] == 0 and counts[SOFT] == counts[FULL] == 3
    assert {row for row, lesson in lessons.items() if lesson.adaptive == 'mean'} == {EQUAL}
    assert len({lesson.metric for lesson in lessons.values()}) == 1


def test_the_shipped_settings_are_the_ones_that_are_asked_for(shipped: TrainConfig):
    schedule = shipped.schedule
    assert schedule.steps * schedule.places * schedule.views == 64_000
    assert shipped.student.image_size == 112 and not schedule.sizes
    assert shipped.start.suffix == '.npz' and shipped.held_back
    for lesson in (shipped.lesson, settings_of(shipped, BOTH[3], 0).lesson):
        taught = [t for t in shipped.teachers if t.name in lesson.teachers]
        assert len({t.trunk for t in taught}) >= 2 and len({t.pool for t in taught}) == 2
    walked = {p.parent.name for s in shipped.sources if s.kind == 'walks' for p in s.paths}
    assert walked and not walked & {f'town{town}' for town in EVALUATION_TOWNS}


def test_all_rates_are_scaled_and_nothing_else(shipped: TrainConfig):
    before, after = as_plain(shipped.schedule), as_plain(scaled(shipped.schedule, 2.0))
    changed = {name for name in before if before[name] != after[name]}
    assert {'learning_rate', 'pretrained_rate'} <= changed
    assert all(n.endswith('_rate') and after[n] == 2 * before[n] for n in changed)


def test_fewer_than_four_teachers_are_one_line(shipped: TrainConfig):
    few = replace(shipped.lesson, teachers=shipped.lesson.teachers[:3])
    with pytest.raises(VprError) as error:
        rows(replace(shipped, lesson=few))
    assert 'needs four teachers' in line_of(error)


@pytest.fixture
def small(pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TrainConfig:
    """Settings of a small training with four teachers, one of them an APFormer."""
    config = read_config(write_settings(pictures, tmp_path, monkeypatch, steps=2))
    frozen = [replace(config.teachers[0], name=name) for name in ('frozen', 'b', 'c')]
    teachers = (*frozen, config.teachers[1])
    lesson = replace(config.lesson, teachers=('frozen', 'b', 'up', 'c'))
    return replace(config, teachers=teachers, lesson=lesson)


@pytest.fixture
def places(pictures: list[Path], tmp_path: Path) -> AskedPlaces:
    """A validation set of twelve places, each with the same picture as map and query."""
    folder = tmp_path / 'val' / 'plain'
    folder.mkdir(parents=True)
    lines = ['file,place,role,order']
    for n, picture in enumerate(pictures[:12]):
        lines += [f'{picture},place{n},{role},' for role in ('database', 'query')]
    (folder / 'index.csv').write_text('\n'.join(lines) + '\n')
    return AskedPlaces([folder])


def test_a_whole_ablation_is_made_once_and_goes_on(
    small: TrainConfig, places: AskedPlaces, monkeypatch: pytest.MonkeyPatch, capsys
):
    kept = rows(small)
    monkeypatch.setattr(study, 'rows', lambda _: {row: kept[row] for row in (ALONE, FULL)})
    monkeypatch.setattr(study, 'FITTED_ON', 60)
    report = study.ablation(small, places, 1)
    for row in ('not trained', ALONE, FULL, 'one teacher alone: frozen', 'teacher alone: up'):
        assert any(line.startswith(f'| {row} | ') for line in report.splitlines())
    assert f'- {FULL} > {ALONE}: not resolved' in report
    assert '3 students to go, about 0.1 h' in capsys.readouterr().out
    folder = small.out / 'ablation'
    assert not (folder / 'student_alone_0' / 'checkpoint.pt').exists()
    assert {p.name for p in folder.glob('*.*')} == {'report.md', 'report.json', 'ablation.png'}
    trained = []

    def train(config: TrainConfig, *rest: object) -> torch.nn.Module:
        trained.append((config.schedule.seed, len(config.lesson.teachers)))
        return real(config, *rest)

    real = study.train_student
    monkeypatch.setattr(study, 'train_student', train)
    assert study.ablation(small, places, 1) == report and not trained
    study.ablation(small, places, 2)
    assert trained == [(1, 0), (1, 3)]
    initial, again = (Results.from_json((folder / f'not_trained_{n}' / 'results.json').read_text())
                      for n in (0, 1))  # fmt: skip
    assert initial.digests == again.digests
    models = [(folder / f'not_trained_{n}' / 'student.onnx').read_bytes() for n in (0, 1)]
    assert models[0] != models[1]  # the seed draws the new layers


def test_rates_are_a_table_of_the_student_alone(
    small: TrainConfig, places: AskedPlaces, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(study, 'FITTED_ON', 60)
    table = study.rates(small, places, [0.5, 2.0])
    assert [line.split('|')[1].strip() for line in table.splitlines()[2:]] == ['0.5', '2']
    assert (small.out / 'rates' / 'rates.md').read_text() == table + '\n'
    assert study.rates(small, places, [2.0]).splitlines()[2] == table.splitlines()[3]


def test_every_row_is_shown_the_same_pictures(
    small: TrainConfig, places: AskedPlaces, monkeypatch: pytest.MonkeyPatch
):
    shown = []

    def train(run: object, data: object, batches: list) -> torch.nn.Module:
        shown.append(batches)
        return run.network

    monkeypatch.setattr('tools.training.train.train', train)
    made = study.Study.prepared(replace(small, schedule=replace(small.schedule, group=2)), places)
    monkeypatch.setattr(study.Study, '_measure', lambda *_: Results())
    for row in (ALONE, FULL):
        made.student(row, settings_of(made.config, row, 3), small.out / row)
    assert shown[0] == shown[1] and shown[0]


def test_results_of_other_settings_are_not_reused(shipped: TrainConfig, tmp_path: Path):
    folder = tmp_path / 'student'
    assert stored_results(folder, shipped) is None
    start_folder(folder, as_plain(shipped))
    assert stored_results(folder, shipped) is None  # begun: goes on
    results = folder / 'results.json'
    one = Results({'a': ['x']}, {'a': '1'}, {ALONE: Row([], ['v1'], [1.0])})
    results.write_text(one.to_json())

    def refused(config: TrainConfig) -> str:
        with pytest.raises(VprError) as error:
            stored_results(folder, config)
        return line_of(error)

    assert 'is damaged' in refused(shipped)  # without a seed
    assert 'steps' in refused(replace(shipped, schedule=replace(shipped.schedule, steps=7)))
    (folder / 'config.yaml').unlink()
    assert 'of unknown settings' in refused(shipped)


def test_the_forecast_is_by_what_was_measured(shipped: TrainConfig):
    jobs = [(row, 1) for row in ('not trained', ALONE, FULL)]
    begun = Results(rows={ALONE: Row(seconds=[600.0, 1200.0]), 'not trained': Row(seconds=[60.0])})
    text = study.forecast(jobs, begun, shipped.schedule)  # FULL as the others: 60 + 2 x 900
    assert text == '3 students to go, about 0.5 h'
    assert '3 students to go, about 0.6 h' in study.forecast(jobs, Results(), shipped.schedule)


def test_wrong_arguments_are_one_line(tmp_path: Path):
    stored = tmp_path / 'report.json'
    stored.write_text('{}')
    files = ['--config', 'x.yaml', '--data', str(tmp_path)]
    for arguments, expected in (
        (['--stored', str(stored)], 'not a report.json'),
        ([], 'are missing'),
        ([*files, '--rates', '0'], '--rates: factors must be above 0'),
        ([*files, '--rates', 'nan'], '--rates: factors must be above 0'),
    ):
        with pytest.raises(VprError) as error:
            main(arguments)
        assert expected in line_of(error)

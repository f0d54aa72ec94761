# SPDX-License-Identifier: Apache-2.0
"""The folder of a run: settings that hold, kill -9, results, pictures left out, bad folders."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from conftest import line_of
from small_student import SMALL, small_student, torch
from small_training import PARTS, curve, learn, same, write_settings

from ashtkd_ros.errors import VprError
from tools.training import loop, run_results, train
from tools.training.config import Schedule, read_config
from tools.training.run_folder import first_line, load_checkpoint, start_folder
from tools.training.studies.ablation_report import read_results


@pytest.fixture
def settings(pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return write_settings(pictures, tmp_path, monkeypatch)


def change(settings: Path, change: Callable[[dict], None]) -> None:
    values = yaml.safe_load(settings.read_text())
    change(values)
    settings.write_text(yaml.safe_dump(values))


def kept(folder: Path, settings: dict) -> None:
    """A checkpoint of a run with these settings; None: one of before they were kept."""
    folder.mkdir(exist_ok=True)
    state = small_student().state_dict()
    parts = {'network': state, 'average': state, 'optimiser': {}, 'step': 0}
    torch.save(parts | ({'settings': settings} if settings else {}), folder / 'checkpoint.pt')


PLAIN = {
    'out': 'a',
    'sources': [{'kind': 'folders', 'path': 'photos'}],
    'student': asdict(SMALL),
    'schedule': {'steps': 10, 'checkpoint_steps': 5},
    'teachers': [{'name': 't', 'trunk': 'nets/t.onnx', 'dimensions': 8}],
}


def with_schedule(**values: int) -> dict:
    return {**PLAIN, 'schedule': {**PLAIN['schedule'], **values}}


def with_source(**values: object) -> dict:
    return {**PLAIN, 'sources': [{**PLAIN['sources'][0], **values}]}


OTHERS = [
    (with_schedule(steps=20), 'schedule.steps (10, now 20)'),
    (with_source(path='paintings'), 'sources.0.path'),
    (with_source(weight=3), 'sources.0.weight (None, now 3.0)'),
    ({**PLAIN, 'sources': PLAIN['sources'] * 2}, 'sources'),
    ({**PLAIN, 'teachers': [{**PLAIN['teachers'][0], 'dimensions': 9}]}, 'teachers.t.dimensions'),
]
ALIKE = [
    with_schedule(checkpoint_steps=1),
    {**PLAIN, 'out': 'b', 'revision': 'other', 'views_folder': 'v'},
    with_source(path=os.path.abspath('photos')),
    with_source(weight=None),  # the default
    {**PLAIN, 'later': 1},  # of a newer version
    {**PLAIN, 'teachers': [*PLAIN['teachers'], {'name': 'unused'}]},
]


@pytest.mark.parametrize('where', ['checkpoint.pt', 'config.yaml'])
def test_a_run_is_not_resumed_with_other_settings(tmp_path: Path, where: str):
    folder = tmp_path / 'run'
    kept(folder, PLAIN if where == 'checkpoint.pt' else None)
    for other, expected in OTHERS:
        text = yaml.safe_dump(PLAIN if where == 'config.yaml' else {'student': 'another'})
        (folder / 'config.yaml').write_text(text)
        with pytest.raises(VprError) as error:
            start_folder(folder, other)
        assert f'has another {expected}' in line_of(error) and str(folder) in str(error.value)
        assert (folder / 'config.yaml').read_text() == text
    for alike in ALIKE:
        start_folder(folder, alike)


def test_sources_are_compared_with_what_they_leave_out(tmp_path: Path):
    short = {'kind': 'sets', 'path': 'photos'}
    kept(tmp_path / 'run', {**PLAIN, 'sources': [short]})  # as versions before wrote it
    start_folder(tmp_path / 'run', {**PLAIN, 'sources': [{**short, 'radius': 1.0, 'only': None}]})
    for changes, expected in (({'radius': 2}, 'radius (1.0, now 2.0)'), ({'only': ['a']}, 'only')):
        with pytest.raises(VprError) as error:
            start_folder(tmp_path / 'run', {**PLAIN, 'sources': [{**short, **changes}]})
        assert f'has another sources.0.{expected}' in line_of(error)
    odd = {**PLAIN, 'sources': [{**short, 'later': 1}]}  # of a newer version
    with pytest.raises(VprError) as error:
        start_folder(tmp_path / 'run', odd)
    assert 'has another sources.0.later' in line_of(error)


def test_what_was_held_back_is_compared_in_any_case(tmp_path: Path):
    kept(tmp_path / 'run', PLAIN)
    start_folder(tmp_path / 'run', {**PLAIN, 'held_back': {}})
    with pytest.raises(VprError) as error:
        start_folder(tmp_path / 'run', {**PLAIN, 'held_back': {'tours': 5}})
    assert 'has another held_back.tours (None, now 5)' in line_of(error)


def test_a_run_that_kept_no_settings_goes_on(tmp_path: Path):
    kept(tmp_path / 'run', None)
    start_folder(tmp_path / 'run', PLAIN)
    assert yaml.safe_load((tmp_path / 'run' / 'config.yaml').read_text())['out'] == 'a'


def test_teachers_and_students_of_other_settings_are_refused(settings: Path, tmp_path: Path):
    learn(settings, tmp_path / 'out')
    text = settings.read_text()
    change(settings, lambda c: c['teachers'][0].update(dimensions=8))
    change(settings, lambda c: c['lesson'].update(teachers=['up']))  # it learned from the other
    with pytest.raises(VprError) as error:
        learn(settings, tmp_path / 'out')
    assert 'frozen: its run has another teacher.dimensions' in line_of(error)
    settings.write_text(text)
    change(settings, lambda c: c['lesson'].update(soft=2.0))
    with pytest.raises(VprError) as error:
        learn(settings, tmp_path / 'out')
    assert 'student: its run has another lesson.soft (1.0, now 2.0)' in line_of(error)


def test_a_checkpoint_from_a_gpu_is_read_without_one(tmp_path: Path, monkeypatch):
    monkeypatch.setattr('torch.serialization.location_tag', lambda _: 'cuda:0')
    kept(tmp_path / 'run', PLAIN)
    state = load_checkpoint(tmp_path / 'run' / 'checkpoint.pt')
    assert same(state['average'], small_student().state_dict())


def test_the_revision_is_of_this_code_or_unknown(tmp_path: Path, monkeypatch):
    def revision() -> str:
        start_folder(tmp_path / 'run', {})
        return yaml.safe_load((tmp_path / 'run' / 'config.yaml').read_text())['revision']

    here = revision()
    monkeypatch.chdir(tmp_path)
    assert revision() == here
    monkeypatch.setenv('PATH', str(tmp_path))
    assert revision() == 'unknown'


def test_a_run_killed_outright_ends_as_an_uninterrupted_one(
    pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    settings = write_settings(pictures, tmp_path, monkeypatch, steps=20, checkpoint_steps=2)
    whole = learn(settings, tmp_path / 'out')  # and the teachers: their trunk is only here
    folder, aside = tmp_path / 'out' / 'student', tmp_path / 'whole'
    folder.rename(aside)
    command = [sys.executable, '-m', 'tools.training.train', '--config', str(settings)]
    with (tmp_path / 'log').open('w') as log:
        process = subprocess.Popen(
            command, env={**os.environ, 'OMP_NUM_THREADS': '1'}, stdout=log, stderr=log
        )
        while process.poll() is None and not (folder / 'checkpoint.pt').exists():
            time.sleep(0.01)
        process.kill()
    assert process.wait(10) == -signal.SIGKILL, (tmp_path / 'log').read_text()
    assert 2 <= load_checkpoint(folder / 'checkpoint.pt')['step'] < 20
    assert same(learn(settings, tmp_path / 'out').state_dict(), whole.state_dict())
    assert curve(folder) == curve(aside) and len(curve(folder)) == 20
    with (folder / 'curve.csv').open() as file:
        seconds = [float(row['seconds']) for row in csv.DictReader(file)]
    assert seconds == sorted(seconds)


def test_the_curve_is_written_before_its_checkpoint(
    settings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def killed(run) -> None:
        raise KeyboardInterrupt

    learn(settings, tmp_path / 'out')
    for path in (tmp_path / 'out' / 'student').iterdir():
        path.unlink()
    monkeypatch.setattr(loop.Run, 'save', killed)
    monkeypatch.setattr(run_results.Curve, '__exit__', lambda *_: None)  # as kill -9 has none
    with pytest.raises(KeyboardInterrupt):
        learn(settings, tmp_path / 'out')
    assert len(curve(tmp_path / 'out' / 'student')) == 3


def test_progress_is_counted_in_images(settings: Path, tmp_path: Path, monkeypatch):
    bars, tqdm = {}, loop.tqdm

    def bar(**how):
        bars[how['desc']] = how
        return tqdm(**how)

    monkeypatch.setattr(loop, 'tqdm', bar)
    learn(settings, tmp_path / 'out')
    assert bars['student']['unit'] == 'img' and bars['student']['total'] == 7 * 4 * 4
    assert bars['student']['initial'] == 0
    learn(settings, tmp_path / 'out')
    assert bars['student']['initial'] == 7 * 4 * 4


def test_a_training_leaves_its_results(settings: Path, tmp_path: Path):
    learn(settings, tmp_path / 'out')  # the trunk is only here
    assert train.main(['--config', str(settings)]) == 0
    for name, losses in (('student', PARTS), ('teachers/up', ('metric', 'descriptor'))):
        results = json.loads((tmp_path / 'out' / name / 'results.json').read_text())
        assert 0 < results['parameters_m'] < 10 and 0 < results['gmac'] < 1
        assert results['seconds'] > 0 and results['images_per_s'] > 0
        assert set(results['losses']) == {'loss', *losses}


def test_results_are_of_the_whole_curve(tmp_path: Path):
    rows = ''.join(f'{i},{i / 10},{100 if i <= 50 else 2}\n' for i in range(1, 101))
    (tmp_path / 'curve.csv').write_text('step,seconds,loss\n' + rows)
    run_results.write_results(tmp_path, Schedule(steps=100, places=8, views=4), 1.5, 0.25)
    results = json.loads((tmp_path / 'results.json').read_text())
    assert results == {
        'parameters_m': 1.5,
        'gmac': 0.25,
        'seconds': 10.0,
        'images_per_s': 320.0,
        'losses': {'loss': 2.0},
    }


@pytest.mark.parametrize(
    'text',
    [
        'hello\n',
        'stamp,x,y\n1,2,3\n',
        'seconds,step,loss\n1,2,3\n',
        'step,seconds,loss\n1,0.1\n',
        'step,seconds,loss\n1,0.1,2,3\n',
        'step,seconds,loss\none,0.1,2\n',
        'step,seconds,loss\n1.5,0.1,2\n',
        'step,seconds,loss\n1,0.1,low\n',
        'step,seconds,loss\n1,0.1,\udcff\n',
    ],
)
@pytest.mark.parametrize('step', [0, 7])
def test_a_curve_that_no_run_wrote_is_one_line(tmp_path: Path, text: str, step: int):
    (tmp_path / 'curve.csv').write_text(text, errors='surrogateescape')
    with pytest.raises(VprError) as error:
        run_results.Curve(tmp_path / 'curve.csv', step)
    assert 'curve.csv: is not the curve of a run' in line_of(error)


def test_a_pipe_is_no_file_of_a_run(tmp_path: Path):
    for name in ('curve.csv', 'checkpoint.pt', 'report.json'):
        os.mkfifo(tmp_path / name)
    with pytest.raises(VprError, match='is not the curve of a run'):
        run_results.Curve(tmp_path / 'curve.csv', 0)
    with pytest.raises(VprError, match='not a checkpoint'):
        load_checkpoint(tmp_path / 'checkpoint.pt')
    with pytest.raises(VprError, match=r'not a report\.json'):
        read_results(tmp_path / 'report.json')


def test_a_curve_of_other_losses_goes_on(tmp_path: Path):
    (tmp_path / 'curve.csv').write_text('step,seconds,old\n1,0.1,2\n2,0.2,\n3,0.3,4\n')
    with run_results.Curve(tmp_path / 'curve.csv', 2) as running:
        running.add(3, {'new': 5.0}, 0.4)
    rows = [{'step': '1', 'new': ''}, {'step': '2', 'new': ''}, {'step': '3', 'new': '5'}]
    assert curve(tmp_path) == rows


def test_an_error_in_short_ends_with_a_whole_word():
    short = first_line(ValueError('invalid ' * 100 + '\nsecond line'))
    assert len(short) <= 120 and short.endswith(' invalid ...')
    assert first_line(ValueError('a  text')) == 'ValueError: a text'


def photos(folder: Path, damaged: list[int]) -> Path:
    folder.mkdir()
    for i in range(6):
        image = np.random.default_rng(i).integers(0, 256, (32, 32, 3), np.uint8)
        cv2.imwrite(str(folder / f'{i}.png'), image)
    for i in damaged:
        (folder / f'{i}.png').write_bytes(b'damaged')
    rows = ''.join(f'{i}.png,,,{i}\n' for i in range(7))  # the last is not there
    (folder / 'index.csv').write_text('file,place,role,order\n' + rows)
    return folder


def test_pictures_left_out_are_all_named_with_the_reason(settings: Path, tmp_path: Path, capsys):
    folder = photos(tmp_path / 'photos', [1, 2, 3])
    source = {'kind': 'sets', 'path': str(tmp_path), 'only': ['photos']}
    change(settings, lambda c: c.update(sources=[source]))
    with pytest.raises(VprError) as error:  # of those that are left, with what they hold
        train.prepare(read_config(settings))
    assert ' pictures cannot give 20 whitened dimensions' in line_of(error)
    lines = (tmp_path / 'out' / 'skipped.txt').read_text().splitlines()
    unreadable = [f'{folder}/{i}.png: not a readable image' for i in (1, 2, 3)]
    assert lines == [f'{folder}/6.png: missing', *unreadable]
    said = capsys.readouterr().out
    assert '4 pictures left out' in said and lines[2] in said and lines[3] not in said


def test_where_no_picture_can_be_read_one_line_says_so(settings: Path, tmp_path: Path):
    photos(tmp_path / 'photos', list(range(6)))
    source = {'kind': 'sets', 'path': str(tmp_path), 'only': ['photos']}
    change(settings, lambda c: c.update(sources=[source]))
    with pytest.raises(VprError) as error:
        train.prepare(read_config(settings))
    assert 'none of 6 pictures can be read' in line_of(error)
    assert len((tmp_path / 'out' / 'skipped.txt').read_text().splitlines()) == 7


@pytest.mark.parametrize('key', ['out', 'views_folder'])
def test_a_folder_below_a_file_is_one_line(settings: Path, tmp_path: Path, key: str):
    (tmp_path / 'file').write_text('')
    change(settings, lambda c: c.update({key: str(tmp_path / 'file' / 'below')}))
    with pytest.raises(VprError) as error:
        train.prepare(read_config(settings))
    assert 'below: cannot be made' in line_of(error) and f'another `{key}`' in str(error.value)


def test_a_start_that_is_missing_is_told_of_before_any_work(settings: Path, tmp_path: Path):
    change(settings, lambda c: c.update(start='first.onnx'))
    with pytest.raises(VprError) as error:
        train.prepare(read_config(settings))
    assert line_of(error).startswith('start: no such file first.onnx')
    assert not (tmp_path / 'views').exists()

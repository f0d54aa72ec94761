# SPDX-License-Identifier: Apache-2.0
"""The command trials: list, report, export, suggest."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from evaluation_helpers import run
from trial_maker import TrialMaker, entry

from ashtkd_ros.commands.trials import main
from ashtkd_ros.trials.vocabulary import CAMERA_STOPPED

pytest_plugins = ['trial_fixtures']


@pytest.fixture(scope='module')
def made(maker: TrialMaker, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp('command') / 'trials'
    maker.make(root, 'dusk', 'dusk', dark=(10, 20))
    maker.make(root, 'night', 'night', mirrored=(15, 28))
    return root


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / 'trials'))


def test_a_line_for_each_trial(root: Path, maker: TrialMaker, capsys: pytest.CaptureFixture):
    first = next(iter(sorted(root.iterdir())))
    with (first / 'events.jsonl').open('a') as log:
        log.write(entry(9, CAMERA_STOPPED, 'no image').to_json() + '\n')
    assert run(main, 'list', root) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and lines[0].startswith(first.name)
    images = f'{len(maker.frames)} images'
    assert all(images in line and '0.7 min' in line for line in lines)
    assert 'dusk' in lines[0] and '1 fault' in lines[0] and 'no report yet' in lines[0]
    assert 'night' in lines[1] and '0 faults' in lines[1]


def test_reports_and_their_overview(root: Path, capsys: pytest.CaptureFixture):
    out = root.parent / 'overview.html'
    assert run(main, 'report', root, '-o', out) == 0
    told = capsys.readouterr().out
    assert '0:10 unknown for' in told and ': dark' in told and ': new look' in told
    assert out.exists() and out.with_suffix('.csv').exists()
    pages = sorted(root.glob('*/report.html'))
    assert len(pages) == 2
    before = [page.stat().st_mtime_ns for page in pages]
    assert run(main, 'report', root, '--written', '-o', out) == 0
    assert [page.stat().st_mtime_ns for page in pages] == before
    assert run(main, 'report', root, '--metres', 0.5) == 0
    assert [page.stat().st_mtime_ns for page in pages] != before
    assert run(main, 'list', root) == 0
    assert capsys.readouterr().out.count('  reported') == 2


def test_hard_cases_are_counted(root: Path, capsys: pytest.CaptureFixture):
    out = root.parent / 'sets' / 'hard'
    assert run(main, 'export', root, '-o', out) == 0
    told = capsys.readouterr()
    assert 'hard cases (' in told.out and 'unknown' in told.out and 'nearly black' in told.err
    assert (out / 'index.csv').exists() and (out / 'README.txt').exists()
    assert run(main, 'export', root, '-o', out) == 1
    assert 'exists already' in capsys.readouterr().err


def test_the_trial_with_most_to_learn_comes_first(
    root: Path, maker: TrialMaker, capsys: pytest.CaptureFixture
):
    assert run(main, 'suggest', root, '--threads', 1) == 0
    lines = capsys.readouterr().out.splitlines()
    heads = [line for line in lines if line.startswith(str(root))]
    assert '_night/bag' in heads[0] and '_dusk/bag' in heads[1]
    command = next(line for line in lines if 'map_tools append' in line)
    assert f'append {maker.map_folder} ' in command and '--pose-topic /fix' in command
    assert '--image-topic /camera/image_raw/compressed' in command


@pytest.mark.parametrize(
    'arguments',
    [
        ['list', 'nowhere'],
        ['report', 'nowhere'],
        ['report', '.'],
        ['export', 'nowhere', '-o', 'out'],
        ['suggest', 'nowhere'],
    ],
)
def test_errors_are_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
    arguments: list[str],
):
    monkeypatch.chdir(tmp_path)
    assert run(main, *arguments) == 1
    lines = capsys.readouterr().err.splitlines()
    errors = [line for line in lines if not line.startswith('note: ')]
    assert len(errors) == 1 and errors[0].startswith('error: ')


@pytest.mark.parametrize(
    'arguments', [['report'], ['report', 'x', '--metres', '0'], ['report', 'x', '--truth', 'me']]
)
def test_wrong_arguments_end_with_2(arguments: list[str], capsys: pytest.CaptureFixture):
    assert run(main, *arguments) == 2
    assert 'usage' in capsys.readouterr().err

# SPDX-License-Identifier: Apache-2.0
"""The whole product once, small: map, node, camera messages, figures, report."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

pytest.importorskip('rclpy', reason='rclpy cannot be imported')

from ros_helpers import ROOT, TOWN, Process

pytest_plugins = ['ros_fixtures']
pytestmark = pytest.mark.ros
FRAMES = 12


@pytest.fixture
def two_walks(tmp_path: Path) -> Path:
    """map/ and query/: the first frames of the shipped walks."""
    folder = tmp_path / 'walks'
    for name, walk in (('map', 'day'), ('query', 'dusk')):
        (folder / name / 'images').mkdir(parents=True)
        lines = (TOWN / walk / 'poses.csv').read_text().splitlines()[: FRAMES + 1]
        (folder / name / 'poses.csv').write_text('\n'.join(lines) + '\n')
        for line in lines[1:]:
            file = line.split(',')[0]
            shutil.copy(TOWN / walk / file, folder / name / file)
    return folder


def run(folder: Path, *arguments: object) -> Process:
    process = Process(folder, 'tools.demo', *arguments)
    try:
        process.wait()
    finally:
        process.kill()
    return process


def test_two_walks(ros, two_walks: Path, tmp_path: Path) -> None:
    process = run(tmp_path / 'run', '--data', two_walks, '-o', tmp_path / 'out')
    assert process.wait() == 0, process.stderr
    answers = re.findall(
        r'→ place +\d+ .* confidence [01]\.\d\d  (right|near miss|WRONG)', process.stdout
    )
    assert len(answers) == FRAMES
    assert re.search(rf'R@1 [\d.]+ %.* AP [\d.]+ .*\({FRAMES} queries', process.stdout)
    assert re.search(r'p50 [\d.]+ ms, p95 [\d.]+ ms', process.stdout)
    report = (tmp_path / 'out' / 'report.html').read_text()
    assert report.count('data:image') >= 2 * FRAMES
    assert 'Traceback' not in process.stderr


def test_a_folder_that_holds_no_walks(ros, tmp_path: Path) -> None:
    process = run(tmp_path / 'run', '--data', tmp_path)
    assert process.wait() == 1
    (line,) = process.stderr.splitlines()
    assert line.startswith('error: ')
    assert str(tmp_path) in line
    assert process.stdout == ''


@pytest.mark.parametrize('name', ['report.json', 'report.answers.json', 'at_work.png'])
def test_a_file_of_the_users_is_kept_and_nothing_is_begun(
    ros, two_walks: Path, tmp_path: Path, name: str
) -> None:
    out = tmp_path / 'out'
    out.mkdir()
    (out / name).write_text('{"schema_version": 2, "mine": 1}')
    process = run(tmp_path / 'run', '--data', two_walks, '-o', out)
    assert process.wait() == 1 and process.stdout == ''
    (line,) = process.stderr.splitlines()
    assert f'{name}: exists' in line
    assert [p.name for p in out.iterdir()] == [name]


def test_the_demo_needs_no_torch() -> None:
    assert 'torch' not in (ROOT / 'tools' / 'demo.py').read_text()

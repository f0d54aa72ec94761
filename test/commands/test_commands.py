# SPDX-License-Identifier: Apache-2.0
"""The commands as users call them: what they print, exit status, one-line errors."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import ROOT

from ashtkd_ros.cli.command import run_command
from ashtkd_ros.commands import build_map, evaluate
from ashtkd_ros.errors import VprError

MAINS = {'build_map': build_map.main, 'evaluate': evaluate.main}


def start(command: str, *arguments: object, folder: Path = ROOT) -> subprocess.CompletedProcess:
    """Run a command as its own process."""
    paths = os.pathsep.join([str(ROOT), os.environ.get('PYTHONPATH', '')])
    return subprocess.run(
        [sys.executable, '-m', f'ashtkd_ros.commands.{command}', *map(str, arguments)],
        cwd=folder,
        env={**os.environ, 'PYTHONPATH': paths, 'OMP_NUM_THREADS': '1'},
        capture_output=True,
        text=True,
        timeout=120,
    )


def call(command: str, *arguments: object) -> int:
    """Run a command in this process; its exit status."""
    with pytest.raises(SystemExit) as end:
        MAINS[command]([str(a) for a in arguments])
    return end.value.code


def error_line(capsys: pytest.CaptureFixture) -> str:
    """What a failed command printed, which must be one line on stderr."""
    printed = capsys.readouterr()
    assert printed.out == ''
    assert printed.err.startswith('error: ') and printed.err.count('\n') == 1, printed.err
    return printed.err


@pytest.fixture(scope='module')
def town_map(town: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp('commands') / 'town map'
    done = start('build_map', town / 'day', '-o', out)
    assert done.returncode == 0, done.stderr
    places = len((town / 'day' / 'poses.csv').read_text().splitlines()) - 1
    assert re.fullmatch(
        rf'({re.escape(str(out))}): {places} places, \d+\.\d m apart, model \S+\n'
        rf'{places} images\n(no local features, .*\n)?route: \1/route.png\n',
        done.stdout,
    )
    assert 'Traceback' not in done.stderr
    return out


def test_a_map_is_built_of_the_shipped_walk(town_map: Path):
    assert sorted(p.name for p in town_map.iterdir() if p.name != 'local.npy') == [
        'index.faiss',
        'map.yaml',
        'places.csv',
        'places.npz',
        'route.png',
        'thumbnails',
    ]
    assert [p.name for p in town_map.parent.iterdir()] == [town_map.name]


def test_shipped_student_recognises_the_town_at_dusk(town_map: Path, town: Path, tmp_path: Path):
    report = tmp_path / 'report.html'
    done = start('evaluate', town_map, town / 'dusk', '--metres', 3, '-o', report)
    assert done.returncode == 0, done.stderr
    figures, *_, last = done.stdout.splitlines()
    recall = float(
        re.match(
            r' *single images: R@1 (\d+\.\d) % \(.* within twice the tolerance\)  R@5 ', figures
        )[1]
    )
    assert recall >= 80.0
    queries = len((town / 'dusk' / 'poses.csv').read_text().splitlines()) - 1
    assert f'({queries} queries' in figures
    assert last == f'report: {report}'
    html = report.read_text(encoding='utf-8')
    assert 'dusk in map town map' in html and f'{recall:.1f} %' in html
    assert html.count('data:image/jpeg') >= 60  # queries and matched places are pictured


def test_a_walk_in_its_own_map_is_recognised_whole(town_map: Path, town: Path, capsys):
    assert call('evaluate', town_map, town / 'day', '--threads', 1) == 0
    assert capsys.readouterr().out.lstrip().startswith('single images: R@1 100.0 %')


@pytest.mark.parametrize('command', MAINS)
def test_help_shows_an_example(command: str, capsys: pytest.CaptureFixture):
    assert call(command, '--help') == 0
    assert f'example: ros2 run ashtkd_ros {command} ' in capsys.readouterr().out


@pytest.mark.parametrize(
    'arguments',
    [
        ['build_map'],
        ['build_map', 'x'],
        ['evaluate', 'x'],
        ['evaluate', 'x', 'y', '--metres', 'z'],
    ],
    ids=' '.join,
)
def test_bad_arguments_end_with_2_and_the_usage(arguments: list[str], capsys):
    assert call(*arguments) == 2
    assert 'usage:' in capsys.readouterr().err


def test_a_failed_process_prints_one_line_and_no_traceback(tmp_path: Path):
    done = start('build_map', tmp_path / 'nowhere', '-o', tmp_path / 'map')
    assert done.returncode == 1
    assert (
        done.stderr == f'error: {tmp_path / "nowhere"}: no such folder or file; correct its path\n'
    )
    assert done.stdout == '' and not (tmp_path / 'map').exists()


def walk(folder: Path, row: str = 'a.jpg,0,1,2,3,0,0,0,1', header: str | None = None) -> Path:
    folder.mkdir()
    header = header or 'file,stamp,x,y,z,qx,qy,qz,qw'
    (folder / 'poses.csv').write_text(f'{header}\n{row}\n')
    cv2.imwrite(str(folder / 'a.jpg'), np.zeros((48, 64, 3), np.uint8))
    return folder


def test_one_image_makes_a_map_without_spacing(tmp_path: Path, capsys):
    assert call('build_map', walk(tmp_path / 'w'), '-o', tmp_path / 'm', '--threads', 1) == 0
    assert ': 1 place, model ' in capsys.readouterr().out
    assert call('evaluate', tmp_path / 'm', tmp_path / 'w', '--threads', 1) == 0
    assert '(1 query)' in capsys.readouterr().out


def corrupt_image(folder: Path) -> Path:
    (walk(folder) / 'a.jpg').write_bytes(b'no image')
    return folder


BAD_SOURCES = {
    'empty folder': (lambda f: f.mkdir(), 'neither poses.csv'),
    'no row': (lambda f: walk(f, row=''), 'lists no image'),
    'missing column': (lambda f: walk(f, header='file,x,y'), 'the column stamp is missing'),
    'NaN pose': (lambda f: walk(f, row='a.jpg,0,nan,2,3,0,0,0,1'), 'poses.csv:2: x is "nan"'),
    'missing image': (lambda f: walk(f, row='b.jpg,0,1,2,3,0,0,0,1'), 'b.jpg: listed in the CSV'),
    'corrupt image': (corrupt_image, 'a.jpg: not a readable image'),
}


@pytest.mark.parametrize('case', BAD_SOURCES)
def test_bad_source_is_one_line(tmp_path: Path, case: str, capsys: pytest.CaptureFixture):
    make, expected = BAD_SOURCES[case]
    make(tmp_path / 'source')
    assert call('build_map', tmp_path / 'source', '-o', tmp_path / 'map', '--threads', 1) == 1
    assert expected in error_line(capsys)
    assert not (tmp_path / 'map').exists()


def test_role_that_no_row_has_is_one_line(tmp_path: Path, capsys):
    (tmp_path / 'index.csv').write_text('file,place,role,order\na.jpg,x,day,0\n')
    assert call('build_map', tmp_path, '-o', tmp_path / 'map', '--role', 'night') == 1
    assert 'role "night"' in error_line(capsys)


def test_missing_and_garbage_models_are_one_line(tmp_path: Path, town: Path, capsys):
    garbage = tmp_path / 'garbage.onnx'
    garbage.write_bytes(b'garbage' * 99)
    for model, expected in ((tmp_path / 'gone.onnx', 'name an .onnx'), (garbage, 'not a model')):
        assert call('build_map', town / 'day', '-o', tmp_path / 'map', '--model', model) == 1
        assert f'{model}: ' in (line := error_line(capsys)) and expected in line


def test_out_folder_with_other_things_is_kept(tmp_path: Path, capsys):
    (tmp_path / 'mine').mkdir()
    (tmp_path / 'mine' / 'thesis.txt').write_text('years of work')
    source = walk(tmp_path / 'w')
    assert call('build_map', source, '-o', tmp_path / 'mine', '--threads', 1) == 1
    assert 'is not a map' in error_line(capsys)
    assert (tmp_path / 'mine' / 'thesis.txt').read_text() == 'years of work'


@pytest.mark.parametrize(
    ('damaged', 'expected'),
    [
        (None, 'no such map'),
        ('', 'holds no map.yaml'),
        ('index.faiss', 'index.faiss: has 9 bytes, but 6 descriptors'),
        ('places.csv', 'places.csv: is damaged'),
        ('map.yaml', 'map.yaml is'),
    ],
)
def test_bad_map_is_one_line(
    tmp_path: Path, town: Path, built, damaged: str | None, expected: str, capsys
):
    if damaged == '':
        (tmp_path / 'map').mkdir()
    elif damaged:
        built.save(tmp_path / 'map')
        (tmp_path / 'map' / damaged).write_bytes(b'\x07\xffgarbage')
    assert call('evaluate', tmp_path / 'map', town / 'dusk', '--threads', 1) == 1
    assert expected in error_line(capsys)


def test_map_of_another_model_is_one_line(tmp_path: Path, town: Path, built, capsys):
    built.save(tmp_path / 'map')
    assert call('evaluate', tmp_path / 'map', town / 'dusk', '--threads', 1) == 1
    line = error_line(capsys)
    assert 'built with model fake (00000000)' in line and 'map_tools reembed' in line


def test_evaluation_with_nothing_to_judge_by_is_one_line(town_map: Path, tmp_path: Path, capsys):
    (tmp_path / 'index.csv').write_text('file,place,role,order\na.jpg,hall,,0\n')
    cv2.imwrite(str(tmp_path / 'a.jpg'), np.zeros((48, 64, 3), np.uint8))
    assert call('evaluate', town_map, tmp_path, '--threads', 1) == 1
    assert 'there is no ground truth' in error_line(capsys)


def test_exit_status_tells_done_failed_and_interrupted(capsys: pytest.CaptureFixture):
    def fail() -> int:
        raise VprError('a thing is wrong; mend it')

    def interrupted() -> int:
        raise KeyboardInterrupt

    for body, status, text in (
        (lambda: 0, 0, ''),
        (fail, 1, 'error: a thing is wrong; mend it\n'),
        (interrupted, 130, 'interrupted\n'),
    ):
        with pytest.raises(SystemExit) as end:
            run_command(body)
        assert end.value.code == status and capsys.readouterr().err == text


def test_a_reader_that_closes_early_is_no_error():
    code = (
        'from ashtkd_ros.cli.command import run_command\n'
        'run_command(lambda: [print("line") for _ in range(100_000)] and 0)\n'
    )
    command = f'"{sys.executable}" -c \'{code}\' | head -1; exit "${{PIPESTATUS[0]}}"'
    done = subprocess.run(['bash', '-c', command], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, 'line\n', '')


def test_a_map_of_a_covered_camera_is_told(tmp_path: Path, capsys: pytest.CaptureFixture):
    walk, out = tmp_path / 'walk', tmp_path / 'map'
    walk.mkdir()
    cv2.imwrite(str(walk / 'a.png'), np.full((64, 64, 3), 9, np.uint8))
    rows = [f'a.png,{i},{i},0' for i in range(3)]
    (walk / 'poses.csv').write_text('\n'.join(['file,stamp,x,y', *rows]))
    assert call('build_map', walk, '-o', out) == 0
    assert f'note: {out}: all places have the same descriptor' in capsys.readouterr().err

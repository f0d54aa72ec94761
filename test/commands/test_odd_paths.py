# SPDX-License-Identifier: Apache-2.0
"""Odd paths, terminals and numbers at every door of the commands: one line, never a traceback."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT
from door_fixtures import HOSTILE, call, commands_of, refusal

pytest_plugins = ['door_fixtures']
pytestmark = pytest.mark.usefixtures('alarm')


def odd_paths(tmp_path: Path) -> dict[str, Path]:
    (tmp_path / 'loop').symlink_to('loop')
    (tmp_path / 'file').write_text('')
    os.mkfifo(tmp_path / 'fifo')
    return {
        'loop': tmp_path / 'loop',
        'in a loop': tmp_path / 'loop' / 'x',
        'too long': tmp_path / ('n' * 300),
        'too deep': Path('/' + 'n/' * 3000),
        'NUL': tmp_path / 'a\0b',
        'surrogate': tmp_path / 'a\udcff',
        'in a file': tmp_path / 'file' / 'x',
        'fifo': tmp_path / 'fifo',
        'device': Path('/dev/zero'),
        'full': Path('/dev/full'),
        'process': Path('/proc/1/root/x'),
        'nothing': Path(''),
        'escapes': tmp_path / HOSTILE,
        'root': Path('/'),
    }


def test_any_path_at_any_door(good: Path, tmp_path: Path, capsys, monkeypatch):
    """Every argument of every command that is a path, each odd path in its place."""
    monkeypatch.chdir(tmp_path)
    refused = 0
    for kind, path in odd_paths(tmp_path).items():
        for name, arguments in commands_of(good, tmp_path / 'out').items():
            for place in range(1, len(arguments)):
                if not isinstance(arguments[place], Path) or arguments[place - 1] == '-o':
                    continue
                status = call(*arguments[:place], path, *arguments[place + 1 :])
                shutil.rmtree(tmp_path / 'out', ignore_errors=True)
                if status:
                    assert status == 1, (kind, name)
                    refusal(capsys)
                    refused += 1
                capsys.readouterr()
    assert refused > 200


WRITTEN = [
    'loop',
    'in a loop',
    'too long',
    'too deep',
    'NUL',
    'in a file',
    'fifo',
    'device',
    'full',
]


@pytest.mark.parametrize('kind', WRITTEN)
def test_any_path_to_write_to(good: Path, tmp_path: Path, capsys, kind: str):
    path = odd_paths(tmp_path)[kind]
    for arguments in commands_of(good, path).values():
        if '-o' in arguments:
            assert call(*arguments) == 1
            refusal(capsys)
    out = ['-o', path]
    assert call(*commands_of(good, path)['evaluate'], *out) == 1
    refusal(capsys)
    assert call(*commands_of(good, path)['compare'], *out) == 1
    assert 'error: ' in capsys.readouterr().err


def start(*arguments: object, **more) -> subprocess.CompletedProcess:
    paths = os.pathsep.join([str(ROOT), os.environ.get('PYTHONPATH', '')])
    environment = {**os.environ, 'PYTHONPATH': paths, 'OMP_NUM_THREADS': '1', **more}
    command, *rest = map(str, arguments)
    return subprocess.run(
        [sys.executable, '-m', f'ashtkd_ros.commands.{command}', *rest],
        env=environment,
        capture_output=True,
        timeout=120,
    )


def test_a_terminal_of_few_letters_and_names_of_none(good: Path, tmp_path: Path):
    source = tmp_path / 'Straße\udcff \x1b[31m'
    shutil.copytree(good / 'walk', source)
    out = tmp_path / 'Ümgebung\udcfe'
    arguments = ('build_map', source, '-o', out, '--model', good / 'tiny.onnx')
    for encoding in ('ascii', 'utf-8:strict', 'latin-1'):
        for line in (arguments, ('map_info', out), ('map_info', source)):
            done = start(*line, PYTHONIOENCODING=encoding)
            printed = done.stdout + done.stderr
            assert done.returncode == (line[-1] == source), printed
            assert b'Traceback' not in printed and b'\x1b' not in printed, printed


def test_an_output_that_is_full_is_one_line(good: Path):
    with open('/dev/full', 'w') as full:
        done = subprocess.run(
            [sys.executable, '-m', 'ashtkd_ros.commands.map_info', str(good / 'map')],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
        )
    assert done.returncode == 1
    assert done.stderr.startswith('error: ') and done.stderr.count('\n') == 1


MAKEABLE = ('escapes', 'surrogate', 'root', 'nothing')  # a file can be written there


@pytest.mark.ros
def test_any_path_to_play(tmp_path: Path, good: Path, capsys):
    """As a camera, or through a node: refused before ROS is asked for anything."""
    pytest.importorskip('rclpy')
    from ashtkd_ros.ros.play import live, replay

    for kind, path in odd_paths(tmp_path).items():
        for main, arguments in (
            (replay.main, [path]),
            (live.main, [good / 'map', path, '-o', tmp_path / 'a.json']),
            (live.main, [good / 'map', good / 'walk', '-o', path / 'a.json']),
        ):
            # A name with a zero byte reaches no command from a shell.
            if arguments[-1] == path / 'a.json' and (kind in MAKEABLE or kind == 'NUL'):
                continue
            with pytest.raises(SystemExit) as end:
                main([str(a) for a in arguments])
            assert end.value.code == 1, kind
            refusal(capsys)


@pytest.mark.parametrize('option', ['--hz', '--odom-hz', '--start'])
@pytest.mark.parametrize('number', ['nan', 'inf', '1e308', '5e-324', '1e12', '-1', '0', 'x', ''])
def test_any_number_of_a_bag_to_make(good: Path, tmp_path: Path, capsys, option: str, number: str):
    make = commands_of(good, tmp_path / 'out')['make']
    status = call(*make, f'{option}={number}')
    if status == 1:
        refusal(capsys)
    assert 'Traceback' not in capsys.readouterr().err
    assert status != 0 or (option, number) in (('--start', '0'), ('--start', '5e-324'))


def test_any_number_of_threads(good: Path, tmp_path: Path):
    build = commands_of(good, tmp_path / 'out')['build_map']
    assert call(*build[:-1], 10**18) == 0

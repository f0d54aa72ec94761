# SPDX-License-Identifier: Apache-2.0
"""Every door of the commands: whatever comes in, one line and status 1, never a traceback."""

from __future__ import annotations

import csv
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import unicodedata
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from conftest import ROOT, write_tiny_model
from onnxruntime.capi import onnxruntime_pybind11_state as ort
from test_place_pictures import walk

from ashtkd_ros.cli.command import run_command
from ashtkd_ros.commands import bag_tools, build_map, evaluate, map_info, options
from ashtkd_ros.evaluation import node_answers
from ashtkd_ros.files import reading as files
from ashtkd_ros.images import picture_decoding as picture_bytes
from ashtkd_ros.images import picture_limits as pictures
from ashtkd_ros.traverses.bag_writer import START_S

MAINS = {m.__name__.rpartition('.')[2]: m.main for m in (bag_tools, build_map, evaluate, map_info)}
HOSTILE = 'a\x1b[2J\x1b]0;owned\x07b\nerror: all is well\r\u202e\u2028c\x9b31m'


@pytest.fixture(autouse=True)
def alarm() -> Iterator[None]:
    """Whatever hangs fails."""

    def late(*_) -> None:
        raise BaseException('it hangs')

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(120)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope='module')
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a walk, a map of it, a report, a bag, and the model of them."""
    folder = tmp_path_factory.mktemp('good')
    model = write_tiny_model(folder / 'tiny.onnx')
    walk(folder / 'walk')
    common = ['--model', model, '--threads', 1]
    assert call('build_map', folder / 'walk', '-o', folder / 'map', *common) == 0
    out = ['-o', folder / 'report.html', '--no-timing']
    assert call('evaluate', folder / 'map', folder / 'walk', *out, *common) == 0
    assert call('bag_tools', 'make', folder / 'walk', '-o', folder / 'bag') == 0
    poses = ''.join(f'{START_S + i / 2} {i} 0 0 0 0 0 1\n' for i in range(-1, 8))
    (folder / 'tum.txt').write_text(poses)
    (folder / 'pairs.csv').write_text('query,map\n0,0\n1,1\n')
    given = {'stamp_ns': 10**9, 'places': [1], 'scores': [0.9], 'seconds': 0.1}
    told = {'schema_version': node_answers.SCHEMA_VERSION, 'sent': 3, 'rate': 1.0, 'hz': 0.0}
    told |= {'source': str(folder / 'walk'), 'map': str(folder / 'map'), 'node': {'a': 'b'}}
    told |= {'map_sha256': node_answers.map_checksum(folder / 'map'), 'answers': [given]}
    (folder / 'answers.json').write_text(json.dumps(told))
    (folder / 'labels.csv').write_text('frame,label\n0,hall\n1,stairs\n')
    for arguments in commands_of(folder, folder / 'out').values():
        assert call(*arguments) == 0, arguments
        shutil.rmtree(folder / 'out', ignore_errors=True)
    return folder


def call(command: str, *arguments: object) -> int:
    with pytest.raises(SystemExit) as end:
        MAINS[command]([str(a) for a in arguments])
    return end.value.code


def harmless(text: str) -> bool:
    """Whether it gives a terminal no order but that for a new line."""
    orders = ('Cc', 'Cf', 'Cs', 'Co', 'Zl', 'Zp')
    return not any(unicodedata.category(c) in orders for c in text.replace('\n', ''))


def refusal(capsys: pytest.CaptureFixture, foreseen: bool = True) -> str:
    """The one line; `foreseen`: of a door that says what it is about, not of the safety net."""
    printed = capsys.readouterr()
    lines = [line for line in printed.err.splitlines() if not line.startswith('note: ')]
    assert len(lines) == 1 and lines[0].startswith('error: '), printed.err
    assert 'ASHTKD_DEBUG' not in lines[0] or not foreseen, lines[0]
    assert harmless(printed.err) and harmless(printed.out), printed
    return lines[0]


def commands_of(good: Path, out: Path) -> dict[str, list[object]]:
    """Each command with every door that it has, all of them good."""
    common = ['--model', good / 'tiny.onnx', '--threads', 1]
    source, a_map = good / 'walk', good / 'map'
    judged = ['evaluate', a_map, source, '--no-timing', '--no-baselines', *common]
    return {
        'map_info': ['map_info', a_map],
        'build_map': ['build_map', source, '-o', out, *common],
        'evaluate': judged,
        'pairs': [*judged, '--correspondences', good / 'pairs.csv'],
        'answers': [*judged, '--answers', good / 'answers.json'],
        'compare': ['evaluate', '--compare', good / 'report.html', good / 'report.json'],
        'make': ['bag_tools', 'make', source, '-o', out],
        'jpeg': ['bag_tools', 'make', source, '-o', out, '--jpeg'],
        'info': ['bag_tools', 'info', good / 'bag'],
        'bag': ['build_map', good / 'bag', '-o', out, *common],
        'trajectory': ['build_map', good / 'bag', '-o', out, '--trajectory', good / 'tum.txt']
        + common,
        'labels': ['build_map', good / 'bag', '-o', out, '--labels', good / 'labels.csv', *common],
    }


FOREIGN = [
    lambda: OSError(5, 'Input/output error', '/somewhere/\x1b[31mfile'),
    lambda: PermissionError(13, 'Permission denied'),
    lambda: UnicodeDecodeError('utf-8', b'\xff', 0, 1, 'invalid start byte'),
    lambda: UnicodeEncodeError('utf-8', '\udcff', 0, 1, 'surrogates not allowed'),
    lambda: ValueError(HOSTILE),
    lambda: KeyError(HOSTILE),
    lambda: IndexError('list index out of range'),
    lambda: TypeError("'NoneType' object is not iterable"),
    lambda: AttributeError('no attribute'),
    lambda: RecursionError('maximum recursion depth exceeded'),
    lambda: MemoryError(),
    lambda: OverflowError('int too large to convert to float'),
    lambda: ZeroDivisionError('division by zero'),
    lambda: FloatingPointError('underflow'),
    lambda: AssertionError(),
    lambda: StopIteration(),
    lambda: EOFError(),
    lambda: NotImplementedError('yet'),
    lambda: RuntimeError('Symlink loop from \x1b'),
    lambda: SystemError('of C'),
    lambda: cv2.error('OpenCV(9) error: (-215)\nin two lines'),
    lambda: yaml.YAMLError('while scanning\n  in "<x>", line 1'),
    lambda: csv.Error('field larger than field limit (131072)'),
    lambda: json.JSONDecodeError('Expecting value', 'x', 0),
    lambda: sqlite3.DatabaseError('file is not a database'),
    lambda: zlib.error('Error -3'),
    lambda: np.linalg.LinAlgError('Singular matrix'),
    lambda: ort.Fail('[ONNXRuntimeError] : 1 : FAIL : \nmore'),
    lambda: ort.InvalidGraph('bad graph'),
    lambda: ort.InvalidProtobuf('bad protobuf'),
    lambda: subprocess.TimeoutExpired('x', 3),
]


@pytest.mark.parametrize('make', FOREIGN, ids=lambda make: type(make()).__name__)
def test_any_exception_of_a_command_is_one_line(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch, make: Callable
):
    def fail() -> int:
        raise make()

    monkeypatch.delenv('ASHTKD_DEBUG', raising=False)
    with pytest.raises(SystemExit) as end:
        run_command(fail)
    assert end.value.code == 1
    assert refusal(capsys, foreseen=False)


def test_debugging_shows_the_traceback(capsys, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv('ASHTKD_DEBUG', '1')
    with pytest.raises(SystemExit) as end:
        run_command(lambda: {}['gone'])
    printed = capsys.readouterr().err
    assert end.value.code == 1
    assert printed.startswith('Traceback') and printed.splitlines()[-1].startswith('error: Key')


READERS = {
    'read_regular': files,
    'read_text': files,
    'parse_yaml': files,
    'parse_json': files,
    'decode_picture': picture_bytes,
    'read_bytes': pictures,
    'load_embedder': options,
    'open_traverse': options,
}


def fail_at(monkeypatch: pytest.MonkeyPatch, name: str, error: Exception) -> None:
    """Let a reader raise, wherever it has been imported to."""

    def fail(*_, **__):
        raise error

    real = getattr(READERS[name], name)
    for module in [m for n, m in sys.modules.items() if n.startswith('ashtkd_ros')]:
        if getattr(module, name, None) is real:
            monkeypatch.setattr(module, name, fail)


@pytest.mark.parametrize('reader', READERS)
def test_any_exception_of_a_reader_is_one_line(
    good: Path, tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch, reader: str
):
    """Each kind of exception, at each reader, in commands drawn at random."""
    monkeypatch.delenv('ASHTKD_DEBUG', raising=False)
    draw, every = random.Random(reader), commands_of(good, tmp_path / 'out')

    def fails(name: str, error: Exception) -> bool:
        with monkeypatch.context() as patch:
            fail_at(patch, reader, error)
            status = call(*every[name])
        assert status in (0, 1)
        if status:
            refusal(capsys, foreseen=False)
        capsys.readouterr()
        shutil.rmtree(tmp_path / 'out', ignore_errors=True)
        return bool(status)

    users = [name for name in every if fails(name, OSError(5, 'Input/output error'))]
    failed = sum(fails(draw.choice(users), make()) for make in FOREIGN)
    assert users and failed >= len(FOREIGN) // 2


DAMAGES = (
    'bad-utf8 deep-yaml deep-json alias empty zeros huge-number nul cut flip fifo loop folder '
    'gone device null-values list unreadable long-line'
)


def garble(path: Path, draw: random.Random) -> str:
    """Put something else in the place of a file or folder; what it was."""
    kind = draw.choice(DAMAGES.split())
    data = path.read_bytes() if path.is_file() else b''
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    if kind == 'fifo':
        os.mkfifo(path)
    elif kind == 'loop':
        path.symlink_to(path.name)
    elif kind == 'folder':
        path.mkdir()
    elif kind == 'device':
        path.symlink_to(draw.choice(['/dev/zero', '/dev/full', '/dev/null']))
    elif kind == 'unreadable':
        path.symlink_to('/proc/1/mem')
    elif kind != 'gone':
        cut = draw.randrange(len(data) + 1)
        flip = bytearray(data or b'0')
        flip[draw.randrange(len(flip))] ^= 1 << draw.randrange(8)
        path.write_bytes(
            {
                'bad-utf8': data[:cut] + b'\xff\xfe\x80' + data[cut:],
                'deep-yaml': b'[' * 50_000,
                'deep-json': b'{"schema_version":' * 50_000,
                'alias': b'a: &a [1]\n' + b'b: &b [*a, *a]\n' * 9,
                'empty': b'',
                'zeros': bytes(4000),
                'huge-number': data.replace(b'1', b'1' + b'0' * 5000, 1),
                'nul': data[:cut] + b'\0' + data[cut:],
                'cut': data[:cut],
                'flip': bytes(flip),
                'null-values': b'{"schema_version": 1, "answers": null, "places": []}',
                'list': b'- 1\n- null\n',
                'long-line': data + b'x' * 200_000,
            }[kind]
        )
    return kind


@pytest.mark.parametrize('name', commands_of(Path(), Path()))
def test_any_damage_of_what_a_command_reads(good: Path, tmp_path: Path, capsys, name: str):
    """25 damages each: refused in one line, or of no effect; never a traceback, never a hang."""
    draw, refused = random.Random(name), 0
    for turn in range(25):
        here = tmp_path / str(turn)
        shutil.copytree(good, here)
        arguments = commands_of(here, here / 'out')[name]
        doors = [a for a in arguments[1:] if isinstance(a, Path) and a.exists()]
        inner = [f for d in doors if d.is_dir() for f in sorted(d.rglob('*'))]
        kind = garble(draw.choice(doors if draw.random() < 0.3 or not inner else inner), draw)
        status = call(*arguments)
        assert status in (0, 1), kind
        if status:
            refusal(capsys)
            refused += 1
        else:
            printed = capsys.readouterr()
            assert 'Traceback' not in printed.err and harmless(printed.out), kind
        shutil.rmtree(here)
    assert refused >= 5


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
            if arguments[-1] == path / 'a.json' and kind in MAKEABLE:
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

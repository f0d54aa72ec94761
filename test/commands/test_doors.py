# SPDX-License-Identifier: Apache-2.0
"""Every door of the commands: whatever comes in, one line and status 1, never a traceback."""

from __future__ import annotations

import csv
import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from door_fixtures import HOSTILE, call, commands_of, harmless, refusal
from onnxruntime.capi import onnxruntime_pybind11_state as ort

from ashtkd_ros.cli.command import run_command
from ashtkd_ros.commands import options
from ashtkd_ros.files import documents
from ashtkd_ros.files import reading as files
from ashtkd_ros.images import picture_decoding as picture_bytes
from ashtkd_ros.images import picture_limits as pictures
from ashtkd_ros.traverses import opening

pytest_plugins = ['door_fixtures']
pytestmark = pytest.mark.usefixtures('alarm')


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
    'parse_yaml': documents,
    'parse_json': documents,
    'decode_picture': picture_bytes,
    'read_bytes': pictures,
    'load_embedder': options,
    'open_traverse': opening,
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

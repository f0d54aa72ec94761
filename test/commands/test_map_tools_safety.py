# SPDX-License-Identifier: Apache-2.0
"""map_tools killed, on a full disk, two at once: the old map or the new one is there, whole."""

from __future__ import annotations

import errno
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, write_tiny_model
from map_fixtures import TRIES
from map_tools_fixtures import built, contents, ids, pictured, tools, walk

from ashtkd_ros.mapping import append as append_module
from ashtkd_ros.mapping.journal import Journal
from ashtkd_ros.maps import replacement
from ashtkd_ros.maps.place_map import PlaceMap
from tools.bench.map_kills import Change, kill_often

XS = [2.0 * i for i in range(8)]


@pytest.fixture(scope='module')
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp('model') / 'tiny.onnx', grid=(2, 4))


@pytest.fixture
def common(model: Path) -> list[object]:
    return ['--model', model, '--threads', 1]


@pytest.fixture
def a_map(tmp_path: Path, model: Path) -> Path:
    return built(tmp_path / 'map', walk(tmp_path / 'walk', XS), model=model)


def started(*arguments: object) -> subprocess.Popen:
    """map_tools as a process of its own."""
    paths = os.pathsep.join([str(ROOT), os.environ.get('PYTHONPATH', '')])
    return subprocess.Popen(
        [sys.executable, '-m', 'ashtkd_ros.commands.map_tools', *map(str, arguments)],
        env={**os.environ, 'PYTHONPATH': paths, 'OMP_NUM_THREADS': '1'},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize('command', ['append', 'merge', 'drop'])
def test_a_kill_at_any_moment_leaves_the_old_map_or_the_new_one(
    command: str, tmp_path: Path, model: Path
):
    target = Change(command, tmp_path, ['--model', str(model), '--threads', '1'])
    kills = max(1, round(4 * TRIES))
    assert kill_often(target, kills, random.Random(5))['kills'] == kills
    target.next()
    target.run()
    assert target.noted() == 0
    left = {p.name for p in tmp_path.iterdir()} - {'base', 'other', 'changed'}
    assert not left


def test_a_killed_append_goes_on_where_it_stopped(
    a_map: Path, tmp_path: Path, common, monkeypatch: pytest.MonkeyPatch
):
    source, done = walk(tmp_path / 'w', [30.0, 32.0, 34.0], 50), []

    def killed(*_) -> None:
        raise KeyboardInterrupt

    before = contents(a_map)
    with monkeypatch.context() as patch:
        patch.setattr(append_module, '_join', killed)
        assert tools('append', a_map, source, *common) == 130
    assert contents(a_map) == before and (tmp_path / '.map.building').is_dir()
    # places that go meanwhile do not matter: what was embedded is of the recording alone
    assert tools('drop', a_map, '--ids', 0) == 0
    add = Journal.add
    monkeypatch.setattr(Journal, 'add', lambda *a: done.append(1) or add(*a))
    assert tools('append', a_map, source, *common) == 0
    assert not done and ids(a_map) == [*range(1, 11)]
    assert not (tmp_path / '.map.building').exists()


def test_a_killed_reembed_goes_on_where_it_stopped(
    a_map: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
):
    other, add, done = write_tiny_model(tmp_path / 'other.onnx', grid=(1, 2)), Journal.add, []

    def counted(*arguments) -> None:
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append(1)
        add(*arguments)
        arguments[0].flush()

    before = contents(a_map)
    monkeypatch.setattr(Journal, 'add', counted)
    assert tools('reembed', a_map, '--model', other, '--threads', 1) == 130
    assert contents(a_map) == before
    assert tools('drop', a_map, '--ids', 0) == 0
    done[:] = [1] * 4
    assert tools('reembed', a_map, '--model', other, '--threads', 1) == 0
    assert len(done) == 4 + 8 - 3 and ids(a_map) == list(range(1, 8))
    fresh = built(tmp_path / 'fresh', tmp_path / 'walk', model=other)
    expected = {k: v for k, v in pictured(fresh).items() if k[0]}
    assert pictured(a_map) == expected


def test_two_that_drop_at_once_lose_nothing(a_map: Path):
    """Each says that it has dropped, or that it was too late; the map is of those that have."""
    processes = [started('drop', a_map, '--ids', number) for number in range(4)]
    gone = set()
    for number, process in enumerate(processes):
        out, err = process.communicate(timeout=120)
        if process.returncode == 0:
            assert 'dropped 1 place' in out
            gone.add(number)
        else:
            assert 'was replaced meanwhile; do this again' in err and err.count('\n') == 1
    assert gone and ids(a_map) == [i for i in range(8) if i not in gone]
    assert not [p for p in a_map.parent.iterdir() if p.name.startswith('.map')]


def test_a_save_that_is_late_by_a_moment_is_refused(
    a_map: Path, monkeypatch: pytest.MonkeyPatch, capsys
):
    """The other one comes when all is written and only the rename is left."""
    sync, calls = replacement._sync, []

    def late(folder: Path) -> None:
        if not calls:
            calls.append(1)
            assert tools('drop', a_map, '--ids', 1) == 0
        sync(folder)

    monkeypatch.setattr(replacement, '_sync', late)
    assert tools('drop', a_map, '--ids', 0) == 1
    assert 'was replaced meanwhile' in capsys.readouterr().err
    assert ids(a_map) == [0, 2, 3, 4, 5, 6, 7]


def test_a_map_that_comes_to_the_place_of_a_new_one_stays(
    a_map: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
):
    save = PlaceMap.save

    def late(*arguments, **options) -> None:
        shutil.copytree(a_map, tmp_path / 'new')
        save(*arguments, **options)

    monkeypatch.setattr(PlaceMap, 'save', late)
    assert tools('drop', a_map, '--ids', 0, '-o', tmp_path / 'new') == 1
    assert 'was replaced meanwhile' in capsys.readouterr().err
    assert contents(tmp_path / 'new') == contents(a_map)


def test_one_appends_at_a_time(a_map: Path, tmp_path: Path, common, capsys):
    journal = Journal(a_map, {'model': 'x', 'options': {}}, 3)
    try:
        source = walk(tmp_path / 'w', [30.0], 50)
        capsys.readouterr()
        assert tools('append', a_map, source, *common) == 1
        assert 'another build_map or map_tools is at work on this map' in capsys.readouterr().err
        assert tools('reembed', a_map, *common) == 1
        assert 'another build_map or map_tools is at work on this map' in capsys.readouterr().err
    finally:
        journal.remove()
        journal.close()


@pytest.mark.parametrize('command', ['append', 'drop', 'merge', 'reembed'])
def test_a_full_disk_leaves_the_old_map(
    command: str, a_map: Path, tmp_path: Path, common, monkeypatch: pytest.MonkeyPatch, capsys
):
    other = built(tmp_path / 'o', walk(tmp_path / 'w', XS, 50), model=common[1])
    before = contents(a_map)
    capsys.readouterr()

    def full(*_) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr('ashtkd_ros.maps.place_map.write_local', full)
    arguments = {
        'append': [a_map, walk(tmp_path / 'v', [30.0], 70), *common],
        'drop': [a_map, '--ids', 1],
        'merge': [a_map, other, '-o', tmp_path / 'm', *common],
        'reembed': [a_map, *common],
    }[command]
    assert tools(command, *arguments) == 1
    printed = capsys.readouterr()
    assert 'No space left on device' in printed.err and printed.err.count('\n') == 1
    assert contents(a_map) == before and not (tmp_path / 'm').exists()

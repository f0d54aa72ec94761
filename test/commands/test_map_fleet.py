# SPDX-License-Identifier: Apache-2.0
"""map_tools push and pull, and build_map -o milvus://..., as users call them."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
from conftest import write_tiny_model
from map_tools_fixtures import XS, contents, ids, pictured, run, tools, walk
from milvus_fixtures import needs_milvus

from ashtkd_ros.commands import build_map, map_tools
from ashtkd_ros.commands import map_fleet as map_fleet_module
from ashtkd_ros.errors import VprError
from ashtkd_ros.maps import index_choice
from ashtkd_ros.maps.place_map import PlaceMap

pytest_plugins = ['map_tools_fixtures', 'milvus_fixtures']


@pytest.fixture
def fleet(tmp_path: Path) -> str:
    return f'milvus://{tmp_path}/fleet.db/campus'


def refusal(capsys: pytest.CaptureFixture) -> str:
    """The one error among all that was printed since it was asked last."""
    lines = [line for line in capsys.readouterr().err.splitlines() if line[:6] != 'note: ']
    assert len(lines) == 1 and lines[0].startswith('error: '), lines
    return lines[0]


@needs_milvus
def test_a_map_goes_there_and_back(a_map: Path, fleet: str, tmp_path: Path, common, capsys):
    assert tools('push', a_map, fleet) == 0
    assert capsys.readouterr().out == f'{fleet}: 6 pictures of places\n'
    out = tmp_path / 'back'
    assert tools('pull', fleet, '-o', out, *common) == 0
    assert capsys.readouterr().out == f'{out}: 6 of 6 pictures of places\n'
    before, after = contents(a_map), contents(out)
    for name in ('index.faiss', 'places.npz', 'thumbnails/000003.jpg'):
        assert before[name] == after[name]
    assert set(before) == set(after) and pictured(out) == pictured(a_map)
    assert PlaceMap.load(out).index.explained == PlaceMap.load(a_map).index.explained


@needs_milvus
def test_a_pulled_map_has_the_index_that_fits_the_robot(
    a_map: Path, fleet: str, tmp_path: Path, common, capsys, monkeypatch
):
    assert tools('push', a_map, fleet) == 0
    monkeypatch.setattr(index_choice, 'MOST_EXACT', 5)
    for kind, options in (('fp16', ()), ('pq', ('--index', 'pq')), ('flat', ('--index', 'flat'))):
        assert tools('pull', fleet, '-o', tmp_path / kind, *options, *common) == 0
        index = PlaceMap.load(tmp_path / kind, pictures=True).index
        assert index.kind == kind and index.note.why
        assert (index.explained in capsys.readouterr().out) == (kind != 'flat')
    capsys.readouterr()
    assert tools('pull', fleet, '-o', tmp_path / 'no', '--memory', 1e-6, *common) == 1
    assert 'pull allows 1e-06' in refusal(capsys) and not (tmp_path / 'no').exists()


@needs_milvus
@pytest.mark.parametrize(
    ('where', 'expected'),
    [
        (('--within', 0, 0, 2.5), [0, 1]),
        (('--within', 6, 0, 2), [2, 3, 4]),
        (('--within', 4.1, 0.1, 0.1), []),  # in the square around it, not in the circle
        (('--area', 11, 1, 5, -1), [3, 4, 5]),
        (('--area', -0.001, -0.001, 0.001, 0.001), [0]),
        (('--area', 20, 0, 30, 1), []),
    ],
)
def test_a_part_comes_by_where_it_is(
    a_map: Path, fleet: str, tmp_path: Path, common, capsys, where: tuple, expected: list[int]
):
    assert tools('push', a_map, fleet) == 0
    out = tmp_path / 'part'
    status = tools('pull', fleet, '-o', out, *where, *common)
    if not expected:
        assert status == 1 and 'has no place there' in refusal(capsys) and not out.exists()
        return
    assert status == 0 and ids(out) == expected
    whole, part = pictured(a_map), pictured(out)
    assert part.items() <= whole.items()
    assert b'next_id: 6' in (out / 'map.yaml').read_bytes()


@needs_milvus
def test_a_map_is_built_for_the_fleet_and_nothing_left_behind(
    fleet: str, tmp_path: Path, common, capsys, monkeypatch
):
    (tmp_path / 'tmp').mkdir()
    monkeypatch.setattr('tempfile.tempdir', str(tmp_path / 'tmp'))
    source = walk(tmp_path / 'walk', XS)
    assert run(build_map.main, source, '-o', fleet, *common) == 0
    said = capsys.readouterr().out
    assert f'{fleet}: 6 pictures of places' in said and str(tmp_path / 'tmp') not in said
    assert tools('pull', fleet, '-o', tmp_path / 'back', *common) == 0
    assert ids(tmp_path / 'back') == list(range(6)) and not list((tmp_path / 'tmp').iterdir())
    assert run(build_map.main, source, '-o', fleet, *common) == 1
    assert 'holds a map already' in refusal(capsys)
    assert run(build_map.main, source, '-o', fleet, '--replace', *common) == 0
    assert not list((tmp_path / 'tmp').iterdir())


@needs_milvus
def test_a_built_map_that_cannot_be_pushed_is_kept(
    fleet: str, tmp_path: Path, common, capsys, monkeypatch
):
    (tmp_path / 'tmp').mkdir()
    monkeypatch.setattr('tempfile.tempdir', str(tmp_path / 'tmp'))

    def fails(*_) -> None:
        raise VprError('full')

    monkeypatch.setattr(map_fleet_module, 'push', fails)
    assert run(build_map.main, walk(tmp_path / 'walk', XS), '-o', fleet, *common) == 1
    (kept,) = (tmp_path / 'tmp').iterdir()
    assert str(kept / 'map') in capsys.readouterr().err and ids(kept / 'map') == list(range(6))


@needs_milvus
def test_what_is_there_is_replaced_only_when_asked(a_map: Path, fleet: str, common, capsys):
    assert tools('push', a_map, fleet) == 0
    before = contents(a_map)
    assert tools('push', a_map, fleet) == 1
    assert 'holds a map already' in refusal(capsys)
    assert tools('pull', fleet, '-o', a_map, '--within', 0, 0, 1, *common) == 1
    assert 'holds a map already' in refusal(capsys) and contents(a_map) == before
    assert tools('pull', fleet, '-o', a_map, '--within', 0, 0, 1, '--replace', *common) == 0
    assert ids(a_map) == [0]
    assert tools('push', a_map, fleet, '--replace') == 0
    assert tools('pull', fleet, '-o', a_map, '--replace', *common) == 0 and ids(a_map) == [0]


@needs_milvus
def test_another_models_map_is_one_line(a_map: Path, fleet: str, tmp_path: Path, capsys):
    assert tools('push', a_map, fleet) == 0
    other = write_tiny_model(tmp_path / 'other.onnx', grid=(2, 2))
    out = tmp_path / 'out'
    assert tools('pull', fleet, '-o', out, '--model', other, '--threads', 1) == 1
    assert 'built with model tiny' in refusal(capsys) and not out.exists()


@needs_milvus
def test_a_lost_collection_or_server_is_one_line(
    a_map: Path, fleet: str, tmp_path: Path, common, capsys
):
    out = tmp_path / 'out'
    assert tools('pull', fleet, '-o', out, *common) == 1
    assert 'map_tools push makes one' in refusal(capsys)
    for command in (('push', a_map), ('pull', '-o', out, *common)):
        assert tools(*command, 'milvus://127.0.0.1:9/campus') == 1
        assert 'Connection refused' in refusal(capsys)
    assert tools('push', a_map, fleet) == 0
    shutil.rmtree(tmp_path / 'fleet.db' / 'collections')
    (tmp_path / 'fleet.db' / 'collections').mkdir()
    assert tools('pull', fleet, '-o', out, *common) == 1
    assert refusal(capsys) and not out.exists()


@pytest.mark.parametrize('text', ['milvus:x', 'milvus://host/c', 'milvus:///a.db', 'fleet'])
def test_an_address_that_is_none(a_map: Path, tmp_path: Path, common, capsys, text: str):
    assert tools('push', a_map, text) == 1
    assert 'is neither milvus://' in refusal(capsys)
    assert tools('pull', text, '-o', tmp_path / 'out', *common) == 1
    assert 'is neither milvus://' in refusal(capsys)
    if text != 'fleet':
        assert run(build_map.main, walk(tmp_path / 'w', XS), '-o', text, *common) == 1
        assert 'is neither milvus://' in refusal(capsys)


@pytest.mark.parametrize(
    'options',
    [('--within', 0, 0, 0), ('--within', 0, 0, 'nan'), ('--area', 0, 0, 0, 1)]
    + [('--within', 0, 0, 1, '--area', 0, 0, 1, 1)],
)
def test_an_area_that_is_none(fleet: str, tmp_path: Path, capsys, options: tuple):
    assert tools('pull', fleet, '-o', tmp_path / 'out', *options) == 2
    assert 'error: ' in capsys.readouterr().err


def test_without_pymilvus_one_line_says_how_to_get_it(
    a_map: Path, fleet: str, tmp_path: Path, common, capsys, monkeypatch
):
    monkeypatch.setitem(sys.modules, 'pymilvus', None)
    source = walk(tmp_path / 'w', XS)
    commands = [
        (map_tools.main, 'push', a_map, fleet),
        (map_tools.main, 'pull', fleet, '-o', tmp_path / 'out', *common),
        (build_map.main, source, '-o', fleet, *common),
    ]
    for command in commands:
        assert run(*command) == 1 and 'pip install "pymilvus[milvus-lite]"' in refusal(capsys)
    assert not (tmp_path / 'fleet.db').exists()

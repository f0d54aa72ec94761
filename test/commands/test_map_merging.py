# SPDX-License-Identifier: Apache-2.0
"""map_tools merge: numbers, pictures that several maps have, maps that do not fit."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

from conftest import write_tiny_model
from map_tools_fixtures import XS, built, contents, error, ids, pictured, tools, walk

from ashtkd_ros.maps.place_map import PlaceMap

pytest_plugins = ['map_tools_fixtures']


def test_two_maps_that_grew_from_one_become_one(a_map: Path, tmp_path: Path, common, capsys):
    for name, xs, seed in (('a', [20.0], 50), ('b', [30.0, 32.0], 60)):
        source = walk(tmp_path / name, xs, seed)
        assert tools('append', a_map, source, '-o', tmp_path / f'with_{name}', *common) == 0
    assert tools('drop', tmp_path / 'with_b', '--ids', 2) == 0
    capsys.readouterr()
    both, table = tmp_path / 'both', tmp_path / 'numbers.csv'
    maps = [tmp_path / 'with_a', tmp_path / 'with_b']
    before = contents(maps[0]), contents(maps[1])
    assert tools('merge', *maps, '-o', both, '--numbers', table, *common) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith('with_a: 7 places; 0-6 stay')
    assert lines[1].endswith('already; 0-1, 3-5, 7 stay; 6 become 8') and len(lines) == 3
    assert ids(both) == [0, 1, 2, 3, 4, 5, 6, 8, 7]
    assert (contents(maps[0]), contents(maps[1])) == before
    merged, (first, second) = pictured(both), map(pictured, maps)
    for (number, source), value in second.items():
        new = {6: 8}.get(number, number)
        assert merged[new, source] == value
    assert {k: merged[k] for k in first} == first
    place_map = PlaceMap.load(both)
    assert [Path(t['source']).name for t in place_map.traverses] == ['walk', 'a', 'b']
    assert place_map.places.traverses.tolist() == [0] * 6 + [1, 2, 2]
    assert place_map.info.next_id == 9
    rows = list(csv.DictReader(table.open()))
    assert rows[-1] == {'map': str(maps[1]), 'old': '7', 'new': '7'} and len(rows) == 7 + 7


def test_numbers_that_are_free_stay(a_map: Path, tmp_path: Path, common, model: Path):
    other = built(tmp_path / 'o', walk(tmp_path / 'w', [50.0 + x for x in XS], 70), model=model)
    assert tools('append', other, walk(tmp_path / 'v', [80.0, 82.0], 80), *common) == 0
    assert tools('merge', a_map, other, '-o', tmp_path / 'm', *common) == 0
    assert ids(tmp_path / 'm') == [0, 1, 2, 3, 4, 5, 8, 9, 10, 11, 12, 13, 6, 7]


def test_a_number_that_the_first_map_has_dropped_is_not_given(a_map: Path, tmp_path: Path, common):
    shutil.copytree(a_map, tmp_path / 'old')
    assert tools('drop', a_map, '--ids', 5) == 0
    assert tools('merge', a_map, tmp_path / 'old', '-o', tmp_path / 'm', *common) == 0
    assert ids(tmp_path / 'm') == [0, 1, 2, 3, 4, 6]


def test_maps_that_do_not_fit_are_not_merged(
    a_map: Path, tmp_path: Path, common, model: Path, capsys
):
    source = walk(tmp_path / 'w', XS, 70)
    bare = built(tmp_path / 'bare', source, model=model, options=('--no-local',))
    capsys.readouterr()
    assert tools('merge', a_map, bare, '-o', tmp_path / 'm', *common) == 1
    assert 'bare: lacks the local features' in error(capsys)
    other_model = write_tiny_model(tmp_path / 'other.onnx', grid=(1, 2))
    other = built(tmp_path / 'other', source, model=other_model)
    capsys.readouterr()
    assert tools('merge', a_map, other, '-o', tmp_path / 'm', *common) == 1
    assert 'reembed' in error(capsys)
    assert not (tmp_path / 'm').exists()


def test_a_dry_run_of_a_merge_makes_nothing(a_map: Path, tmp_path: Path, common, capsys):
    arguments = ['-o', tmp_path / 'm', '--numbers', tmp_path / 'n.csv', '--dry-run']
    assert tools('merge', a_map, a_map, *arguments, *common) == 0
    assert f'{tmp_path / "m"}: would have 6 places' in capsys.readouterr().out
    assert [p.name for p in tmp_path.iterdir()] == ['map']


def test_names_of_shared_places_come_along_and_what_is_lost_is_said(
    a_map: Path, tmp_path: Path, common, capsys
):
    other = tmp_path / 'other'
    shutil.copytree(a_map, other)
    assert tools('relabel', a_map, '1=hall') == 0
    assert tools('relabel', other, '1=kitchen', '2=door') == 0
    capsys.readouterr()
    assert tools('merge', a_map, other, '-o', tmp_path / 'm', *common) == 0
    said = capsys.readouterr().err
    assert f'{other}: the name "kitchen" of place 1 is left out: place 1 is "hall" already' in said
    assert '"door"' not in said and said.count('is left out') == 1
    named = {p.id: p.label for p in PlaceMap.load(tmp_path / 'm').places if p.label}
    assert named == {1: 'hall', 2: 'door'}

# SPDX-License-Identifier: Apache-2.0
"""map_tools relabel and export: the map on the disk, files that are replaced and that are not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import checksums
from evaluation_helpers import run

from ashtkd_ros.commands.map_tools import main as map_tools
from ashtkd_ros.files.checksums import sha256_of_file
from ashtkd_ros.maps.place_map import PlaceMap

pytest_plugins = ['map_fixtures']


def files(folder: Path) -> dict[str, str]:
    """Name → checksum of every file of a map."""
    inner = {f'thumbnails/{k}': v for k, v in checksums(folder / 'thumbnails').items()}
    return {p.name: sha256_of_file(p) for p in folder.iterdir() if p.is_file()} | inner


def refused(capsys: pytest.CaptureFixture, status: int, *arguments: object) -> str:
    assert run(map_tools, *arguments) == status
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith('error: '), lines
    return lines[0]


def test_relabel_changes_names_and_notes_it(rich: Path, capsys):
    (rich / 'mine.txt').write_text('mine')
    before, old = files(rich), PlaceMap.load(rich)
    assert run(map_tools, 'relabel', rich, '1=Küche', '2=') == 0
    new = PlaceMap.load(rich, pictures=True)
    assert list(new.places.labels) == ['hall', 'Küche', '', 'hall', 'hall']
    assert new.info.next_id == old.info.next_id and new.info.traverses == old.info.traverses
    after = files(rich)
    assert {k for k in before if before[k] != after[k]} == {'map.yaml', 'places.csv', 'places.npz'}
    assert set(after) == set(before)
    (entry,) = new.info.built['history']
    assert entry['what'] == 'relabel' and '1=K' in entry['arguments']
    assert entry['places'] == entry['pictures'] == [5, 5]
    assert 'place 1: "hall" → "Küche"' in capsys.readouterr().out


def test_a_dry_run_and_no_change_leave_the_map_alone(rich: Path, tmp_path: Path, capsys):
    before = files(rich)
    assert run(map_tools, 'relabel', rich, '1=other', '--dry-run') == 0
    assert 'would rename 1 place' in capsys.readouterr().out
    assert run(map_tools, 'relabel', rich, '1=hall') == 0
    assert files(rich) == before
    assert run(map_tools, 'relabel', rich, '1=other', '-o', tmp_path / 'copy') == 0
    assert files(rich) == before and PlaceMap.load(tmp_path / 'copy').places.labels[1] == 'other'


def test_an_export_that_was_edited_names_places(rich: Path, tmp_path: Path):
    table = tmp_path / 'names.csv'
    assert run(map_tools, 'export', rich, '-o', table) == 0
    table.write_text(table.read_text().replace('\n3,hall,', '\n3,"the ""lab"", west",'))
    assert run(map_tools, 'relabel', rich, '--table', table) == 0
    assert PlaceMap.load(rich).places.labels[3] == 'the "lab", west'


def test_what_is_wrong_with_names_is_one_line(rich: Path, tmp_path: Path, capsys):
    before = files(rich)
    assert 'no place 9' in refused(capsys, 1, 'relabel', rich, '9=a')
    assert 'cannot be shown' in refused(capsys, 1, 'relabel', rich, '1=a\nb')
    assert 'two names' in refused(capsys, 1, 'relabel', rich, '1=a', '1=b')
    assert '--table' in refused(capsys, 2, 'relabel', rich)
    assert '--table' in refused(capsys, 2, 'relabel', rich, '1=a', '--table', tmp_path / 'n')
    assert 'no such file' in refused(capsys, 1, 'relabel', rich, '--table', tmp_path / 'n')
    assert 'no such map' in refused(capsys, 1, 'relabel', tmp_path / 'none', '1=a')
    assert files(rich) == before


def test_a_map_that_is_replaced_meanwhile_is_not_spoilt(rich: Path, capsys, monkeypatch):
    other = PlaceMap.load(rich)
    load = PlaceMap.load.__func__

    def meanwhile(cls, folder, *args, **kwargs):
        loaded = load(cls, folder, *args, **kwargs)
        monkeypatch.setattr(PlaceMap, 'load', classmethod(load))
        other.info.built['note'] = 'another'
        other.save(folder, rich / 'thumbnails', rich / 'route.png')
        return loaded

    monkeypatch.setattr(PlaceMap, 'load', classmethod(meanwhile))
    assert 'replaced meanwhile' in refused(capsys, 1, 'relabel', rich, '1=a')
    assert PlaceMap.load(rich).info.built['note'] == 'another'


def test_a_damaged_picture_is_named_and_not_laundered(rich: Path, capsys):
    picture = rich / 'thumbnails' / '000003.jpg'
    picture.write_bytes(picture.read_bytes() + b'.')
    assert run(map_tools, 'relabel', rich, '1=a') == 0
    assert '000003.jpg: it is damaged' in capsys.readouterr().err
    places = PlaceMap.load(rich, pictures=True).places
    assert [bool(p.thumbnail) for p in places] == [True, True, True, False, True]
    assert not picture.exists() and places[1].label == 'a'


def test_a_damaged_route_or_table_is_not_laundered(rich: Path, capsys):
    for name in ('route.png', 'places.csv'):
        data = (rich / name).read_bytes()
        (rich / name).write_bytes(data + b'.')
        assert 'damaged' in refused(capsys, 1, 'relabel', rich, '1=a')
        (rich / name).write_bytes(data)


@pytest.mark.parametrize('ending', ['geojson', 'kml', 'csv', 'tum'])
def test_an_export_replaces_an_export_and_nothing_else(rich: Path, tmp_path, capsys, ending):
    out = tmp_path / f'out.{ending}'
    assert run(map_tools, 'export', rich, '-o', out) == 0
    first = out.read_bytes()
    assert run(map_tools, 'export', rich, '-o', out) == 0 and out.read_bytes() == first
    capsys.readouterr()
    for mine in (b'mine', first[1:], b'\xff\xfe', b'{"generator": "somebody"}'):
        out.write_bytes(mine)
        assert 'not the result of an earlier run' in refused(capsys, 1, 'export', rich, '-o', out)
        assert out.read_bytes() == mine
    out.write_bytes(b'')
    assert run(map_tools, 'export', rich, '-o', out) == 0 and out.read_bytes() == first


def test_where_an_export_cannot_go(rich: Path, built: PlaceMap, tmp_path: Path, capsys):
    assert 'ending is not one of' in refused(capsys, 1, 'export', rich, '-o', tmp_path / 'a.txt')
    assert 'folder' in refused(capsys, 1, 'export', rich, '-o', rich, '--format', 'csv')
    assert 'earlier run' in refused(capsys, 1, 'export', rich, '-o', rich / 'places.csv')
    PlaceMap.load(rich, pictures=True)
    built.save(tmp_path / 'nowhere')
    out = tmp_path / 'sub' / 'a.geojson'
    assert 'latitude' in refused(capsys, 1, 'export', tmp_path / 'nowhere', '-o', out)
    assert not out.exists()
    assert 'those of 0' in refused(
        capsys, 1, 'export', rich, '-o', tmp_path / 'a.csv', '--traverse', 4
    )
    assert run(map_tools, 'export', rich, '-o', tmp_path / 'a.TXT', '--format', 'geojson') == 0
    assert json.loads((tmp_path / 'a.TXT').read_bytes())['features']

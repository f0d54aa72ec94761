# SPDX-License-Identifier: Apache-2.0
"""map_tools tile and map_info of a city, as users call them."""

from __future__ import annotations

from pathlib import Path

import pytest

from ashtkd_ros.commands import map_info, map_tools
from ashtkd_ros.errors import VprError
from ashtkd_ros.maps.city import read_city
from ashtkd_ros.maps.map_files import map_checksum


def call(main, *arguments: object) -> int:
    with pytest.raises(SystemExit) as end:
        main([str(a) for a in arguments])
    return end.value.code


def test_a_map_is_cut_and_the_city_checked(saved: Path, tmp_path: Path, capsys):
    city = tmp_path / 'city'
    assert call(map_tools.main, 'tile', saved, '-o', city, '--metres', 2) == 0
    assert capsys.readouterr().out == f'{city}: 3 tiles of 2 m, 6 pictures, 2 in the fullest\n'
    assert call(map_info.main, city) == 0
    assert '3 of 2 m' in capsys.readouterr().out
    tile = city / read_city(city).tiles[1].path
    (tile / 'places.csv').write_bytes(b'')
    assert call(map_info.main, city) == 1
    assert str(tile) in capsys.readouterr().err


def test_tiles_are_no_map_that_can_be_changed(saved: Path, tmp_path: Path, capsys):
    city, out = tmp_path / 'city', tmp_path / 'out.csv'
    assert call(map_tools.main, 'tile', saved, '-o', city, '--metres', 2) == 0
    said = f'{city}: holds the tiles of a map; name the map that they were cut from'
    for given in (
        ('export', city, '-o', out),
        ('drop', city, '--ids', 1),
        ('tile', city, '-o', out),
    ):
        assert call(map_tools.main, *given) == 1
        assert said in capsys.readouterr().err, given[0]


def test_the_checksum_of_a_city_is_another_one_once_it_is_cut_anew(saved: Path, tmp_path: Path):
    sums = set()
    for metres in (2, 3):
        city = tmp_path / f'city{metres}'
        assert call(map_tools.main, 'tile', saved, '-o', city, '--metres', metres) == 0
        assert map_checksum(city) == map_checksum(city)
        sums.add(map_checksum(city))
    assert len(sums) == 2
    (city / 'tiles.yaml').write_bytes(b'')
    with pytest.raises(VprError, match='no checksum'):
        map_checksum(city)


@pytest.mark.parametrize('metres', ['0', '-5', 'nan', 'wide', '0.01', '1e9'])
def test_a_width_that_is_none_is_refused(saved: Path, tmp_path: Path, capsys, metres: str):
    status = call(map_tools.main, 'tile', saved, '-o', tmp_path / 'city', '--metres', metres)
    assert status in (1, 2) and not (tmp_path / 'city').exists()
    said = capsys.readouterr().err
    assert said.count('error: ') == 1 and 'Error' not in said


def test_what_is_there_stays(saved: Path, capsys):
    before = sorted(p.name for p in saved.iterdir())
    assert call(map_tools.main, 'tile', saved, '-o', saved) == 1
    assert 'is there already' in capsys.readouterr().err
    assert sorted(p.name for p in saved.iterdir()) == before

# SPDX-License-Identifier: Apache-2.0
"""A map in tiles: cut without loss, loaded around a position, whole in spite of damage."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import line_of, places_along_x, unit_rows
from map_fixtures import LOCAL, PICTURE, local_rows

from ashtkd_ros.errors import VprError
from ashtkd_ros.files.checksums import sha256_of, with_checksum
from ashtkd_ros.geometry.pose import Pose
from ashtkd_ros.maps import tiled_map as tiled_map_module
from ashtkd_ros.maps.city import CITY_FILE, is_city, read_city
from ashtkd_ros.maps.place_map import Place, PlaceMap
from ashtkd_ros.maps.tiled_map import TiledMap, load_whole
from ashtkd_ros.maps.tiling import cut_into_tiles
from ashtkd_ros.network.local_features import Look
from ashtkd_ros.recognition.matcher import Matcher

COUNT = 60


@pytest.fixture
def town_map(fake_network, tmp_path: Path) -> PlaceMap:
    """Places 10 m apart around x = 0, some seen twice, two without a pose, with all the rest."""
    fake_network.local = LOCAL
    (tmp_path / 'thumbnails').mkdir()
    for row in range(COUNT):
        (tmp_path / 'thumbnails' / f'{row:06d}.jpg').write_bytes(PICTURE)
    places = [
        Place(
            5 + row % 50, float(row), row, Pose(10.0 * row - 300, 0.0, 0.0) if row < 58 else None,
            f'{row}.jpg', thumbnail=sha256_of(PICTURE), traverse=row // 30,
        )
        for row in range(COUNT)
    ]  # fmt: skip
    built = {'traverses': [{'source': 'a'}, {'source': 'b'}]}
    made = PlaceMap.build(
        unit_rows(COUNT, 4), places, fake_network, 'site', local_rows(COUNT), **built
    )
    made.save(tmp_path / 'map', tmp_path / 'thumbnails')
    return PlaceMap.load(tmp_path / 'map')


@pytest.fixture
def city(town_map: PlaceMap, tmp_path: Path) -> Path:
    cut_into_tiles(town_map, tmp_path / 'city', 100.0)
    return tmp_path / 'city'


def test_the_tiles_together_are_the_map(town_map: PlaceMap, city: Path):
    assert is_city(city) and not is_city(town_map.folder)
    described = read_city(city)
    assert [(t.column, t.row) for t in described.tiles] == [(c, 0) for c in range(-3, 3)]
    assert (described.metres, described.next_id, described.pictures) == (100.0, 55, 58)
    whole = TiledMap(city).whole()
    assert whole.places == town_map.places[:58]
    rows = np.arange(58)
    assert (whole.descriptors(rows) == town_map.descriptors(rows)).all()
    assert (whole.local.rows(rows) == town_map.local.rows(rows)).all()
    assert whole.info.traverses == town_map.info.traverses and whole.info.frame == 'site'
    for tile in described.tiles:
        alone = PlaceMap.load(city / tile.path, pictures=True)
        assert (len(alone.places), alone.info.next_id) == (tile.pictures, 55)


def test_every_place_has_its_own_picture(town_map: PlaceMap, city: Path, monkeypatch):
    seen = []
    monkeypatch.setattr(
        tiled_map_module, 'thumbnail_pixels', lambda folder, place: seen.append((folder, place))
    )
    joined = TiledMap(city).around(0.0, 0.0, 150.0)
    for place in joined.places:
        joined.picture(place)
    for (folder, place), wanted in zip(seen, joined.places, strict=True):
        assert PlaceMap.load(folder).places[place.row] == wanted


def test_tiles_around_a_position_are_loaded_and_far_ones_dropped(city: Path):
    tiled = TiledMap(city)
    first = tiled.around(-250.0, 0.0, 20.0)
    assert first.places.positions[:, 0].tolist() == [-300.0 + 10 * k for k in range(10)]
    assert [t.column for t in first.tiles] == [-3]
    second = tiled.around(-150.0, 0.0, 20.0)
    assert [t.column for t in second.tiles] == [-3, -2]  # hardly further: it stays
    last = tiled.around(250.0, 0.0, 20.0)
    assert [t.column for t in last.tiles] == [2]
    assert last.places.positions[:, 0].min() == 200.0
    assert tiled.around(1e5, 0.0, 20.0) is None


def test_a_joined_map_answers_like_the_map_itself(town_map: PlaceMap, city: Path):
    tiled = TiledMap(city)
    for x in (-250.0, -150.0, -50.0, 50.0):  # rows move along from one joined map to the next
        joined = tiled.around(x, 0.0, 120.0)
    row = 33
    look = Look(unit_rows(COUNT, 4)[row], local_rows(COUNT)[row])
    for place_map in (town_map, joined):
        best = Matcher(place_map).answer(look).candidates[0]
        assert (best.place, best.check.score > 0) == (town_map.places[row], True)


@pytest.mark.parametrize('damage', ['gone', 'index', 'other'])
def test_a_damaged_tile_is_named_and_the_others_go_on(city: Path, damage: str):
    tile = city / 'tiles' / '0_0'
    if damage == 'gone':
        shutil.rmtree(tile)
    elif damage == 'index':
        data = bytearray((tile / 'index.faiss').read_bytes())
        data[-3] ^= 1
        (tile / 'index.faiss').write_bytes(data)
    else:
        shutil.rmtree(tile)
        shutil.copytree(city / 'tiles' / '1_0', tile)
    tiled = TiledMap(city)
    joined = tiled.around(50.0, 0.0, 60.0)
    assert np.unique(joined.places.positions[:, 0] // 100).tolist() == [-1.0, 1.0]
    (said,) = tiled.faults.values()
    assert str(tile) in said and '\n' not in said
    assert tiled.fault == said
    with pytest.raises(VprError):
        tiled.check(tiled.city.tiles[3])


def test_where_no_tile_is_sound_that_is_said(city: Path):
    shutil.rmtree(city / 'tiles')
    for load in (TiledMap(city).whole, TiledMap(city).first):
        with pytest.raises(VprError) as error:
            load()
        assert 'no tile could be loaded' in line_of(error)


def test_tiles_of_another_network_are_refused(city: Path, fake_network):
    fake_network.hash = '1' * 64
    with pytest.raises(VprError) as error:
        TiledMap(city, fake_network).whole()
    assert 'the running model is' in line_of(error)


@pytest.mark.parametrize(
    'before, after',
    [
        ('format_version: 1', 'format_version: 2'),
        ('metres: 100.0', 'metres: .nan'),
        ('metres: 100.0', 'metres: 0.0'),
        ('next_id: 55', 'next_id: 0'),
        ('frame: site', "frame: ''"),
        ('column: -3', 'column: ../../etc'),
        ('column: -3', 'column: -2'),
        ('pictures: 10', 'pictures: 0'),
        ('origin: null', 'origin: 3'),
        ('frame: site', 'frame: site\nmore: 1'),
    ],
)
def test_a_description_with_other_values_is_refused(city: Path, before: str, after: str):
    text = (city / CITY_FILE).read_text()
    assert before in text
    lines = text.replace(before, after, 1).encode()
    (city / CITY_FILE).write_bytes(with_checksum(lines[: lines.rindex(b'checksum: ')]))
    with pytest.raises(VprError) as error:
        TiledMap(city)
    assert 'tiles.yaml' in line_of(error)


def test_every_changed_byte_of_a_description_is_noticed(city: Path):
    data = (city / CITY_FILE).read_bytes()
    rng = np.random.default_rng(0)
    for at in rng.integers(0, len(data), 60).tolist():
        changed = bytearray(data)
        changed[at] ^= 1 << int(rng.integers(8))
        (city / CITY_FILE).write_bytes(changed)
        with pytest.raises(VprError):
            read_city(city)
        (city / CITY_FILE).write_bytes(data[:at])
        with pytest.raises(VprError):
            read_city(city)


def test_nothing_is_overwritten_and_nothing_left_behind(town_map: PlaceMap, tmp_path: Path):
    target = tmp_path / 'mine'
    target.mkdir()
    (target / 'notes').write_text('mine')
    with pytest.raises(VprError) as error:
        cut_into_tiles(town_map, target, 100.0)
    assert 'is there already' in line_of(error)
    before = sorted(os.listdir(tmp_path))
    os.remove(tmp_path / 'map' / 'thumbnails' / '000030.jpg')
    with pytest.raises(VprError) as error:
        cut_into_tiles(town_map, tmp_path / 'city', 100.0)
    assert line_of(error) and sorted(os.listdir(tmp_path)) == before
    for metres in (0.1, np.nan):
        with pytest.raises(VprError):
            cut_into_tiles(town_map, tmp_path / 'city', metres)


def test_a_map_without_poses_cannot_be_cut(fake_network, tmp_path: Path):
    bare = PlaceMap.build(unit_rows(3, 4), places_along_x(range(3), False), fake_network)
    with pytest.raises(VprError) as error:
        cut_into_tiles(bare, tmp_path / 'city', 100.0)
    assert 'has no poses' in line_of(error)


def test_a_name_that_no_folder_can_have_is_one_line():
    """As a trial that was damaged names its map."""
    with pytest.raises(VprError) as error:
        load_whole(Path('n' * 300))
    assert 'File name too long' in line_of(error)

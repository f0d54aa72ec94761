# SPDX-License-Identifier: Apache-2.0
"""The map: bit-true round trips, search, and a damaged one refused with what failed."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import checksums, line_of, places_along_x, unit_rows

from ashtkd_ros.errors import VprError
from ashtkd_ros.geometry.pose import Pose
from ashtkd_ros.maps.place_map import Place, PlaceMap, place_spacing
from ashtkd_ros.maps.places import Places
from ashtkd_ros.maps.places_file import read_columns, write_columns


def descriptors(place_map: PlaceMap) -> np.ndarray:
    return place_map.index.rows(range(len(place_map.places)))


# --- what is written is what is read


def test_round_trip_keeps_everything_to_the_bit(fake_network, tmp_path: Path):
    pose = Pose(0.1 + 0.2, -1e-17, 3.0, 0.5, -0.5, 0.5, -0.5)
    places = [
        Place(0, 1e9 / 3, 7, pose, 'images/a.jpg', 'hall, "north"'),
        Place(1, 0.1, 8, Pose(1.0, 2.0, 3.0), 'images/b ü.jpg', ''),
    ]
    rows = unit_rows(2, 4, seed=5)
    fake_network.confidence = {'similarity': 12.3, 'margin': 4.5, 'offset': -7 / 3}
    PlaceMap.build(rows, places, fake_network, frame='site', source='/x').save(tmp_path / 'm')
    loaded = PlaceMap.load(tmp_path / 'm', fake_network)
    assert loaded.places == places
    assert descriptors(loaded).tobytes() == rows.tobytes()
    assert (loaded.info.frame, loaded.info.built) == ('site', {'source': '/x'})
    assert loaded.info.calibration == fake_network.confidence
    assert loaded.info.model['sha256'] == fake_network.hash
    assert loaded.info.model['preprocessing']['colour_order'] == 'RGB'


def test_places_without_poses_stay_without(fake_network, tmp_path: Path):
    places = places_along_x(range(3), with_poses=False)
    PlaceMap.build(unit_rows(3, 4), places, fake_network).save(tmp_path / 'm')
    assert PlaceMap.load(tmp_path / 'm').places == places


def test_the_same_map_is_the_same_bytes(built: PlaceMap, saved: Path, tmp_path: Path):
    built.save(tmp_path / 'again')
    assert checksums(tmp_path / 'again') == checksums(saved)
    PlaceMap.load(saved).save(tmp_path / 'copy')
    assert checksums(tmp_path / 'copy') == checksums(saved)


def test_description_is_plain_yaml_with_counts_and_checksums(saved: Path):
    values = yaml.safe_load((saved / 'map.yaml').read_text())
    assert (values['format_version'], values['places'], values['descriptor_size']) == (4, 6, 4)
    sums = checksums(saved)
    assert values['sha256'] == {n: sums[n] for n in ('index.faiss', 'places.csv', 'places.npz')}


def test_saving_over_a_map_replaces_it_whole(saved: Path, fake_network):
    (saved / 'thumbnails').mkdir()
    PlaceMap.build(unit_rows(2, 4, seed=9), places_along_x([5, 6]), fake_network).save(saved)
    assert [p.pose.x for p in PlaceMap.load(saved).places] == [5.0, 6.0]
    assert sorted(checksums(saved)) == ['index.faiss', 'map.yaml', 'places.csv', 'places.npz']
    assert [p.name for p in saved.parent.iterdir()] == ['map']


def test_saving_makes_the_folders_above(built: PlaceMap, tmp_path: Path):
    built.save(tmp_path / 'a' / 'b' / 'map')
    assert len(PlaceMap.load(tmp_path / 'a' / 'b' / 'map').places) == 6


def test_saving_into_an_empty_folder_and_into_the_current_one(
    built: PlaceMap, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / 'here').mkdir()
    monkeypatch.chdir(tmp_path / 'here')
    built.save(Path('.'))
    monkeypatch.chdir(tmp_path)
    assert len(PlaceMap.load(tmp_path / 'here').places) == 6


def test_saving_through_a_link_keeps_the_link(built: PlaceMap, saved: Path, tmp_path: Path):
    (tmp_path / 'current').symlink_to(saved)
    built.save(tmp_path / 'current')
    assert (tmp_path / 'current').is_symlink() and len(PlaceMap.load(saved).places) == 6


def test_search_is_best_first_and_never_longer_than_the_map(built: PlaceMap):
    query = descriptors(built)[3]
    ids, similarities = built.search(query, 99)
    assert ids[0] == 3 and similarities[0] == pytest.approx(1.0, abs=1e-6)
    assert len(ids) == 6 and sorted(ids) == list(range(6))
    np.testing.assert_allclose(similarities, descriptors(built)[ids] @ query, atol=1e-6)
    assert (np.diff(similarities) <= 0).all()


def test_places_and_descriptors_must_be_as_many(fake_network):
    for rows, places in ((unit_rows(2, 4), places_along_x([1])), (np.empty((0, 4)), [])):
        with pytest.raises(VprError) as error:
            PlaceMap.build(rows, places, fake_network)
        assert 'one descriptor for each place' in line_of(error)


def test_places_of_a_bag_keep_traverse_and_place_on_earth(fake_network, tmp_path: Path):
    geo = (48.1234567890123, -11.000000000000002)
    places = [
        Place(0, 1.5, 0, Pose(1, 2, 3), '1700000000001000000'),
        Place(1, 2.5, 9, None, '1700000000002000000#1', 'door', 3, geo),
    ]
    info = {'traverses': [{'source': '/bags/a'}] * 4, 'origin': {'lat': 48.0, 'lon': -11.0}}
    PlaceMap.build(unit_rows(2, 4), places, fake_network, **info).save(tmp_path / 'm')
    loaded = PlaceMap.load(tmp_path / 'm')
    assert loaded.places == places
    assert (loaded.info.built, loaded.traverses) == (info, info['traverses'])


def test_a_map_from_before_bags_is_read(saved: Path):
    rows = [line.split(',') for line in (saved / 'places.csv').read_text().splitlines()]
    table = '\n'.join(','.join(row[:-4]) for row in rows) + '\n'
    consistent(saved, 'places.csv', table.encode())
    (saved / 'places.npz').unlink()
    sums = yaml.safe_load((saved / 'map.yaml').read_text())['sha256']
    sums.pop('places.npz')
    edit(saved, built={'source': '/walks/a'}, format_version=1, next_id=None, sha256=sums)
    lines = (saved / 'map.yaml').read_text().splitlines(keepends=True)
    (saved / 'map.yaml').write_text(''.join(lines[:-1]))  # which had no checksum of its own
    loaded = PlaceMap.load(saved)
    assert loaded.places == places_along_x(range(6)) and loaded.traverses == []


def test_pictures_come_with_the_map_and_go_with_it(built: PlaceMap, saved: Path, tmp_path: Path):
    (tmp_path / 'made').mkdir()
    (tmp_path / 'made' / '000000.jpg').write_bytes(b'picture')
    (tmp_path / 'route').write_bytes(b'route')
    built.save(saved, tmp_path / 'made', tmp_path / 'route')
    assert (saved / 'thumbnails' / '000000.jpg').read_bytes() == b'picture'
    assert (saved / 'route.png').read_bytes() == b'route' and len(list(saved.iterdir())) == 6
    assert len(PlaceMap.load(saved).places) == 6
    built.save(saved, tmp_path / 'gone', tmp_path / 'gone')  # as where none could be made
    assert sorted(checksums(saved)) == ['index.faiss', 'map.yaml', 'places.csv', 'places.npz']


def test_spacing_is_the_median_step():
    assert place_spacing(places_along_x([0, 2, 4, 104])) == 2.0
    assert place_spacing(places_along_x([0])) == 0.0
    assert place_spacing(places_along_x([0, 2], with_poses=False)) == 0.0


# --- what is damaged is refused, and the message says what failed


def edit(folder: Path, **changes) -> None:
    """Change entries of map.yaml; None takes one away."""
    values = yaml.safe_load((folder / 'map.yaml').read_text()) | changes
    seal(folder, {k: v for k, v in values.items() if v is not None})


def seal(folder: Path, values: object) -> None:
    """Write map.yaml with a checksum of its own that is right."""
    if isinstance(values, dict):
        values = {k: v for k, v in values.items() if k != 'checksum'}
    data = yaml.safe_dump(values).encode()
    line = f'checksum: {hashlib.sha256(data).hexdigest()}\n'
    (folder / 'map.yaml').write_bytes(data + line.encode())


def flip_a_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def consistent(folder: Path, name: str, data: bytes) -> None:
    """Replace a file and its checksum: damage that only a look inside can find."""
    (folder / name).write_bytes(data)
    sums = yaml.safe_load((folder / 'map.yaml').read_text())['sha256']
    edit(folder, sha256={**sums, name: hashlib.sha256(data).hexdigest()})


def without_last_place(folder: Path) -> None:
    places = read_columns((folder / 'places.npz').read_bytes())
    consistent(folder, 'places.npz', write_columns(Places.of(places[:-1])))


DAMAGE = {
    'no map.yaml': (lambda f: (f / 'map.yaml').unlink(), 'holds no map.yaml'),
    'empty map.yaml': (lambda f: (f / 'map.yaml').write_text(''), 'map.yaml is incomplete'),
    'text as map.yaml': (lambda f: (f / 'map.yaml').write_text('hello'), 'map.yaml is incomplete'),
    'broken map.yaml': (lambda f: (f / 'map.yaml').write_text('a: [1'), 'map.yaml is damaged'),
    'binary map.yaml': (lambda f: (f / 'map.yaml').write_bytes(b'\xff\0\x90' * 9), 'is damaged'),
    'impossible date': (lambda f: (f / 'map.yaml').write_text('a: 2001-99-99'), 'is damaged'),
    'python in map.yaml': (
        lambda f: (f / 'map.yaml').write_text('a: !!python/object/apply:os.getcwd []'),
        'is damaged',
    ),
    'no version': (lambda f: edit(f, format_version=None), 'map.yaml is incomplete'),
    'other version': (lambda f: edit(f, format_version=5), 'has map format 5'),
    'no model': (lambda f: edit(f, model=None), 'map.yaml is incomplete'),
    'model of a wrong type': (lambda f: edit(f, model='x'), 'map.yaml is incomplete'),
    'model without hash': (lambda f: edit(f, model={'name': 'x'}), 'map.yaml is incomplete'),
    'model hash of a wrong type': (
        lambda f: edit(f, model={'name': 'a', 'sha256': 3}),
        'map.yaml is incomplete',
    ),
    'checksums of a wrong type': (lambda f: edit(f, sha256=3), 'map.yaml is incomplete'),
    'no index': (lambda f: (f / 'index.faiss').unlink(), 'index.faiss: cannot be read'),
    'no table': (lambda f: (f / 'places.csv').unlink(), 'places.csv: cannot be read'),
    'changed index': (lambda f: flip_a_byte(f / 'index.faiss'), 'index.faiss: is damaged'),
    'changed table': (
        lambda f: flip_a_byte(f / 'places.csv'),
        'places.csv: is damaged, its checksum differs from map.yaml; undo what was edited in it',
    ),
    'cut index': (lambda f: os.truncate(f / 'index.faiss', 50), 'index.faiss: has 50 bytes, but'),
    'empty index': (lambda f: os.truncate(f / 'index.faiss', 0), 'index.faiss: has 0 bytes, but'),
    'no index inside': (
        lambda f: consistent(f, 'index.faiss', b'x' * 141),
        'is not an float32 array of 6 descriptors of 4 numbers',
    ),
    'no table inside': (lambda f: consistent(f, 'places.npz', b'a,b\n1,2\n'), 'no archive'),
    'one place too few': (without_last_place, 'count (6, 5, 6) places'),
    'other count': (
        lambda f: edit(f, places=7),
        'but 7 descriptors of 4 numbers, as map.yaml has them',
    ),
    'other size': (lambda f: edit(f, descriptor_size=5), 'rebuild the map'),
}


@pytest.mark.parametrize('case', DAMAGE)
def test_damaged_map_is_refused_with_one_line_that_names_the_damage(saved: Path, case: str):
    damage, expected = DAMAGE[case]
    damage(saved)
    with pytest.raises(VprError) as error:
        PlaceMap.load(saved)
    assert expected in line_of(error) and str(saved) in str(error.value)


def test_missing_and_empty_folders_are_told_apart(tmp_path: Path):
    (tmp_path / 'empty').mkdir()
    for name, expected in (('gone', 'no such map'), ('empty', 'holds no map.yaml')):
        with pytest.raises(VprError) as error:
            PlaceMap.load(tmp_path / name)
        assert expected in line_of(error) and 'build_map' in str(error.value)


def test_map_of_another_model_is_refused(saved: Path, fake_network):
    assert PlaceMap.load(saved, fake_network).places
    fake_network.hash, fake_network.name = 'f' * 64, 'newer'
    with pytest.raises(VprError) as error:
        PlaceMap.load(saved, fake_network)
    message = line_of(error)
    assert 'fake (00000000)' in message and 'newer (ffffffff)' in message

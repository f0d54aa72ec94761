# SPDX-License-Identifier: Apache-2.0
"""Training places from every kind of source: which pictures show the same place."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from conftest import line_of
from small_places import index_set, names, photos, places_of, walk

from ashtkd_ros.errors import VprError
from tools.training.data.place_batches import PlaceBatches
from tools.training.data.places import TrainingPlaces, summary


def test_neighbours_places_and_single_photos(tmp_path: Path):
    index_set(tmp_path / 'a_walk', [(f'{i}.png', 'east' if i < 3 else 'west') for i in range(5)])
    index_set(tmp_path / 'cams', [('x.png', 'one'), ('y.png', 'two'), ('z.png', 'one')])
    index_set(tmp_path / 'single', [('p.png', ''), ('q.png', '')])
    positives = {'a_walk': 'neighbours', 'cams': 'place'}
    places = places_of([{'kind': 'sets', 'path': tmp_path, 'positives': positives}])
    found = [names(places, i) for i in range(len(places.places))]
    assert found[:5] == [
        ['0.png', '1.png'],
        ['0.png', '1.png', '2.png'],
        ['1.png', '2.png'],
        ['3.png', '4.png'],  # the walk to the east ends before
        ['3.png', '4.png'],
    ]
    assert found[5:7] == [['x.png', 'z.png'], ['y.png']]
    assert found[7:] == [['p.png'], ['q.png']]
    assert 'cams:      2 places,      3 pictures' in summary(places)


def test_a_camera_that_may_stand_still_is_nowhere_certainly_elsewhere(tmp_path: Path):
    index_set(tmp_path / 'w', [(f'{k}.png', '') for k in range(40)], list(range(40)))
    source = {'kind': 'sets', 'path': tmp_path, 'positives': {'w': 'neighbours'}}
    for apart, expected in ((10, 10), (1.0e6, 1.0e6)):
        first = places_of([{**source, 'apart': apart}]).places[0]
        assert first.apart == expected
    for bad in (1, float('nan'), float('inf')):
        with pytest.raises(VprError):
            places_of([{**source, 'apart': bad}])


def neighbours(folder: Path, files: list[str], orders: list, radius: float = 1) -> list[list[str]]:
    index_set(folder / 'w', [(f, '') for f in files], orders)
    source = {'kind': 'sets', 'path': folder, 'positives': {'w': 'neighbours'}, 'radius': radius}
    places = places_of([source])
    return [names(places, i) for i in range(len(places.places))]


def test_neighbours_are_near_in_order_and_not_in_the_rows(tmp_path: Path):
    files = ['1.png', '10.png', '2.png', '3.png']
    found = neighbours(tmp_path, files, [1, 10, 2, 3])
    assert found == [
        ['1.png', '2.png'],
        ['1.png', '2.png', '3.png'],
        ['2.png', '3.png'],
        ['10.png'],
    ]
    stride = neighbours(tmp_path, files, [0, 2, 4, 8], radius=2)
    assert [len(f) for f in stride] == [2, 3, 2, 1]
    for radius, orders, expected in ((1, [0, 2, 4, 8], 'no two orders'), (1, [0, '', 2, 3], ':3')):
        with pytest.raises(VprError) as error:
            neighbours(tmp_path, files, orders, radius)
        assert expected in line_of(error)


def test_walks_in_one_set_end_where_names_or_folders_change(tmp_path: Path):
    files = [
        'a/A1_01.png',
        'a/A1_02.png',
        'a/A2_03.png',
        'a/A2_04.png',
        'b/A2_05.png',
        'b/A2_06.png',
    ]
    found = neighbours(tmp_path, files, list(range(6)))
    assert found == [[Path(f).name for f in files[k : k + 2]] for k in (0, 0, 2, 2, 4, 4)]
    hashes = ['9f.png', '3c.png', 'aa.png']  # names without a number that counts are of one walk
    assert [len(f) for f in neighbours(tmp_path, hashes, [0, 1, 2])] == [2, 3, 2]


def test_photos_of_no_known_place_are_no_positives_of_each_other(tmp_path: Path):
    index_set(tmp_path / 's', [('0.png', ''), ('1.png', ''), ('2.png', 'x'), ('3.png', 'x')])
    places = places_of([{'kind': 'sets', 'path': tmp_path, 'positives': {'s': 'place'}}])
    found = [names(places, i) for i in range(len(places.places))]
    assert found == [['0.png'], ['1.png'], ['2.png', '3.png']]


def test_one_file_in_two_sources_is_one_picture_and_never_its_own_negative(tmp_path: Path):
    index_set(tmp_path / 'sets' / 's', [('0.png', ''), ('1.png', '')])
    (tmp_path / 'again').mkdir()
    (tmp_path / 'again' / 'place').symlink_to(tmp_path / 'sets' / 's')
    sources = [{'kind': 'sets', 'path': tmp_path / 'sets'}]
    sources += [{'kind': 'folders', 'path': tmp_path / 'again'}]
    places = places_of(sources)
    assert len(places.pictures) == 2 and len(places.places) == 3
    with pytest.raises(VprError):
        PlaceBatches(places, 2, 2, seed=0, domains={str(tmp_path / 'again'), 's'}).batch(0)


def test_walks_of_one_world_share_places_by_distance_and_heading(tmp_path: Path):
    day = walk(tmp_path / 'town' / 'day', [0, 2, 4, 6, 8, 10, 12])
    night = walk(tmp_path / 'town' / 'night', [1, 11.5])
    back = walk(tmp_path / 'town' / 'back', [0, 6], yaw=math.pi)
    places = places_of([{'kind': 'walks', 'paths': [day, night, back]}])
    assert [a.at[0] for a in places.places] == [0, 6, 12]
    assert [len(a.pictures) for a in places.places] == [3, 3, 3]
    assert {places.pictures[i].path.parent.name for i in places.places[0].pictures} == {
        'day',
        'night',
    }


def test_folders_and_gsv_tables(tmp_path: Path):
    photos(tmp_path / 'f', ['bridge/1.png', 'bridge/2.png', 'tower/1.png'])
    places = places_of([{'kind': 'folders', 'path': tmp_path / 'f'}])
    assert [names(places, i) for i in range(2)] == [['1.png', '2.png'], ['1.png']]

    file = 'Paris_0000007_2015_03_090_48.85_2.35_abc.jpg'
    photos(tmp_path / 'gsv', [f'Images/Paris/{file}', 'Images/other.png'])
    table = tmp_path / 'gsv' / 'Paris.csv'
    table.write_text(
        'place_id,year,month,northdeg,city_id,lat,lon,panoid\n'
        '7,2015,3,90,Paris,48.85,2.35,abc\n7,2016,4,91,Paris,48.85,2.35,gone\n'
    )
    source = {'kind': 'gsv', 'path': table, 'images': tmp_path / 'gsv' / 'Images'}
    places = places_of([source])
    assert names(places, 0) == [file]
    assert [p.name for p in places.skipped] == ['Paris_0000007_2016_04_091_48.85_2.35_gone.jpg']
    table.write_text('place,city,lat,lon,heading,file\n3,Rome,1,2,45,other.png\n')
    assert names(places_of([source]), 0) == ['other.png']


def gsv(folder: Path, rows: list[str]) -> TrainingPlaces:
    photos(folder, [f'{k}.png' for k in range(len(rows))])
    text = ''.join(f'{row},{k}.png\n' for k, row in enumerate(rows))
    (folder / 't.csv').write_text('place,city,lat,lon,heading,file\n' + text)
    return places_of([{'kind': 'gsv', 'path': folder / 't.csv', 'images': folder}])


def test_gsv_places_are_split_by_heading_and_apart_by_metres(tmp_path: Path):
    rows = ['1,Rome,41.9,12.5,350.0', '1,Rome,41.9,12.5,20', '1,Rome,41.9,12.5,90']
    rows += ['2,Rome,41.9002,12.5,0', '3,Rome,41.9,12.5004,0', '1,Oslo,59.9,10.7,0']
    places = gsv(tmp_path, rows)
    found = [names(places, i) for i in range(len(places.places))]
    assert found == [['0.png', '1.png'], ['2.png'], ['3.png'], ['4.png'], ['5.png']]
    assert places.places[2].at == pytest.approx((0, 22.2), abs=0.1)
    assert places.places[3].at == pytest.approx((33.2, 0), abs=0.1)
    draw = PlaceBatches(places, 3, 2, seed=0)
    for step in range(20):
        drawn = {a for _, _, a in draw.batch(step)}
        assert 4 in drawn and 3 in drawn and len(drawn & {0, 1, 2}) == 1


def test_bad_gsv_rows_are_one_line(tmp_path: Path):
    for row in ('1,Rome,x,12.5,0', '1,Rome,95,12.5,0', '1,Rome,41.9,12.5,nan', '1,Rome,,12.5,0'):
        with pytest.raises(VprError) as error:
            gsv(tmp_path, ['1,Rome,41.9,12.5,0', row])
        assert 't.csv:3: ' in line_of(error)


def test_missing_pictures_are_counted_and_unreadable_ones_can_be_taken_out(tmp_path: Path):
    index_set(tmp_path / 's', [(f'{i}.png', '') for i in range(3)])
    (tmp_path / 's' / '1.png').unlink()
    places = places_of([{'kind': 'sets', 'path': tmp_path}])
    assert [p.name for p in places.skipped] == ['1.png'] and len(places.places) == 2
    bad = str((tmp_path / 's' / '0.png').resolve())
    rest = places.without({bad})
    assert [names(rest, i) for i in range(len(rest.places))] == [['2.png']]


def test_places_of_one_tour_are_no_negatives_of_each_other(tmp_path: Path):
    rows = [(f'{t}{k}{v}.png', f'{t}/p{k}') for t in 'ab' for k in range(6) for v in 'dq']
    index_set(tmp_path / 't', [*rows, ('x.png', '')])
    places = places_of([{'kind': 'sets', 'path': tmp_path, 'positives': {'t': 'tour'}}])
    assert names(places, 0) == ['a0d.png', 'a0q.png'] and len(places.places) == 13
    assert [place.known for place in places.places].count(False) == 1
    for step in range(20):
        drawn = {places.places[a].group for _, _, a in PlaceBatches(places, 2, 2, 0).batch(step)}
        assert drawn == {'t/a', 't/b'}
    with pytest.raises(VprError):
        PlaceBatches(places, 3, 2, seed=0).batch(0)


def paired_set(folder: Path, pairs: str) -> None:
    """A set of six pictures: 0 and 1 of place x, 2 and 3 of place y, the others of none."""
    index_set(folder, [(f'{i}.png', 'xxyy  '[i].strip()) for i in range(6)])
    (folder / 'pairs.csv').write_text('file_a,file_b,sift_inliers\n' + pairs)


@pytest.mark.parametrize(
    ('rule', 'expected', 'alone', 'batch'),
    [
        ('pairs', ['12', '12', '34', '34'], ['0.png', '5.png'], 2),
        ('place_or_pairs', ['01', '012', '123', '234', '34'], ['5.png'], 1),
    ],
)
def test_partners_are_listed_in_pairs(
    tmp_path: Path, rule: str, expected: list[str], alone: list[str], batch: int
):
    paired_set(tmp_path / 's', '1.png,2.png,20\n3.png,4.png,9\n')
    places = places_of([{'kind': 'sets', 'path': tmp_path, 'positives': {'s': rule}}])
    known, unknown = ([i for i, a in enumerate(places.places) if a.known == k] for k in (1, 0))
    found = [''.join(Path(n).stem for n in names(places, i)) for i in known]
    assert found == expected
    assert [names(places, i)[0] for i in unknown] == alone
    for step in range(10):  # what is in no common pair may be the same all the same
        assert len({a for _, _, a in PlaceBatches(places, batch, 2, 0).batch(step)}) == batch
    with pytest.raises(VprError):
        PlaceBatches(places, batch + 1, 2, seed=0).batch(0)


def test_a_partner_that_is_in_no_index_is_named(tmp_path: Path):
    paired_set(tmp_path / 's', '1.png,2.png,20\n1.png,gone.png,9\n')
    with pytest.raises(VprError) as error:
        places_of([{'kind': 'sets', 'path': tmp_path, 'positives': {'s': 'pairs'}}])
    assert 'pairs.csv:3: gone.png is not in index.csv' in line_of(error)


def test_a_pool_has_no_places_and_cameras_stand_still(tmp_path: Path):
    for name in ('pool', 'cams', 'spots'):
        index_set(tmp_path / name, [(f'{i}.png', 'ab'[i % 2]) for i in range(4)])
    positives = {'pool': 'none', 'cams': 'camera', 'spots': 'place'}
    places = places_of([{'kind': 'sets', 'path': tmp_path, 'positives': positives}])
    of = {d: [a for a in places.places if a.domain == d] for d in positives}
    assert [len(of[d]) for d in positives] == [4, 2, 2]
    assert not any(a.known for a in of['pool'])
    assert all(a.still for a in of['cams']) and not any(a.still for a in of['spots'])
    kept = places.without({str((tmp_path / 'cams' / '0.png').resolve())}).places
    assert [(a.known, a.still) for a in kept] == [(a.known, a.still) for a in places.places]
    assert 'pool:      0 places,      4 pictures' in summary(places)


WRONG = [
    ({'kind': 'sets', 'path': 'gone'}, 'gone: no such folder'),
    ({'kind': 'folders', 'path': 'gone'}, 'gone: no such folder'),
    ({'kind': 'walks', 'paths': ['gone']}, 'no such folder'),
    ({'kind': 'gsv', 'path': 'gone.csv', 'images': 'good'}, 'gone.csv: no such file'),
    ({'kind': 'sets', 'path': 'good', 'only': ['s', 'ss']}, 'only: no set is named ss; there are'),
    (
        {'kind': 'sets', 'path': 'good', 'positives': {'t': 'place'}},
        'positives: no set is named t; there are s',
    ),
    ({'kind': 'walks', 'paths': ['town/day', 'good/s']}, 's: has no poses'),
    ({'kind': 'sets', 'path': 'empty'}, 'empty: the source holds no place'),
    ({'kind': 'sets', 'path': 'bad'}, 'the column place is missing'),
]


@pytest.mark.parametrize(('source', 'expected'), WRONG)
def test_a_source_that_cannot_be_read_is_one_line(tmp_path: Path, monkeypatch, source, expected):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'empty').mkdir()
    for name in ('bad', 'good'):
        index_set(tmp_path / name / 's', [('0.png', '')])
    (tmp_path / 'bad' / 's' / 'index.csv').write_text('file,order\n0.png,0\n')
    walk(tmp_path / 'town' / 'day', [0, 2])
    with pytest.raises(VprError) as error:
        places_of([source])
    assert expected in line_of(error)

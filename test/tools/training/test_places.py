# SPDX-License-Identifier: Apache-2.0
"""Training places from every kind of source, and batches that a step alone decides."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import line_of

from ashtkd_ros.errors import VprError
from tools.training.data.places import Anchor, PlaceBatches, TrainingPlaces, read_places, summary


def photos(folder: Path, names: list[str]) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.zeros((8, 8, 3), np.uint8))


def index_set(folder: Path, rows: list[tuple[str, str]], orders: list | None = None) -> None:
    photos(folder, [file for file, _ in rows])
    orders = orders or range(len(rows))
    text = ''.join(f'{file},{place},,{o}\n' for (file, place), o in zip(rows, orders, strict=True))
    (folder / 'index.csv').write_text('file,place,role,order\n' + text)


def walk(folder: Path, xs: list[float], yaw: float = 0.0) -> Path:
    names = [f'{i}.png' for i in range(len(xs))]
    photos(folder, names)
    q = f'0,0,{math.sin(yaw / 2)},{math.cos(yaw / 2)}'
    rows = [f'{n},{i},{x},0,0,{q}\n' for i, (n, x) in enumerate(zip(names, xs, strict=True))]
    (folder / 'poses.csv').write_text('file,stamp,x,y,z,qx,qy,qz,qw\n' + ''.join(rows))
    return folder


def names(places: TrainingPlaces, anchor: int) -> list[str]:
    return sorted(places.pictures[i].path.name for i in places.anchors[anchor].pictures)


def test_neighbours_places_and_single_photos(tmp_path: Path):
    index_set(tmp_path / 'a_walk', [(f'{i}.png', 'east' if i < 3 else 'west') for i in range(5)])
    index_set(tmp_path / 'cams', [('x.png', 'one'), ('y.png', 'two'), ('z.png', 'one')])
    index_set(tmp_path / 'single', [('p.png', ''), ('q.png', '')])
    positives = {'a_walk': 'neighbours', 'cams': 'place'}
    places = read_places([{'kind': 'sets', 'path': tmp_path, 'positives': positives}])
    found = [names(places, i) for i in range(len(places.anchors))]
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


def neighbours(folder: Path, files: list[str], orders: list, radius: float = 1) -> list[list[str]]:
    index_set(folder / 'w', [(f, '') for f in files], orders)
    source = {'kind': 'sets', 'path': folder, 'positives': {'w': 'neighbours'}, 'radius': radius}
    places = read_places([source])
    return [names(places, i) for i in range(len(places.anchors))]


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
    places = read_places([{'kind': 'sets', 'path': tmp_path, 'positives': {'s': 'place'}}])
    found = [names(places, i) for i in range(len(places.anchors))]
    assert found == [['0.png'], ['1.png'], ['2.png', '3.png']]


def test_one_file_in_two_sources_is_one_picture_and_never_its_own_negative(tmp_path: Path):
    index_set(tmp_path / 'sets' / 's', [('0.png', ''), ('1.png', '')])
    (tmp_path / 'again').mkdir()
    (tmp_path / 'again' / 'place').symlink_to(tmp_path / 'sets' / 's')
    sources = [{'kind': 'sets', 'path': tmp_path / 'sets'}]
    sources += [{'kind': 'folders', 'path': tmp_path / 'again'}]
    places = read_places(sources)
    assert len(places.pictures) == 2 and len(places.anchors) == 3
    with pytest.raises(VprError):
        PlaceBatches(places, 2, 2, seed=0, domains={str(tmp_path / 'again'), 's'}).batch(0)


def test_walks_of_one_world_share_places_by_distance_and_heading(tmp_path: Path):
    day = walk(tmp_path / 'town' / 'day', [0, 2, 4, 6, 8, 10, 12])
    night = walk(tmp_path / 'town' / 'night', [1, 11.5])
    back = walk(tmp_path / 'town' / 'back', [0, 6], yaw=math.pi)
    places = read_places([{'kind': 'walks', 'paths': [day, night, back]}])
    assert [a.at[0] for a in places.anchors] == [0, 6, 12]
    assert [len(a.pictures) for a in places.anchors] == [3, 3, 3]
    assert {places.pictures[i].path.parent.name for i in places.anchors[0].pictures} == {
        'day',
        'night',
    }


def test_folders_and_gsv_tables(tmp_path: Path):
    photos(tmp_path / 'f', ['bridge/1.png', 'bridge/2.png', 'tower/1.png'])
    places = read_places([{'kind': 'folders', 'path': tmp_path / 'f'}])
    assert [names(places, i) for i in range(2)] == [['1.png', '2.png'], ['1.png']]

    file = 'Paris_0000007_2015_03_090_48.85_2.35_abc.jpg'
    photos(tmp_path / 'gsv', [f'Images/Paris/{file}', 'Images/other.png'])
    table = tmp_path / 'gsv' / 'Paris.csv'
    table.write_text(
        'place_id,year,month,northdeg,city_id,lat,lon,panoid\n'
        '7,2015,3,90,Paris,48.85,2.35,abc\n7,2016,4,91,Paris,48.85,2.35,gone\n'
    )
    source = {'kind': 'gsv', 'path': table, 'images': tmp_path / 'gsv' / 'Images'}
    places = read_places([source])
    assert names(places, 0) == [file]
    assert [p.name for p in places.skipped] == ['Paris_0000007_2016_04_091_48.85_2.35_gone.jpg']
    table.write_text('place,city,lat,lon,heading,file\n3,Rome,1,2,45,other.png\n')
    assert names(read_places([source]), 0) == ['other.png']


def gsv(folder: Path, rows: list[str]) -> TrainingPlaces:
    photos(folder, [f'{k}.png' for k in range(len(rows))])
    text = ''.join(f'{row},{k}.png\n' for k, row in enumerate(rows))
    (folder / 't.csv').write_text('place,city,lat,lon,heading,file\n' + text)
    return read_places([{'kind': 'gsv', 'path': folder / 't.csv', 'images': folder}])


def test_gsv_places_are_split_by_heading_and_apart_by_metres(tmp_path: Path):
    rows = ['1,Rome,41.9,12.5,350.0', '1,Rome,41.9,12.5,20', '1,Rome,41.9,12.5,90']
    rows += ['2,Rome,41.9002,12.5,0', '3,Rome,41.9,12.5004,0', '1,Oslo,59.9,10.7,0']
    places = gsv(tmp_path, rows)
    found = [names(places, i) for i in range(len(places.anchors))]
    assert found == [['0.png', '1.png'], ['2.png'], ['3.png'], ['4.png'], ['5.png']]
    assert places.anchors[2].at == pytest.approx((0, 22.2), abs=0.1)
    assert places.anchors[3].at == pytest.approx((33.2, 0), abs=0.1)
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
    places = read_places([{'kind': 'sets', 'path': tmp_path}])
    assert [p.name for p in places.skipped] == ['1.png'] and len(places.anchors) == 2
    bad = str((tmp_path / 's' / '0.png').resolve())
    rest = places.without({bad})
    assert [names(rest, i) for i in range(len(rest.anchors))] == [['2.png']]


def test_bad_sources_are_one_line(tmp_path: Path):
    (tmp_path / 'empty').mkdir()
    index_set(tmp_path / 'bad' / 's', [('0.png', '')])
    (tmp_path / 'bad' / 's' / 'index.csv').write_text('file,order\n0.png,0\n')
    index_set(tmp_path / 'good' / 's', [('0.png', '')])
    good, day = tmp_path / 'good', walk(tmp_path / 'town' / 'day', [0, 2])
    cases = [
        ({'kind': 'video'}, 'source kind video: unknown'),
        ({'kind': ['sets']}, 'unknown'),
        ({'kind': 'sets'}, "missing a required argument: 'path'"),
        ({'kind': 'sets', 'path': 3}, 'path is 3, it must be a path'),
        ({'kind': 'sets', 'path': tmp_path / 'gone'}, 'gone: no such folder'),
        ({'kind': 'folders', 'path': tmp_path / 'gone'}, 'gone: no such folder'),
        ({'kind': 'sets', 'path': good, 'weight': 0}, 'weight is 0, it must be a number above'),
        ({'kind': 'sets', 'path': good, 'weight': 'x'}, "weight is 'x', it must be a number"),
        ({'kind': 'sets', 'path': good, 'radius': True}, 'radius is True, it must be a number'),
        ({'kind': 'sets', 'path': good, 'positives': ['s']}, 'it must be a mapping'),
        ({'kind': 'sets', 'path': good, 'only': 's'}, "only is 's', it must be a list of sets"),
        (
            {'kind': 'sets', 'path': good, 'only': ['s', 'ss']},
            'only: no set is named ss; there are s',
        ),
        (
            {'kind': 'sets', 'path': good, 'positives': {'t': 'place'}},
            'positives: no set is named t; there are s',
        ),
        ({'kind': 'walks', 'paths': []}, 'paths is [], it must be a list of paths'),
        ({'kind': 'walks', 'paths': [day, good / 's']}, 's: has no poses'),
        ({'kind': 'gsv', 'path': tmp_path / 'gone.csv', 'images': good}, 'cannot be read'),
        (
            {'kind': 'sets', 'path': tmp_path / 'good', 'size': 3},
            "unexpected keyword argument 'size'",
        ),
        ({'kind': 'sets', 'path': tmp_path / 'empty'}, 'holds no place'),
        ({'kind': 'sets', 'path': tmp_path / 'bad'}, 'column place is missing'),
        (
            {'kind': 'sets', 'path': tmp_path / 'good', 'positives': {'s': 'x'}},
            'must be neighbours',
        ),
        ({'kind': 'walks', 'paths': [tmp_path / 'gone']}, 'no such folder'),
    ]
    for source, expected in cases:
        with pytest.raises(VprError) as error:
            read_places([source])
        assert expected in line_of(error)


@pytest.fixture
def places(tmp_path: Path) -> TrainingPlaces:
    """A walk of 60, and 20 single photos."""
    index_set(tmp_path / 'walk', [(f'{i}.png', '') for i in range(60)])
    index_set(tmp_path / 'single', [(f'{i}.png', f'p{i}') for i in range(20)])
    source = {'kind': 'sets', 'path': tmp_path, 'positives': {'walk': 'neighbours'}}
    return read_places([source])


def test_a_batch_is_decided_by_seed_and_step_alone(places: TrainingPlaces):
    draw = PlaceBatches(places, 6, 4, seed=3)
    seventh = PlaceBatches(places, 6, 4, seed=3).batch(7)
    assert [draw.batch(i) for i in range(8)][7] == seventh
    assert draw.batch(6) != seventh != PlaceBatches(places, 6, 4, seed=4).batch(7)


def test_batches_hold_p_places_surely_different_with_k_views(places: TrainingPlaces):
    draw = PlaceBatches(places, 5, 4, seed=0)
    for step in range(60):
        batch = draw.batch(step)
        anchors = [batch[i][2] for i in range(0, 20, 4)]
        assert len(set(anchors)) == 5
        assert [a for _, _, a in batch] == [a for a in anchors for _ in range(4)]
        at = [places.anchors[a].at[0] for a in anchors if places.anchors[a].domain == 'walk']
        assert all(abs(a - b) >= 10 for i, a in enumerate(at) for b in at[:i])
        for place in range(5):
            views = batch[4 * place : 4 * place + 4]
            pictures = places.anchors[anchors[place]].pictures
            assert {p for p, _, _ in views} == set(pictures)  # different pictures first
            assert len(set(views)) == min(4, 2 * len(pictures))


def test_domains_and_weights_decide_what_is_drawn(places: TrainingPlaces):
    only = PlaceBatches(places, 4, 2, seed=0, domains={'single'})
    drawn = {places.anchors[a].domain for s in range(20) for _, _, a in only.batch(s)}
    assert drawn == {'single'}
    places.weights['walk'] = 0.01
    draw = PlaceBatches(places, 4, 2, seed=0)
    walks = [places.anchors[a].domain == 'walk' for s in range(50) for _, _, a in draw.batch(s)]
    assert np.mean(walks) < 0.05
    with pytest.raises(VprError) as error:
        PlaceBatches(places, 4, 2, seed=0, domains={'moon'})
    assert 'domains: no set is named moon; there are single, walk' in line_of(error)
    with pytest.raises(VprError) as error:
        PlaceBatches(places, 40, 2, seed=0, domains={'walk'}).batch(0)
    assert 'no 40 places that are surely different' in line_of(error)


def test_a_domain_is_a_whole_name_or_a_folder_of_its_path(tmp_path: Path):
    for name in ('cmu8', 'cmu8b'):
        index_set(tmp_path / name, [(f'{i}.png', f'{i}') for i in range(3)])
    day = walk(tmp_path / 'towns' / '21' / 'day', [0, 20, 40])
    sources = [{'kind': 'sets', 'path': tmp_path}, {'kind': 'walks', 'paths': [day]}]
    places = read_places(sources)
    for domain, expected in (('cmu8', 'cmu8'), ('towns', str(tmp_path / 'towns' / '21'))):
        batch = PlaceBatches(places, 2, 2, seed=0, domains={domain}).batch(0)
        assert {places.anchors[a].domain for _, _, a in batch} == {expected}
    with pytest.raises(VprError) as error:
        PlaceBatches(places, 2, 2, seed=0, domains={'cmu8', 'cmu'})
    assert 'no set is named cmu; there are' in line_of(error)


@pytest.mark.parametrize(
    ('pictures', 'views_of_picture', 'views'),
    [(1, 2, 2), (1, 2, 4), (1, 3, 4), (2, 1, 4), (2, 2, 4), (3, 1, 4), (1, 2, 3), (2, 2, 8)],
)
def test_the_halves_of_a_place_share_no_view(pictures: int, views_of_picture: int, views: int):
    places = TrainingPlaces(anchors=[Anchor(tuple(range(pictures)), 'd', 'g')])
    draw = PlaceBatches(places, 1, views, seed=0, views_of_picture=views_of_picture)
    seen = set()
    for step in range(20):
        batch = draw.batch(step)
        database, query = set(batch[: views // 2]), set(batch[views // 2 :])
        assert len(batch) == views and not database & query
        seen |= database
    assert len(seen) == pictures * views_of_picture


def test_a_single_view_is_shown_in_both_halves():
    places = TrainingPlaces(anchors=[Anchor((0,), 'd', 'g')])
    assert PlaceBatches(places, 1, 4, seed=0, views_of_picture=1).batch(0) == [(0, 0, 0)] * 4

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
from tools.places import PlaceBatches, TrainingPlaces, read_places, summary


def photos(folder: Path, names: list[str]) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.zeros((8, 8, 3), np.uint8))


def index_set(folder: Path, rows: list[tuple[str, str]]) -> None:
    photos(folder, [file for file, _ in rows])
    text = ''.join(f'{file},{place},,{i}\n' for i, (file, place) in enumerate(rows))
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
    cases = [
        ({'kind': 'video'}, 'source kind video: unknown'),
        ({'kind': 'sets'}, 'missing 1 required'),
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
        ({'kind': 'walks', 'paths': [tmp_path / 'good' / 's']}, 'has no pose'),
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
    assert 'no place is of any of them' in line_of(error)
    with pytest.raises(VprError) as error:
        PlaceBatches(places, 40, 2, seed=0, domains={'walk'}).batch(0)
    assert 'no 40 places that are surely different' in line_of(error)

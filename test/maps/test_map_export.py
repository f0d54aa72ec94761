# SPDX-License-Identifier: Apache-2.0
"""Maps for other programs: each file is read again by a parser that is not ours to bend."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from conftest import change_place, line_of, unit_rows

from ashtkd_ros.errors import VprError
from ashtkd_ros.geometry.pose import Pose
from ashtkd_ros.geometry.pose_table import read_pose_table
from ashtkd_ros.maps.export import FORMATS, of_traverse
from ashtkd_ros.maps.place_map import Place, PlaceMap

KML = '{http://www.opengis.net/kml/2.2}'
ODD = [
    'plain',
    'a "quoted" one, with commas; and \'',
    'two\nlines\r\nand\ra return',
    'x < y & y > z ]]> <!-- -- -->',
    '\udcff not UTF-8 \udc80',
    'nul\0 bell\x07 escape\x1b[2J',
    '\ufffe\uffff\u202e\u2028 Küche 廚房 🍳',
    '=cmd|calc!A0',
    ' spaces ',
    '',
]
ORIGIN = {'lat': 48.1, 'lon': 11.5, 'alt': 520.0}


def map_of(network, places: list[Place], **built: object) -> PlaceMap:
    return PlaceMap.build(unit_rows(len(places), 4), places, network, **built)


@pytest.fixture
def campus(fake_network) -> PlaceMap:
    """Two traverses of five places; place 3 has two looks, and the frame an origin."""
    places = [
        Place(i, 10.0 + i, i, Pose(10.0 * i, 5.0, 0.0), f'{i}.jpg', f'room {i}') for i in range(5)
    ]
    places += [
        Place(i, 90.0 + i, i, Pose(10.0 * i, 5.5, 0.0), f'n{i}.jpg', traverse=1) for i in (3, 7)
    ]
    traverses = [{'source': '/home/me/bags/day'}, {'source': '/home/me/bags/night/'}]
    return map_of(fake_network, places, traverses=traverses, origin=ORIGIN)


def named(network, labels: list[str]) -> PlaceMap:
    """A map with these labels and sources."""
    return map_of(
        network,
        [
            Place(i, i / 3, i, Pose(i, 0, 0), text, text, geo=(48.0, 11.0 + i / 100))
            for i, text in enumerate(labels)
        ],
        traverses=[{'source': '/bags/day'}],
    )


def features(place_map: PlaceMap) -> dict[str, list[dict]]:
    def refuse(text: str):
        raise AssertionError(f'{text} is no JSON')

    found = json.loads(
        FORMATS['geojson'].write(place_map).data.decode('utf-8'), parse_constant=refuse
    )
    assert found['type'] == 'FeatureCollection'
    kinds: dict[str, list[dict]] = {'place': [], 'traverse': []}
    for feature in found['features']:
        assert feature['type'] == 'Feature' and {'geometry', 'properties'} <= set(feature)
        kinds[feature['properties']['kind']].append(feature)
    return kinds


def test_geojson_has_a_point_a_place_and_a_line_a_traverse(campus: PlaceMap):
    found = features(campus)
    assert [f['id'] for f in found['place']] == [0, 1, 2, 3, 4, 7]
    third = found['place'][3]
    assert third['properties']['pictures'] == 2 and third['properties']['label'] == 'room 3'
    assert third['geometry']['type'] == 'Point'
    lon, lat = third['geometry']['coordinates']
    back = campus.info.origin.to_enu(np.array([[lat, lon, ORIGIN['alt']]]))[0]
    assert back[:2] == pytest.approx([30.0, 5.0], abs=1e-3)
    lines = [f['geometry'] for f in found['traverse']]
    assert [g['type'] for g in lines] == ['LineString'] * 2
    assert [len(g['coordinates']) for g in lines] == [5, 2]
    names = [f['properties']['source'] for f in found['traverse']]
    assert names == ['day', 'night'], 'whose home it was is nobody else to know'


def test_measured_coordinates_come_before_those_of_the_pose(campus: PlaceMap):
    change_place(campus, 0, geo=(-33.0, 151.0))
    assert features(campus)['place'][0]['geometry']['coordinates'] == [151.0, -33.0]


def test_places_without_coordinates_are_left_out_and_counted(fake_network):
    places = [Place(i, i, i, None, str(i), geo=(48.0, 11.0) if i else None) for i in range(3)]
    made = FORMATS['geojson'].write(map_of(fake_network, places))
    assert len(json.loads(made.data)['features']) == 3  # two places and a line
    assert made.notes == ['1 place without coordinates left out']


@pytest.mark.parametrize('kind', ['geojson', 'kml'])
def test_a_map_that_is_nowhere_on_earth_is_one_line(built: PlaceMap, kind: str):
    with pytest.raises(VprError) as error:
        FORMATS[kind].write(built)
    assert 'latitude' in line_of(error) and 'csv or tum' in line_of(error)


@pytest.mark.parametrize('east', [True, False])
def test_lines_across_the_180th_meridian_are_cut_there(fake_network, east: bool):
    longitudes = [179.0, 179.5, -179.5, 181.0, 359.0 - 180.5]
    geo = [(10.0 + i, lon if east else -lon) for i, lon in enumerate(longitudes)]
    places = [Place(i, i, i, None, str(i), geo=at) for i, at in enumerate(geo)]
    (line,) = features(map_of(fake_network, places))['traverse']
    assert line['geometry']['type'] == 'MultiLineString'
    parts = line['geometry']['coordinates']
    points = [point for part in parts for point in part]
    assert all(abs(lon) <= 180 and abs(lat) <= 90 for lon, lat in points)
    for part in parts:
        assert len(part) >= 2
        assert max(abs(a[0] - b[0]) for a, b in zip(part, part[1:], strict=False)) < 2
    edge = 180.0 if east else -180.0
    assert parts[0][-1] == [edge, 11.5] and parts[1][0] == [-edge, 11.5]


def test_kml_is_what_a_parser_reads(campus: PlaceMap):
    root = ElementTree.fromstring(FORMATS['kml'].write(campus).data)
    assert root.tag == f'{KML}kml'
    marks = root.findall(f'{KML}Document/{KML}Placemark')
    points = [m for m in marks if m.find(f'{KML}Point') is not None]
    assert [m.findtext(f'{KML}name') for m in points] == [
        *(f'room {i}' for i in range(5)),
        'place 7',
    ]
    lines = [m.findall(f'.//{KML}LineString/{KML}coordinates') for m in marks[len(points) :]]
    assert [len(line[0].text.split()) for line in lines] == [5, 2]
    lon, lat = points[0].findtext(f'{KML}Point/{KML}coordinates').split(',')
    assert float(lon) == pytest.approx(11.5) and float(lat) == pytest.approx(48.1, abs=1e-3)
    facts = {d.get('name'): d.findtext(f'{KML}value') for d in points[3].iter(f'{KML}Data')}
    assert facts['id'] == '3' and facts['pictures'] == '2' and float(facts['x']) == 30.0


def test_csv_has_a_row_a_picture(campus: PlaceMap):
    rows = list(csv.DictReader(io.StringIO(FORMATS['csv'].write(campus).data.decode())))
    assert [row['id'] for row in rows] == ['0', '1', '2', '3', '4', '3', '7']
    assert (rows[5]['traverse'], rows[5]['source'], rows[5]['stamp']) == ('1', 'n3.jpg', '93.0')
    assert float(rows[3]['x']) == 30.0 and float(rows[0]['latitude']) > 48.1


def test_csv_leaves_empty_what_is_not_known(fake_network):
    places = [Place(i, i, i, None, str(i)) for i in range(2)]
    rows = csv.DictReader(
        io.StringIO(FORMATS['csv'].write(map_of(fake_network, places)).data.decode())
    )
    assert {row[c] for row in rows for c in ('x', 'qw', 'latitude', 'longitude')} == {''}


def test_tum_is_what_our_own_reader_reads(campus: PlaceMap, tmp_path: Path):
    change_place(campus, 1, pose=None)
    made = FORMATS['tum'].write(campus)
    path = tmp_path / 'poses.tum'
    path.write_bytes(made.data)
    found = read_pose_table(path)
    kept = np.array([0, 2, 3, 4, 5, 6])
    assert np.array_equal(found.stamps, campus.places.stamps[kept])
    assert np.array_equal(found.poses, campus.places.poses[kept])
    assert not found.refused and made.notes == ['1 picture without a pose left out']


def test_tum_of_places_that_are_minutes_apart_is_read_as_seconds(fake_network, tmp_path: Path):
    places = [Place(k, 15.0 * k, k, Pose(float(k), 0.0, 0.0), str(k)) for k in range(9)]
    made = FORMATS['tum'].write(map_of(fake_network, places))
    (tmp_path / 'poses.tum').write_bytes(made.data)
    found = read_pose_table(tmp_path / 'poses.tum')
    assert found.stamps.tolist() == [15.0 * k for k in range(9)]


def test_tum_of_traverses_at_the_same_time_is_no_path(campus: PlaceMap, tmp_path: Path):
    change_place(campus, 5, stamp=11.5)
    with pytest.raises(VprError) as error:
        FORMATS['tum'].write(campus)
    assert '--traverse 0' in line_of(error)
    assert FORMATS['tum'].write(of_traverse(campus, 0)).data.count(b'\n') == 2 + 5
    with pytest.raises(VprError, match='those of 0, 1'):
        of_traverse(campus, 2)


def test_tum_without_poses_is_one_line(fake_network):
    with pytest.raises(VprError) as error:
        FORMATS['tum'].write(map_of(fake_network, [Place(0, 0, 0, None, 'a')]))
    assert 'no place has a pose' in line_of(error)


def test_odd_labels_are_sound_in_every_format(fake_network, tmp_path: Path):
    place_map = named(fake_network, ODD)
    told = [f['properties']['label'] for f in features(place_map)['place']]
    sound = [text.encode('utf-8', 'replace').decode() for text in ODD]
    assert [t.replace('\ufffd', '?') for t in told] == sound
    assert not any('\ud800' <= c <= '\udfff' for c in ''.join(told))
    root = ElementTree.fromstring(FORMATS['kml'].write(place_map).data)
    names = [n.text for n in root.iter(f'{KML}name')][1 : len(ODD) + 1]
    assert names[1] == ODD[1] and names[3] == ODD[3] and names[-1] == 'place 9'
    assert names[2] == 'two lines\\r and\\ra return' and 'Küche 廚房 🍳' in names[6]
    text = FORMATS['csv'].write(place_map).data.decode('utf-8').replace('\0', '')
    rows = list(csv.reader(io.StringIO(text, newline=''), strict=True))
    assert len(rows) == 1 + len(ODD) and {len(row) for row in rows} == {14}
    assert [row[1] for row in rows[1:3]] == ODD[:2] and rows[3][1] == ODD[2]


@pytest.mark.parametrize('kind', FORMATS)
def test_the_same_map_gives_the_same_bytes(rich: Path, kind: str):
    first, second = (FORMATS[kind].write(PlaceMap.load(rich)).data for _ in range(2))
    assert first == second


@pytest.mark.parametrize('kind', FORMATS)
def test_a_file_of_ours_is_known_and_no_other(campus: PlaceMap, kind: str):
    data = {name: f.write(campus).data for name, f in FORMATS.items()}
    assert FORMATS[kind].is_ours(data[kind])
    foreign = [d for name, d in data.items() if name != kind]
    foreign += [b'{"type": "FeatureCollection", "features": []}', b'id,label\n0,hall\n', b'\xff']
    foreign += [b'{"generator": "other"}', b'{"generator": []}', b'[]', b'1.0 0 0 0 0 0 0 1\n']
    foreign += [b'<?xml version="1.0" encoding="UTF-8"?>\n<kml></kml>', b'stamp x y z\n']
    assert not any(FORMATS[kind].is_ours(d) for d in foreign)


def test_a_map_without_a_folder_or_traverses_is_written_too(campus: PlaceMap):
    campus.info = replace(campus.info, built={'origin': ORIGIN})
    assert all(f.write(campus).data for f in FORMATS.values())


pytest_plugins = ['map_fixtures']

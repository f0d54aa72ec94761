# SPDX-License-Identifier: Apache-2.0
"""Walk folders and index sets: what is read, in what order, and what is refused with one line."""

from __future__ import annotations

import math
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import line_of

from ashtkd_ros.errors import VprError
from ashtkd_ros.geometry.pose import Pose
from ashtkd_ros.images.image_file import read_image
from ashtkd_ros.traverses.image_folder import read_source

HEADER = 'file,stamp,x,y,z,qx,qy,qz,qw'
GOOD = 'a.jpg,0.0,1,2,3,0,0,0,1'


def walk(folder: Path, *rows: str, header: str = HEADER, images: tuple[str, ...] = ('a.jpg',)):
    """Write a walk folder."""
    folder.mkdir(exist_ok=True)
    (folder / 'poses.csv').write_text('\n'.join((header, *rows)) + '\n')
    for name in images:
        cv2.imwrite(str(folder / name), np.zeros((4, 6, 3), np.uint8))
    return folder


def index(folder: Path, *rows: str, header: str = 'file,place,role,order'):
    """Write an index set whose files all exist."""
    folder.mkdir(exist_ok=True)
    (folder / 'index.csv').write_text('\n'.join((header, *rows)) + '\n')
    for row in rows:
        (folder / row.split(',')[0]).touch()
    return folder


def test_walk_gives_poses_stamps_and_paths(tmp_path: Path):
    frame = read_source(walk(tmp_path / 'w', 'a.jpg,12.5,1,-2,3,0,0,0.6,0.8'))[0]
    assert frame.file == tmp_path / 'w' / 'a.jpg'
    assert (frame.stamp, frame.order, frame.label) == (12.5, 0, '')
    assert frame.pose == Pose(1.0, -2.0, 3.0, 0.0, 0.0, 0.6, 0.8)
    assert frame.read().shape == (4, 6, 3)


def test_shipped_walks_are_read_whole(town: Path):
    for name in ('day', 'dusk'):
        frames = read_source(town / name)
        assert len(frames) == len(list((town / name / 'images').iterdir())) > 50
        assert all(a.stamp < b.stamp for a, b in zip(frames, frames[1:], strict=False))


def test_walk_is_ordered_by_time_and_numbered_along_it(tmp_path: Path):
    rows = ('b.jpg,2.0,2,0,0,0,0,0,1', 'c.jpg,10.0,3,0,0,0,0,0,1', 'a.jpg,1.0,1,0,0,0,0,0,1')
    frames = read_source(walk(tmp_path / 'w', *rows, images=('a.jpg', 'b.jpg', 'c.jpg')))
    assert [f.file.name for f in frames] == ['a.jpg', 'b.jpg', 'c.jpg']
    assert [f.order for f in frames] == [0, 1, 2]


def test_walk_needs_no_more_than_file_stamp_and_position(tmp_path: Path):
    frame = read_source(walk(tmp_path / 'w', 'a.jpg,0,4,5', header='file,stamp,x,y'))[0]
    assert frame.pose == Pose(4.0, 5.0, 0.0)


@pytest.mark.parametrize('name', ['yaw', 'q_w'])
def test_walk_tells_which_heading_is_not_read(tmp_path: Path, name: str):
    notes = []
    read_source(
        walk(tmp_path / 'w', 'a.jpg,0,4,5,1', header=f'file,stamp,x,y,{name}'), notes=notes
    )
    assert [n.startswith(f'{name} is not read') for n in notes] == [True]


def test_byte_order_mark_of_a_spreadsheet_is_no_part_of_the_header(tmp_path: Path):
    folder = walk(tmp_path / 'w', GOOD)
    text = (folder / 'poses.csv').read_text()
    (folder / 'poses.csv').write_text(text, encoding='utf-8-sig')
    assert len(read_source(folder)) == 1


def test_index_selects_rows_by_role(tmp_path: Path):
    folder = index(tmp_path / 'i', 'a.jpg,x,database,0', 'b.jpg,x,query,0', 'c.jpg,y,query,1')
    assert [f.file.name for f in read_source(folder, 'query')] == ['b.jpg', 'c.jpg']
    assert [f.label for f in read_source(folder, 'query')] == ['x', 'y']
    assert len(read_source(folder)) == 3


@pytest.mark.parametrize(
    'orders',
    [('2', '10', '1'), ('2.5', '10.5', '1'), ('b', 'c', 'a'), ('7', 'x', '-3')],
    ids=['integers', 'decimals', 'text', 'numbers before text'],
)
def test_index_is_ordered_by_number_where_it_is_one(tmp_path: Path, orders: tuple[str, ...]):
    rows = [f'{name}.jpg,p,,{order}' for name, order in zip('bca', orders, strict=True)]
    frames = read_source(index(tmp_path / 'i', *rows))
    assert [f.file.stem for f in frames] == ['a', 'b', 'c']
    assert [f.stamp for f in frames] == [0.0, 1.0, 2.0]


def test_index_place_that_is_a_number_counts_frames_of_the_route(tmp_path: Path):
    folder = index(tmp_path / 'i', 'a.jpg,40,,0', 'b.jpg,42,,1', 'c.jpg,\u00b2,,2')
    assert [f.order for f in read_source(folder)] == [40, 42, 2]


@pytest.mark.parametrize(
    ('heading', 'yaw'), [(0, 90), (90, 0), (180, -90), (270, 180), (45, 45), (-45, 135)]
)
def test_compass_heading_becomes_yaw_counter_clockwise_from_east(
    tmp_path: Path, heading: float, yaw: float
):
    header = 'file,place,role,order,east_m,north_m,heading_deg'
    folder = index(tmp_path / 'i', f'a.jpg,p,,0,12.5,-3,{heading}', header=header)
    pose = read_source(folder)[0].pose
    assert (pose.x, pose.y, pose.z) == (12.5, -3.0, 0.0)
    turn = (math.degrees(pose.yaw) - yaw + 180) % 360 - 180
    assert turn == pytest.approx(0, abs=1e-9)
    assert math.hypot(pose.qz, pose.qw) == pytest.approx(1)


def test_index_without_positions_has_no_poses(tmp_path: Path):
    assert read_source(index(tmp_path / 'i', 'a.jpg,p,,0'))[0].pose is None


def test_real_index_sets_are_read(shared: Path):
    corridor = shared / 'data' / 'val' / 'corridor'
    for role in ('database', 'query'):
        frames = read_source(corridor, role)
        assert len(frames) > 100 and all(f.label.isdigit() for f in frames)
        assert [f.order for f in frames] == sorted(f.order for f in frames)
    assert all(f.pose is not None for f in read_source(shared / 'data/val/cambridge_streets'))


REFUSED = {
    'missing column': ((GOOD,), 'file,stamp,x,z,y2,qx,qy,qz,qw', 'the column y is missing'),
    'NaN pose': (('a.jpg,0,1,nan,3,0,0,0,1',), HEADER, 'poses.csv:2: y is "nan"'),
    'infinite pose': (('a.jpg,0,inf,2,3,0,0,0,1',), HEADER, 'x is "inf"'),
    'word for a number': ((GOOD, 'a.jpg,0,1,2,3,0,0,here,1'), HEADER, 'poses.csv:3: qz is "here"'),
    'word for a stamp': (('a.jpg,noon,1,2,3,0,0,0,1',), HEADER, 'stamp is "noon"'),
    'no stamp': (('a.jpg,,1,2,3,0,0,0,1',), HEADER, 'stamp is ""'),
    'quaternion not of length 1': (('a.jpg,0,1,2,3,0,0,1,1',), HEADER, 'length 1.41,'),
    'quaternion of zeros': (('a.jpg,0,1,2,3,0,0,0,0',), HEADER, 'length 0,'),
    'file not there': (('gone.jpg,0,1,2,3,0,0,0,1',), HEADER, 'gone.jpg: listed in the CSV'),
    'no file name': ((',0,1,2,3,0,0,0,1',), HEADER, 'listed in the CSV but not there'),
    'no row': ((), HEADER, 'lists no image'),
    'row cut in a needed column': (('a.jpg,0,1',), HEADER, 'poses.csv:2: the row has too few'),
    'row cut in the quaternion': (('a.jpg,0,1,2,3,0',), HEADER, 'too few columns'),
    'nothing at all': ((), '', 'are missing'),
}


@pytest.mark.parametrize('case', REFUSED)
def test_bad_walk_is_refused_with_one_line(tmp_path: Path, case: str):
    rows, header, expected = REFUSED[case]
    with pytest.raises(VprError) as error:
        read_source(walk(tmp_path / 'w', *rows, header=header))
    assert expected in line_of(error) and str(tmp_path / 'w') in str(error.value)


@pytest.mark.parametrize('name', ['images\\é.jpg', 'images/É.JPG', 'images/e\u0301.jpg'])
def test_a_file_of_nearly_the_name_is_named(tmp_path: Path, name: str):
    folder = walk(tmp_path / 'w', f'{name},0,4,5', header='file,stamp,x,y')
    (folder / 'images').mkdir(exist_ok=True)
    (folder / 'images' / 'é.jpg').touch()
    with pytest.raises(VprError) as error:
        read_source(folder)
    assert f'(there is {folder}/images/é.jpg)' in str(error.value)


def test_missing_folder_is_named(tmp_path: Path):
    with pytest.raises(VprError) as error:
        read_source(tmp_path / 'nowhere')
    assert line_of(error) == f'{tmp_path / "nowhere"}: no such folder or file; correct its path'


def test_folder_without_csv_is_told_which_to_add(tmp_path: Path):
    cv2.imwrite(str(tmp_path / 'a.jpg'), np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(VprError) as error:
        read_source(tmp_path)
    assert 'neither poses.csv' in line_of(error) and 'index.csv' in line_of(error)


def test_binary_garbage_as_csv_is_refused(tmp_path: Path):
    garbage = np.random.default_rng(0).integers(0, 256, 4000, dtype=np.uint8).tobytes()
    for data in (garbage, b'\0' * 100, b'file,stamp,x,y\n\xff\xfe,0,0,0\n'):
        (tmp_path / 'poses.csv').write_bytes(data)
        with pytest.raises(VprError) as error:
            read_source(tmp_path)
        assert 'poses.csv' in line_of(error)


@pytest.mark.parametrize(
    ('database', 'query'),
    [
        ('train', 'test'),
        ('database_day', 'query_dusk'),
        ('database images', 'Query images'),
        ('mapping', 'localization'),
        ('Map1', 'queries2'),
        ('db', 'q'),
        ('anything', 'Test night'),
        ('training', 'else'),
    ],
)
def test_roles_are_known_by_how_they_begin(tmp_path: Path, database: str, query: str) -> None:
    folder = index(tmp_path / 'i', f'a.jpg,x,{database},0', f'b.jpg,x,{query},1')
    for purpose, name in (('map', 'a.jpg'), ('query', 'b.jpg')):
        frames = read_source(folder, '', [], purpose)
        assert [frame.file.name for frame in frames] == [name]
    for role in (query, query.upper(), f' {query.title()}'):
        assert [frame.file.name for frame in read_source(folder, role)] == ['b.jpg']


def test_the_surest_roles_are_taken_and_their_case_where_it_matters(tmp_path: Path) -> None:
    rows = [f'{n}.jpg,x,{r},{n}' for n, r in enumerate(('train', 'Database', 'test', 'query'))]
    folder = index(tmp_path / 'i', *rows)
    for purpose, name in (('map', '1.jpg'), ('query', '3.jpg')):
        assert [f.file.name for f in read_source(folder, '', [], purpose)] == [name]
    folder = index(tmp_path / 'j', 'a.jpg,x,Day,0', 'b.jpg,x,day,1')
    assert [frame.file.name for frame in read_source(folder, 'Day')] == ['a.jpg']


def test_role_without_rows_is_named(tmp_path: Path):
    folder = index(tmp_path / 'i', 'a.jpg,x,database,0')
    with pytest.raises(VprError) as error:
        read_source(folder, 'query')
    assert 'lists no image with role "query"; its roles are database' in line_of(error)


def test_index_with_bad_position_is_refused(tmp_path: Path):
    header = 'file,place,role,order,east_m,north_m,heading_deg'
    folder = index(tmp_path / 'i', 'a.jpg,p,,0,1.0,,90', header=header)
    with pytest.raises(VprError) as error:
        read_source(folder)
    assert 'index.csv:2: north_m is ""' in line_of(error)


def _png_that_claims(side: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        check = struct.pack('>I', zlib.crc32(kind + data))
        return struct.pack('>I', len(data)) + kind + data + check

    head = struct.pack('>IIBBBBB', side, side, 8, 2, 0, 0, 0)
    pixels = chunk(b'IDAT', zlib.compress(bytes(100)))
    return b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', head) + pixels + chunk(b'IEND', b'')


@pytest.mark.parametrize('case', ['missing', 'empty', 'garbage', 'folder', 'absurd size'])
def test_image_that_cannot_be_read_is_named(tmp_path: Path, case: str):
    path = tmp_path / 'a.png'
    if case == 'folder':
        path.mkdir()
    elif case != 'missing':
        contents = {'empty': b'', 'garbage': b'not an image' * 50}
        path.write_bytes(contents.get(case) or _png_that_claims(40_000))
    if case == 'empty':
        path.write_bytes(b'')
    with pytest.raises(VprError) as error:
        read_image(path)
    assert line_of(error).startswith(f'{path}: not a readable image')


def test_image_is_rgb_whatever_the_file_holds(tmp_path: Path):
    red = np.zeros((4, 6, 3), np.uint8)
    red[..., 2] = 200  # OpenCV writes BGR
    alpha = np.dstack([red, np.full((4, 6), 255, np.uint8)])
    for image, pixel in ((red, (200, 0, 0)), (alpha, (200, 0, 0)), (red[..., 2], (200,) * 3)):
        cv2.imwrite(str(tmp_path / 'a.png'), image)
        read = read_image(tmp_path / 'a.png')
        assert read.shape == (4, 6, 3) and read.dtype == np.uint8
        assert tuple(read[1, 2]) == pixel

# SPDX-License-Identifier: Apache-2.0
"""Places as columns: what goes in comes out, and odd bytes end in one sentence."""

from __future__ import annotations

import io
import math
import random
import zipfile
from dataclasses import replace

import numpy as np
import pytest

from ashtkd_ros.geometry.pose import Pose
from ashtkd_ros.maps.places import Place, Places
from ashtkd_ros.maps.places_file import read_columns, write_columns
from ashtkd_ros.maps.places_table import read_table, write_table

PLACES = [
    Place(7, 1.5, 3, Pose(1.0, 2.0, 3.0, 0.0, 0.0, 0.6, 0.8), 'images/ü.jpg', 'hall', 0),
    Place(2, 2.5, 4, None, 'b\udcff.jpg', '', 1, (48.1, -11.5), 'ab' * 32),
    Place(7, 0.1, 9, Pose(5.0, 0.0, 0.0), '', 'hall', 1, None),
]


def test_columns_hold_every_value_of_every_place():
    columns = Places.of(PLACES)
    assert list(columns) == PLACES and [p.row for p in columns] == [0, 1, 2]
    assert columns[-1] == PLACES[2] and columns[1:] == PLACES[1:]
    assert columns.posed.tolist() == [True, False, True] and not columns.all_posed
    assert columns.yaws[0] == pytest.approx(PLACES[0].pose.yaw)
    assert columns.has_experiences and columns.rows_of(7).tolist() == [0, 2]
    assert columns.first_rows == {7: 0, 2: 1} and columns.names[0] == columns.names[2]
    with pytest.raises(IndexError):
        columns[3]


@pytest.mark.parametrize('through', [(write_columns, read_columns), (write_table, read_table)])
def test_files_hold_every_value_and_the_same_bytes(through):
    write, read = through
    data = write(Places.of(PLACES))
    assert read(data) == PLACES and write(read(data)) == data


def test_numpy_reads_the_file():
    with np.load(io.BytesIO(write_columns(Places.of(PLACES))), allow_pickle=False) as columns:
        assert columns['ids'].tolist() == [7, 2, 7] and columns['poses'].shape == (3, 7)


@pytest.mark.parametrize(
    'values',
    [
        {'id': -1},
        {'id': 2**60},
        {'stamp': math.nan},
        {'stamp': 1e21},
        {'order': 2**60},
        {'traverse': -1},
        {'source': 'x' * 20_000},
        {'geo': (91.0, 0.0)},
        {'geo': (1.0, math.nan)},
        {'pose': Pose(1e9, 0.0, 0.0)},
        {'pose': Pose(math.nan, 0.0, 0.0)},
        {'pose': Pose(0.0, 0.0, 0.0, qw=0.5)},
        {'pose': Pose(0.0, 0.0, 0.0, qw=math.nan)},
        {'thumbnail': 'AB' * 32},
        {'id': 2**70},
    ],
)
def test_values_out_of_range_are_refused_by_both_files(values: dict):
    for write in (write_columns_checked, write_table):
        with pytest.raises(ValueError):
            write([PLACES[1], replace(PLACES[0], **values)])


def write_columns_checked(places: list[Place]) -> bytes:
    data = write_columns(Places.of(places))
    read_columns(data)
    return data


def test_odd_bytes_end_in_a_sentence_or_in_sound_places():
    data, choose, refused = write_columns(Places.of(PLACES)), random.Random(1), 0
    for _ in range(600):
        odd = bytearray(data)
        for _ in range(choose.choice([1, 1, 3])):
            odd[choose.randrange(len(odd))] = choose.randrange(256)
        odd = odd[: choose.choice([len(odd)] * 9 + [choose.randrange(len(odd))])]
        try:
            read_columns(bytes(odd)).check()
        except ValueError:
            refused += 1
    assert refused > 400


def entries(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def packed(files: dict[str, bytes], kind: int = zipfile.ZIP_STORED) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, 'w', kind) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return data.getvalue()


def array(values: np.ndarray) -> bytes:
    data = io.BytesIO()
    np.save(data, values)
    return data.getvalue()


@pytest.mark.parametrize(
    'changed',
    [
        {'ids.npy': array(np.arange(4))},
        {'ids.npy': array(np.zeros(3))},
        {'ids.npy': array(np.int64(3))},
        {'poses.npy': array(np.zeros((3, 6)))},
        {'labels_ends.npy': array(np.array([8, 4, 8]))},
        {'labels_ends.npy': array(np.array([-4, 4, 8]))},
        {'labels_ends.npy': array(np.array([4, 4, 9]))},
        {'labels.npy': array(np.array([[1]], np.uint8))},
        {'more.npy': array(np.zeros(3))},
        {'ids.npy': array(np.array([{}, 1, 2], object))},
    ],
)
def test_columns_of_another_shape_are_refused(changed: dict[str, bytes]):
    with pytest.raises(ValueError):
        read_columns(packed({**entries(write_columns(Places.of(PLACES))), **changed}))


def test_compressed_columns_are_refused_before_they_grow():
    files = entries(write_columns(Places.of(PLACES))) | {'ids.npy': array(np.zeros(10**7, int))}
    with pytest.raises(ValueError, match='compressed'):
        read_columns(packed(files, zipfile.ZIP_DEFLATED))

# SPDX-License-Identifier: Apache-2.0
"""Values that no map holds, and what costs more than it says, refused at once."""

from __future__ import annotations

import hashlib
import math
import os
import shutil
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import places_along_x, unit_rows
from map_fixtures import TRIES
from test_map_damage import one_line

from ashtkd_ros.errors import VprError
from ashtkd_ros.geometry.pose import Pose
from ashtkd_ros.maps.place_map import Place, PlaceMap
from ashtkd_ros.maps.places_table import read_table, write_table

pytest_plugins = ['map_fixtures']

YAMLS_THAT_COST = {
    'base 60': b'z: ' + b':'.join([b'1'] * 400_000),
    'lists': b'z: [' + b'[],' * 1_000_000 + b']',
    'aliases': b'a: &a [1]\nb: *a',
    'twice': b'frame: map\nframe: odom',
    'merged': b'<<: {frame: odom}',
    'no number': b'frame: !!int ""',
    'no truth': b'frame: !!bool x',
    'no date': b'frame: !!timestamp x',
    'no float': b'frame: !!float ""',
    'sign': b'frame: !!int "-"',
    'object': b'frame: !!python/object/apply:os.getcwd []',
    'set': b'frame: !!set [1]',
    'pairs': b'frame: !!omap [1]',
    'binary': b'frame: !!binary "\xc3\xa4"',
    'no UTF-8': b'frame: \xff',
    'deep': b'[' * 5000,
}


@pytest.mark.parametrize('kind', YAMLS_THAT_COST)
def test_yaml_that_costs_or_is_no_plain_value_is_refused_at_once(rich: Path, kind: str):
    text = (rich / 'map.yaml').read_bytes().rpartition(b'checksum: ')[0]
    for data in (YAMLS_THAT_COST[kind], text + YAMLS_THAT_COST[kind] + b'\n'):
        data += b'\nchecksum: ' + hashlib.sha256(data + b'\n').hexdigest().encode() + b'\n'
        (rich / 'map.yaml').write_bytes(data)
        started = time.monotonic()
        with pytest.raises(VprError) as error:
            PlaceMap.load(rich)
        assert one_line(error) and 'rebuild the map' in str(error.value)
        assert time.monotonic() - started < 20


@pytest.mark.parametrize('frame', ['', ' ', 'map ', ' map', 'x' * 257, 'a\nb'])
def test_a_frame_that_is_no_name_is_refused(rich: Path, frame: str):
    place_map = PlaceMap.load(rich)
    place_map.info = replace(place_map.info, frame=frame)
    with pytest.raises(VprError, match='frame is not a name'):
        place_map.save(rich)


@pytest.mark.parametrize('number', ['nan', 'inf', '1_0', ' 1', '\u0661', '0x1', '1e9999', ''])
def test_numbers_of_the_table_are_plain(number: str):
    place = Place(0, 1.0, 0, Pose(1.0, 2.0, 3.0), 'a.jpg')
    row = write_table([place]).decode().replace('1.0,1.0', f'{number},1.0')
    with pytest.raises(ValueError):
        read_table(row.encode())


def test_map_info_has_no_false_alarm_while_a_map_is_replaced(rich: Path):
    """With the pictures, which belong to one of the two maps."""
    first = PlaceMap.load(rich)
    pictures = rich.parent / 'others'
    pictures.mkdir()
    places = []
    for place in first.places:
        data = b'another picture %d' % place.id
        (pictures / f'{place.id:06d}.jpg').write_bytes(data)
        places.append(replace(place, thumbnail=hashlib.sha256(data).hexdigest()))
    second = PlaceMap(first.index, places, first.info)
    kept = rich.parent / 'kept'
    shutil.copytree(rich / 'thumbnails', kept)
    stop = threading.Event()

    def save_in_turns() -> None:
        while not stop.is_set():
            second.save(rich, pictures)
            first.save(rich, kept)

    saver = threading.Thread(target=save_in_turns)
    saver.start()
    try:
        for _ in range(math.ceil(200 * TRIES)):
            assert len(PlaceMap.load(rich, pictures=True).places) == len(places)
    finally:
        stop.set()
        saver.join()


@pytest.mark.parametrize('name', ['index.faiss', 'places.csv'])
def test_a_file_that_has_grown_beyond_what_the_map_says_is_not_read(rich: Path, name: str):
    os.truncate(rich / name, 2**36)  # sparse: reading it would take all memory
    with pytest.raises(VprError) as error:
        PlaceMap.load(rich)
    said = {'index.faiss': 'has 68719476736 bytes, but ', 'places.csv': 'holds more than'}
    assert one_line(error) and said[name] in str(error.value)


def test_a_map_whose_places_are_all_alike_is_warned_of(rich: Path, fake_network):
    rows = np.tile(unit_rows(1, 4), (5, 1))
    PlaceMap.build(rows, places_along_x(range(5)), fake_network).save(rich.parent / 'same')
    (warning,) = PlaceMap.load(rich.parent / 'same').warnings
    assert 'all places have the same descriptor' in warning
    assert PlaceMap.load(rich).warnings == []

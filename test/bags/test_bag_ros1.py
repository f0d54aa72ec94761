# SPDX-License-Identifier: Apache-2.0
"""ROS 1 bags without an index, cut or at work are read as far as they go."""

from __future__ import annotations

import gc
import os
import random
import shutil
import struct
from pathlib import Path

import pytest
from bag_helpers import write_bag
from test_bags import TOPIC, contents, records, refused

from ashtkd_ros.bags import ros1 as bag_ros1
from ashtkd_ros.bags import unpacking as bag_scratch
from ashtkd_ros.bags.bag import Bag
from ashtkd_ros.bags.bag_names import is_bag
from ashtkd_ros.errors import VprError

COMPRESSIONS = ['none', 'bz2', 'lz4']


@pytest.fixture(scope='module')
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bag(tmp_path_factory.mktemp('bags') / 'plain', records=records())


@pytest.fixture(scope='module', params=COMPRESSIONS)
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp('ros1') / f'{request.param}.bag'
    return write_bag(path, records=records(0, 60), compression=request.param)


def notes(path: Path) -> list[str]:
    bag = Bag(path)
    bag.close()
    assert all(n.isprintable() for n in bag.notes)
    return bag.notes


def without_index(data: bytes) -> bytes:
    """As a killed recorder leaves it: the header has no place of the index, which is not there."""
    at = data.index(b'index_pos=') + len(b'index_pos=')
    index = struct.unpack_from('<Q', data, at)[0]
    return data[:at] + bytes(8) + data[at + 8 : index]


@pytest.mark.parametrize('name', ['a.bag', 'a.bag.active', 'a#b?c=%20 d.bag', '%.bag.active'])
def test_a_bag_without_an_index_is_read(whole: Path, tmp_path: Path, name: str):
    path = tmp_path / name
    path.write_bytes(without_index(whole.read_bytes()))
    assert is_bag(path) and contents(path) == contents(whole)
    (note,) = notes(path)
    assert 'has no usable index' in note and 'rosbag reindex' in note
    assert [str(t) for t in Bag(path).topics.values()] == [
        str(t) for t in Bag(whole).topics.values()
    ]
    assert (Bag(path).start_s, Bag(path).end_s) == (Bag(whole).start_s, Bag(whole).end_s)
    times = [r for _, r, _ in Bag(whole).messages([TOPIC])]
    assert [r for _, r, _ in Bag(path).messages([TOPIC], times[2], times[9])] == times[2:9]


@pytest.mark.parametrize('name', ['a#b.bag', 'a?x.bag', '%25.bag', 'a b.bag', 'a.bag.active'])
def test_whole_bags_of_any_name_are_read_without_a_note(whole: Path, tmp_path: Path, name: str):
    path = Path(shutil.copy(whole, tmp_path / name))
    assert contents(path) == contents(whole) and notes(path) == []


def test_a_chunk_that_was_not_ended_is_read(plain: Path, tmp_path: Path):
    """As a recorder leaves it that is killed before its first chunk is full."""
    path = write_bag(tmp_path / 'a.bag', records=records())
    data = without_index(path.read_bytes())
    at = data.index(b'compression=none')
    while data[at : at + 4] != b'size':  # the header's last field
        at += 1
    at += len(b'size=') + 4
    path.write_bytes(data[:at] + bytes(4) + data[at + 4 :])
    assert contents(path) == contents(plain)


def test_60_cut_bags_are_read_as_far_as_they_go(whole: Path, tmp_path: Path):
    data, expected, seen = whole.read_bytes(), contents(whole), set()
    path = tmp_path / 'a.bag'
    for at in [*random.Random(3).sample(range(len(data)), 60), len(data) - 1]:
        path.write_bytes(data[:at])
        try:
            found = contents(path)
        except VprError as error:
            assert str(path) in str(error) and str(error).isprintable()
            continue
        assert found == expected[: len(found)] and 'rosbag reindex' in notes(path)[0]
        seen.add(len(found))
    assert len(expected) in seen and (whole.stem != 'none' or len(seen) > 10)


def test_a_bag_that_was_cut_before_its_first_message_is_refused(whole: Path, tmp_path: Path):
    path = tmp_path / 'a.bag'
    path.write_bytes(whole.read_bytes()[:4200])
    assert 'rosbag reindex' in refused(path)
    path.write_bytes(b'#ROSBAG V1.2\n' + bytes(99))
    assert 'not a bag of ROS 1' in refused(path)


def test_150_damaged_bags_are_a_line_or_read(whole: Path, tmp_path: Path):
    data, chance, path = whole.read_bytes(), random.Random(8), tmp_path / 'a.bag'
    for _ in range(50):
        spoiled = bytearray(data)
        for _ in range(chance.choice([1, 20])):
            spoiled[chance.randrange(len(data))] = chance.randrange(256)
        path.write_bytes(spoiled)
        try:
            bag = Bag(path)
            for _ in bag._raw([TOPIC, '/odom']):
                pass
            bag.close()
        except VprError as error:
            assert str(error).isprintable()


@pytest.mark.parametrize('index', [True, False])
def test_a_chunk_above_the_limit_is_refused(
    whole: Path, tmp_path: Path, index: bool, monkeypatch: pytest.MonkeyPatch
):
    if whole.stem == 'none':
        pytest.skip('is not compressed')
    for module in (bag_ros1, bag_scratch):
        monkeypatch.setattr(module, 'UNPACKED_LIMIT', 1000)
    path = tmp_path / 'a.bag'
    path.write_bytes(whole.read_bytes() if index else without_index(whole.read_bytes()))
    assert 'no message that can be read' in refused(path) or '1000 bytes' in refused(path)


def test_nothing_stays_open(whole: Path, tmp_path: Path):
    path = tmp_path / 'a.bag'
    path.write_bytes(without_index(whole.read_bytes()))
    gc.collect()
    before = len(os.listdir('/proc/self/fd'))
    for _ in range(5):
        Bag(path).close()
        Bag(whole).close()
    assert len(os.listdir('/proc/self/fd')) == before


def test_of_a_plain_bag_whose_end_is_zeros_the_messages_before_are_read(
    tmp_path: Path, plain: Path
):
    path = write_bag(tmp_path / 'a.bag', records=records(0, 60))
    whole, expected = path.read_bytes(), contents(path)
    for share in (0.3, 0.5, 0.8):
        half = int(len(whole) * share)
        path.write_bytes(whole[:half] + bytes(len(whole) - half))
        found = contents(path)
        assert found == expected[: len(found)] and len(found) > share * 0.8 * len(expected)
        path.write_bytes(whole[:half] + bytes(100))
        assert contents(path) == found
        assert 'has no usable index' in ' '.join(notes(path))

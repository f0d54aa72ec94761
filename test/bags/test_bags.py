# SPDX-License-Identifier: Apache-2.0
"""Bags of every kind give the same messages; what is wrong with one is said in a line."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from bag_helpers import (
    KINDS,
    Record,
    cut,
    image,
    make_humble,
    odd,
    odometry,
    split_bag,
    storage_files,
    transforms,
    write_bag,
)
from conftest import line_of

from ashtkd_ros.bags import bag as bags
from ashtkd_ros.bags.bag import Bag
from ashtkd_ros.bags.bag_names import is_bag
from ashtkd_ros.bags.unpacking import locked
from ashtkd_ros.errors import VprError
from ashtkd_ros.geometry.pose import Pose

TOPIC = '/camera/image_raw'
KIND_NAMES = ['-'.join(kind) for kind in KINDS]


def picture(number: int, size: tuple[int, int] = (24, 32)) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (*size, 3), dtype=np.uint8)


def records(start: int = 0, stop: int = 6) -> list[Record]:
    """An image and two poses a second, and messages that nobody knows."""
    found = []
    for i in range(start, stop):
        found.append(image(10.0 + i, picture(i)))
        found += [odometry(10.0 + i + d, Pose(i + d, 0, 0)) for d in (0.0, 0.5)]
        found.append(odd(10.2 + i))
    return found


def contents(path: Path) -> list[tuple[str, int, bytes | float]]:
    bag = Bag(path)
    found = [
        (topic, received, m.data.tobytes() if topic == TOPIC else m.pose.pose.position.x)
        for topic, received, m in bag.messages([TOPIC, '/odom'])
    ]
    bag.close()
    return found


EXPECTED_COUNT = 18


@pytest.fixture(scope='module')
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bag(tmp_path_factory.mktemp('bags') / 'plain', records=records())


@pytest.fixture
def bag(plain: Path, tmp_path: Path) -> Path:
    """A copy of `plain` that a test may spoil."""
    return Path(shutil.copytree(plain, tmp_path / 'bag'))


# --- every kind


@pytest.mark.parametrize(('storage', 'compression'), KINDS, ids=KIND_NAMES)
def test_ros2_bags_of_every_kind_hold_the_same(
    plain: Path, tmp_path: Path, storage: str, compression: str
):
    kind = {'storage': storage, 'compression': compression}
    path = write_bag(tmp_path / 'bag', records=records(), **kind)
    assert is_bag(path) and contents(path) == contents(plain)
    assert len(contents(path)) == EXPECTED_COUNT


@pytest.mark.parametrize('compression', ['none', 'bz2', 'lz4'])
def test_ros1_bags_hold_the_same(plain: Path, tmp_path: Path, compression: str):
    path = write_bag(tmp_path / 'b.bag', records=records(), compression=compression)
    assert is_bag(path) and contents(path) == contents(plain)


def test_tf_of_ros1_is_read_by_both_of_its_names(tmp_path: Path):
    records = [transforms(1.0, [('map', 'base_link', Pose(1, 2, 3))])]
    bag = Bag(write_bag(tmp_path / 'b.bag', records=records))
    ((_, _, message),) = bag.messages(['/tf'])
    assert message.transforms[0].child_frame_id == 'base_link'
    channel, _, data = next(bag._raw(['/tf']))
    old = bag._parse(channel._replace(type='tf/msg/tfMessage'), 0, data)
    assert old.transforms[0].transform.translation.z == 3.0


@pytest.mark.parametrize('storage', ['sqlite3', 'mcap'])
def test_split_bags_and_single_files_are_read(plain: Path, tmp_path: Path, storage: str):
    path = split_bag(tmp_path / 'b', [records(0, 3), records(3, 6)], storage=storage)
    assert contents(path) == contents(plain) and Bag(path).in_order
    files = storage_files(path)
    assert all(is_bag(file) for file in files)
    assert [m for file in files for m in contents(file)] == contents(plain)


def test_a_bag_without_message_definitions_is_read(plain: Path, bag: Path):
    assert contents(make_humble(bag)) == contents(plain)


def test_parts_that_overlap_in_time_are_not_in_order(tmp_path: Path):
    assert not Bag(split_bag(tmp_path / 'b', [records(0, 4), records(3, 6)])).in_order


def test_topics_tell_type_count_and_rate(plain: Path):
    bag = Bag(plain)
    assert [str(t) for t in bag.topics.values()] == [
        '/camera/image_raw (sensor_msgs/msg/Image, 6 messages, 0.9 Hz)',
        '/odd (my_msgs/msg/Odd, 6 messages, 0.9 Hz)',
        '/odom (nav_msgs/msg/Odometry, 12 messages, 2.0 Hz)',
    ]
    assert [t.name for t in bag.of_type('nav_msgs/msg/Odometry')] == ['/odom']
    assert (bag.start_s, bag.end_s) == (pytest.approx(10.001), pytest.approx(15.501))


def test_serialised_messages_are_those_of_ros2_whatever_the_bag(plain: Path, tmp_path: Path):
    ros1 = write_bag(tmp_path / 'b.bag', records=records())
    found, expected = (list(Bag(p).serialized([TOPIC, '/odom'])) for p in (ros1, plain))
    assert found == expected


def test_no_topics_give_no_messages(plain: Path):
    assert list(Bag(plain).messages([])) == []


def test_a_part_of_the_time_is_from_a_start_to_before_a_stop(plain: Path):
    bag = Bag(plain)
    times = [received for _, received, _ in bag.messages([TOPIC])]
    assert [r for _, r, _ in bag.messages([TOPIC], times[2], times[4])] == times[2:4]


def test_a_message_is_found_by_its_time_and_number(tmp_path: Path):
    equal = [image(10.0, picture(i), received=10.5) for i in range(3)]
    bag = Bag(write_bag(tmp_path / 'b', records=[*equal, image(11.0, picture(9))]))
    for i in range(3):
        assert bag.message(TOPIC, 10_500_000_000, i).data.tobytes() == picture(i).tobytes()
    for received, nth in ((10_500_000_000, 3), (10_500_000_001, 0)):
        with pytest.raises(VprError) as error:
            bag.message(TOPIC, received, nth)
        assert 'no message on /camera/image_raw came at 10.500' in line_of(error)


# --- what is wrong with a bag is one line that names it


def refused(path: Path) -> str:
    """The line for a bag that cannot be opened or read to its end."""
    with pytest.raises(VprError) as error:
        contents(path)
    assert str(path) in line_of(error)
    return str(error.value)


@pytest.mark.parametrize('share', [0.0, 0.001, 0.1])
def test_a_file_of_sqlite_that_was_cut_before_its_messages_is_refused(
    tmp_path: Path, share: float
):
    refused(cut(write_bag(tmp_path / 'bag', records=records(0, 40)), share))


@pytest.mark.parametrize('share', [0.0, 0.3, 0.9, 0.999])
@pytest.mark.parametrize('storage', ['sqlite3', 'mcap'])
def test_a_compressed_file_that_was_cut_is_refused(tmp_path: Path, storage: str, share: float):
    whole = write_bag(tmp_path / 'b', records=records(), storage=storage, compression='file')
    assert 'is cut off' in refused(cut(whole, share))


def test_a_missing_storage_file_is_named(bag: Path):
    (file,) = storage_files(bag)
    file.unlink()
    assert file.name in refused(bag)


@pytest.mark.parametrize('name', ['a.db3', 'a.mcap', 'a.bag'])
@pytest.mark.parametrize('data', [b'', b'garbage' * 900], ids=['empty', 'garbage'])
def test_files_that_are_no_bags_are_refused(tmp_path: Path, name: str, data: bytes):
    (tmp_path / name).write_bytes(data)
    refused(tmp_path / name)


def test_what_is_no_bag_at_all_is_refused(tmp_path: Path):
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'a.txt').write_text('hello')
    for name, expected in (
        ('gone', 'no such bag'),
        ('empty', 'is not a bag'),
        ('a.txt', 'is not a bag'),
    ):
        assert expected in refused(tmp_path / name)
    assert not is_bag(tmp_path / 'empty') and not is_bag(tmp_path / 'a.txt')


def test_unpacking_leaves_nothing_and_clears_what_a_kill_left(
    plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    packed = write_bag(tmp_path / 'b', records=records(), compression='file')
    scratch = tmp_path / 'scratch'
    for name in ('ashtkd_ros_bag_killed', 'ashtkd_ros_bag_at_work', 'mine'):
        (scratch / name).mkdir(parents=True)
    monkeypatch.setattr(tempfile, 'tempdir', str(scratch))
    with locked(scratch / 'ashtkd_ros_bag_at_work'):
        bag = Bag(packed)
        assert {p.name for p in scratch.iterdir()} == {'ashtkd_ros_bag_at_work', 'mine'}
    assert bag.notes == [f'is unpacked as a whole into {scratch} (TMPDIR) while it is read']
    assert len(list(bag.messages([TOPIC]))) == 6
    bag.close()
    assert contents(packed) == contents(plain)


def test_a_file_that_must_not_be_read_is_said(
    bag: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def forbidden(*_):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(bags, 'Ros2Reader', forbidden)
    assert 'cannot be read (Permission denied)' in refused(bag)


def spoil_message(bag: Path, number: int, topic: str = TOPIC) -> Path:
    """Cut the data of the message of that number."""
    with closing(sqlite3.connect(storage_files(bag)[0])) as base, base:
        rows = base.execute(
            'SELECT messages.id FROM messages JOIN topics ON topic_id = topics.id '
            'WHERE name = ? ORDER BY timestamp',
            (topic,),
        ).fetchall()
        half = (b'\x00\x01\x00\x00', rows[number][0])
        base.execute('UPDATE messages SET data = ? WHERE id = ?', half)
    return bag


def test_a_damaged_message_is_an_error_or_none(bag: Path):
    assert 'a message on /camera/image_raw, received at 12.001, is damaged' in refused(
        spoil_message(bag, 2)
    )
    messages = [m for _, _, m in Bag(bag).messages([TOPIC], lenient=True)]
    assert [m is None for m in messages] == [False, False, True, False, False, False]


def test_a_file_out_of_a_bag_compressed_by_message_is_read(plain: Path, tmp_path: Path):
    path = write_bag(tmp_path / 'b', records=records(), compression='message')
    assert contents(storage_files(path)[0]) == contents(plain)

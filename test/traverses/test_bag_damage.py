# SPDX-License-Identifier: Apache-2.0
"""Of a recording that is damaged within, the rest becomes a traverse, and what lacks is said."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from bag_helpers import cut, image, odometry, storage_files, write_bag
from conftest import line_of
from mcap_helpers import channels_of, write_mcap
from test_bags import TOPIC, picture, spoil_message

from ashtkd_ros.errors import VprError
from ashtkd_ros.geometry.pose import Pose
from ashtkd_ros.text import counted
from ashtkd_ros.traverses.bag_traverse import BagTraverse
from ashtkd_ros.traverses.traverse import TraverseOptions

COUNT = 20


def records(count: int = COUNT) -> list:
    found = []
    for i in range(count):
        found += [image(10.0 + i, picture(i, (60, 80))), odometry(10.0 + i, Pose(i, 0, 0))]
    return found


@pytest.fixture
def bag(tmp_path: Path) -> Path:
    return write_bag(tmp_path / 'bag', records=records())


def walk(path: Path) -> tuple[list[float], list[float], str]:
    """Stamps of the sound images, of those that have a pose, and notes."""
    traverse = BagTraverse(path, TraverseOptions())
    found = [f for _, f in traverse.frames() if f.refusal != 'damaged message']
    for frame in found:
        assert (frame.without_pixels().read() == picture(round(frame.stamp) - 10, (60, 80))).all()
    assert all(n.isprintable() for n in traverse.notes)
    assert len(set(traverse.notes)) == len(traverse.notes)
    return [f.stamp for f in found], [f.stamp for f in found if f.pose], ' '.join(traverse.notes)


def flipped(path: Path, part: bytes, shift: int = 0) -> None:
    data = bytearray(path.read_bytes())
    data[data.index(part) + shift] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize('index', [True, False])
@pytest.mark.parametrize('chunk', [1, 4])
def test_of_an_mcap_the_sound_chunks_are_read(tmp_path: Path, bag: Path, chunk: int, index: bool):
    path = write_mcap(tmp_path / 'a.mcap', channels_of(bag), chunk=chunk, index=index)
    assert len(walk(path)[0]) == COUNT
    flipped(path, picture(7, (60, 80)).tobytes())
    stamps, _, told = walk(path)
    assert COUNT - chunk <= len(stamps) < COUNT and 17.0 not in stamps
    assert 'damaged' in told and 'chunks are skipped' in told and 'missing' in told
    if index:
        lost = COUNT - len(stamps)
        assert (
            f'{counted(lost, "image")} of {COUNT} cannot be read' in told
            and '17.001 are missing' in told
        )


def test_of_an_mcap_in_which_all_is_damaged_nothing_is_made(tmp_path: Path, bag: Path):
    path = write_mcap(tmp_path / 'a.mcap', channels_of(bag), compression='snappy')
    with pytest.raises(VprError) as error:
        walk(path)
    assert '"snappy" is not known' in line_of(error)


def test_where_no_image_is_left_the_damage_is_told(tmp_path: Path, bag: Path):
    path = write_mcap(tmp_path / 'a.mcap', channels_of(bag), chunk=None, index=False)
    flipped(path, TOPIC.encode(), -17)  # the kind of the record of the channel
    with pytest.raises(VprError) as error:
        walk(path)
    line = line_of(error)
    assert 'holds no images' in line and 'messages without a channel are skipped' in line


@pytest.mark.parametrize('pages', [1, 4])
def test_of_a_sqlite3_file_the_sound_messages_are_read(bag: Path, pages: int):
    (file,) = storage_files(bag)
    data = bytearray(file.read_bytes())
    at = data.index(picture(7, (60, 80)).tobytes()[6000:6100]) // 4096 * 4096
    data[at : at + 4096 * pages] = bytes(4096 * pages)
    file.write_bytes(data)
    stamps, _, told = walk(bag)
    assert COUNT - 4 < len(stamps) < COUNT and 17.0 not in stamps
    found = [f.refusal for _, f in BagTraverse(bag, TraverseOptions()).frames()]
    if pages == 1:  # of a message's data only
        assert len(found) == COUNT and found.count('damaged message') == COUNT - len(stamps)
    else:
        assert 'are missing' in told and 'messages by metadata.yaml' in told


@pytest.mark.parametrize('share', [0.3, 0.4999, 0.5, 0.501, 0.7, 0.9, 0.999])
@pytest.mark.parametrize('odometry_between', [True, False])
def test_of_a_sqlite3_file_that_was_cut_what_comes_before_is_read(
    tmp_path: Path, share: float, odometry_between: bool
):
    made = records(60) if odometry_between else [r for r in records(60) if 'camera' in r.topic]
    stamps, _, told = walk(cut(write_bag(tmp_path / 'bag', records=made), share))
    assert 60 * share - 6 < len(stamps) <= 60 * share
    assert stamps == [10.0 + i for i in range(len(stamps))]
    assert 'is cut off: ' in told and '.recover' in told


def test_of_a_bag_of_ros1_the_sound_chunks_are_read(tmp_path: Path):
    path = write_bag(tmp_path / 'a.bag', records=records(120), compression='bz2')
    assert len(walk(path)[0]) == 120
    data = bytearray(path.read_bytes())
    at = len(data) // 4
    data[at : at + 40] = bytes(40)
    path.write_bytes(data)
    stamps, _, told = walk(path)
    assert 20 < len(stamps) < 110 and stamps == sorted(stamps)
    assert '1 chunks are skipped' in told and 'images of 120 cannot be read' in told


def test_one_damaged_pose_is_left_out(bag: Path):
    stamps, posed, told = walk(spoil_message(bag, 9, '/odom'))
    assert len(stamps) == COUNT and len(posed) >= COUNT - 1
    assert '/odom: 1 damaged messages are skipped' in told


def test_poses_that_are_all_damaged_are_refused(bag: Path):
    with closing(sqlite3.connect(storage_files(bag)[0])) as base, base:
        topic = "(SELECT id FROM topics WHERE name = '/odom')"
        base.execute(f"UPDATE messages SET data = x'00' WHERE topic_id = {topic}")
    with pytest.raises(VprError) as error:
        walk(bag)
    assert 'a message on /odom' in line_of(error) and str(bag) in str(error.value)


def test_labels_are_doubted_where_images_lack(tmp_path: Path, bag: Path):
    (bag / 'labels.csv').write_text('frame,label\n3,door\n')
    (bag / storage_files(bag)[0].name).unlink()
    whole = write_bag(tmp_path / 'other', records=records())
    path = write_mcap(bag / 'a.mcap', channels_of(whole))
    flipped(path, picture(7, (60, 80)).tobytes())
    assert 'labels.csv counts the others' in walk(bag)[2] and TOPIC

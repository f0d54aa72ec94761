# SPDX-License-Identifier: Apache-2.0
"""The bags that other tests are given are what they are said to be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from bag_helpers import (
    KINDS,
    cut,
    fix,
    image,
    make_humble,
    metadata,
    odd,
    odometry,
    of_topic,
    pose_covariance,
    pose_of,
    pose_stamped,
    read_back,
    split_bag,
    stamp_ns,
    storage_files,
    transforms,
    typestore,
    write_bag,
)
from rosbags.rosbag2 import Reader

from ashtkd_ros.geometry.pose import Pose
from ashtkd_ros.traverses.bag_writer import message


def test_message_refuses_a_field_that_the_type_has_not():
    with pytest.raises(KeyError, match='has no field sped'):
        message(typestore(), 'nav_msgs/msg/Odometry', sped=1)


@pytest.mark.parametrize('ros1', [False, True], ids=['ros2', 'ros1'])
def test_helpers_write_what_they_are_given(tmp_path: Path, ros1: bool):
    pose = Pose(1, 2, 3, 0, 0, 0.6, 0.8)
    depth = np.linspace(0, 9, 12, dtype=np.float32).reshape(3, 4)
    records = [image(5.0, depth, '/depth'), odd(5.0), fix(5.0, 48.0, 11.0, status=-1)]
    records += [pose_stamped(5.0, pose), pose_covariance(5.0, pose)]
    records += [transforms(5.0, [('map', 'odom', pose), ('odom', 'base_link', pose)])]
    records += [image(5.0, b'\xff\xd8\xff', '/c'), odometry(5.0, pose, '/o2', received=9.0)]
    path = tmp_path / ('b.bag' if ros1 else 'b')
    pixels = np.zeros((3, 4, 3), np.uint8)
    messages = read_back(write_bag(path, [(4.0, pixels)], [(4.5, pose)], records))
    assert len(messages) == 10
    (made,) = of_topic(messages, '/depth')
    assert made.encoding == '32FC1' and made.data.tobytes() == depth.tobytes()
    assert of_topic(messages, '/odd')[0].numbers.tolist() == [1, 2, 3]
    assert pose_of(of_topic(messages, '/pose')[0].pose) == pose
    assert pose_of(of_topic(messages, '/amcl_pose')[0].pose.pose) == pose
    assert of_topic(messages, '/tf')[0].transforms[1].header.frame_id == 'odom'
    assert of_topic(messages, '/c')[0].format == 'jpeg'
    topic, received, last = messages[-1]
    assert (topic, received, stamp_ns(last)) == ('/o2', 9 * 10**9, 5 * 10**9)


@pytest.mark.parametrize(('storage', 'compression'), KINDS, ids='-'.join)
def test_split_bags_are_read_whole(tmp_path: Path, storage: str, compression: str):
    parts = [[odometry(1.0 + i, Pose(i, 0, 0)), odd(1.0 + i)] for i in range(3)]
    parts[1].append(fix(2.5, 48.0, 11.0))
    bag = split_bag(tmp_path / 'b', parts, storage=storage, compression=compression)
    assert len(storage_files(bag)) == 3
    messages = read_back(bag)
    assert [m.pose.pose.position.x for m in of_topic(messages, '/odom')] == [0, 1, 2]
    assert metadata(bag)['message_count'] == len(messages) == 7


def test_humble_bags_have_no_definitions(tmp_path: Path):
    bag = make_humble(write_bag(tmp_path / 'b', records=[odd(1.0), odometry(1.0, Pose(7, 0, 0))]))
    with Reader(bag) as reader:
        assert {c.msgdef.data for c in reader.connections} == {''}
    assert of_topic(read_back(bag), '/odom')[0].pose.pose.position.x == 7


@pytest.mark.parametrize('name', ['b', 'b.bag'])
def test_cut_leaves_the_bag_and_shortens_the_copy(tmp_path: Path, name: str):
    bag = write_bag(tmp_path / name, poses=[(1.0, Pose(1, 2, 3))])
    (whole,), (short,) = storage_files(bag), storage_files(cut(bag, 0.5))
    assert short.stat().st_size == whole.stat().st_size // 2
    assert len(read_back(bag)) == 1

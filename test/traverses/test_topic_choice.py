# SPDX-License-Identifier: Apache-2.0
"""Which topics of a bag are taken where it holds several, and what is said about the rest."""

from __future__ import annotations

from pathlib import Path

import pytest
from bag_helpers import (
    Record,
    image,
    odometry,
    pose_covariance,
    pose_stamped,
    transforms,
    write_bag,
)
from conftest import line_of
from test_bag_traverse import START, frames, images, odoms, opened, refused
from test_bags import picture, spoil_message

from ashtkd_ros.bags.bag import PLACE_TYPE
from ashtkd_ros.errors import VprError
from ashtkd_ros.geometry.pose import Pose
from ashtkd_ros.mapping.source_checks import cautions
from ashtkd_ros.traverses.bag_traverse import BagTraverse
from ashtkd_ros.traverses.frame import ZERO
from ashtkd_ros.traverses.opening import open_traverse
from ashtkd_ros.traverses.traverse import TraverseOptions


@pytest.fixture
def bag(tmp_path: Path) -> Path:
    return tmp_path / 'bag'


def robot(name: str, x: float, static: bool = True, count: int = 10) -> list[Record]:
    """Transforms of a robot at x and of its camera 1 m ahead of it."""
    camera = [('base_link', 'camera_optical', Pose(1, 0, 0))]
    found = [transforms(START - 1, camera, f'{name}/tf_static')] if static else []
    base = [('odom', 'base_link', Pose(x, 0, 0))]
    return found + [transforms(START + i / 2, base, f'{name}/tf') for i in range(count)]


def test_of_several_robots_only_the_chosen_ones_transforms_are_read(bag: Path):
    other = [('base_link', 'camera_optical', Pose(7, 0, 0))]
    records = [*images(), *robot('/r1', 10), *robot('/r2', 50)]
    records += [transforms(START, other, '/tf_static', received=START + 9)]
    assert '2 topics have poses' in refused(bag, records)
    for topic, x in (('/r1/tf', 11), ('/r2/tf', 51)):
        found = frames(BagTraverse(bag, TraverseOptions(pose_topic=topic)))
        assert [f.pose.x for f in found] == pytest.approx([x] * 5)


def test_a_robot_without_constant_transforms_of_its_own_takes_those_of_all(bag: Path):
    records = [*images(), *robot('/r1', 10, static=False), *robot('', 50), *robot('/r2', 70)]
    traverse = opened(bag, records, pose_topic='/r1/tf')
    assert frames(traverse)[0].pose.x == pytest.approx(11)


@pytest.mark.parametrize('asked', ['r1/tf', '/r1/tf'])
def test_topics_without_a_slash_at_the_beginning_are_chosen_as_others(bag: Path, asked: str):
    records = [image(START + i, picture(i), topic='cam/image') for i in range(5)]
    records += [*robot('r1', 10), *robot('r2', 50)]
    write_bag(bag, records=records)
    for name in ('cam/image', '/cam/image'):
        traverse = BagTraverse(bag, TraverseOptions(image_topic=name, pose_topic=asked))
        assert [f.pose.x for f in frames(traverse)] == pytest.approx([11] * 5)


def test_a_goal_or_two_are_no_poses_where_there_are_others(tmp_path: Path):
    stray = [pose_stamped(START + 9, Pose(99, 0, 0), '/goal_pose')]
    many = images(20)
    for name, records, expected in (
        ('tf', robot('', 10, count=40), '/tf'),
        ('odom', odoms(20), '/odom'),
        ('only', [], '/goal_pose'),
    ):
        traverse = opened(tmp_path / name, [*many, *stray, *records])
        assert traverse.poses == expected
    named = BagTraverse(tmp_path / 'tf', TraverseOptions(pose_topic='/goal_pose'))
    assert named.poses == '/goal_pose'


@pytest.mark.parametrize('node', ['/vpr_node', '/front/vpr_node', '/places'])
def test_answers_of_a_node_are_neither_poses_nor_images_unless_named(tmp_path: Path, node: str):
    own = [pose_covariance(START + i, Pose(99, 0, 0), f'{node}/pose') for i in range(9)]
    own += images(topic=f'{node}/debug_image')
    own += [Record(f'{node}/place', PLACE_TYPE, START)]
    traverse = opened(tmp_path / 'odom', [*images(), *odoms(), *own])
    assert (traverse.topic.name, traverse.poses) == ('/camera/image_raw', '/odom')
    traverse = opened(tmp_path / 'none', [*images(), *own])
    assert not any(f.pose for f in frames(traverse))
    assert f'{node}/pose, which holds the answers of a vpr_node' in '; '.join(traverse.notes)
    named = BagTraverse(traverse.path, TraverseOptions(pose_topic=f'{node}/pose'))
    assert named.poses == f'{node}/pose'


def test_options_for_tf_are_noted_where_the_poses_are_others(bag: Path, tmp_path: Path):
    (tmp_path / 'a.tum').write_text(f'{START} 0 0 0 0 0 0 1\n')
    write_bag(bag, records=[*images(), *odoms()])
    for options in ({}, {'trajectory': tmp_path / 'a.tum'}):
        traverse = BagTraverse(bag, TraverseOptions(map_frame='map', **options))
        assert traverse.notes == [
            f'--map-frame is for tf and has no effect: the poses are of {traverse.poses}'
        ]
    with pytest.raises(VprError) as error:
        opened(tmp_path / 'tf', [*images(), *robot('', 0, static=False)])
    assert '--pose-topic none' in line_of(error)


def test_single_images_and_poses_without_stamps_cost_no_others(bag: Path):
    early = [image(0.0, picture(9), received=START - 1), odometry(0.0, Pose(5, 0, 0))]
    traverse = opened(bag, [*early, *images(), *odoms()])
    assert [f.refusal for f in frames(traverse)] == [ZERO, *[''] * 5]
    assert (
        traverse.notes == ['1 poses of /odom are left out: 1 stamp zero']
        and traverse.span[0] == START
    )


def test_images_that_are_all_damaged_say_why(bag: Path):
    spoil_message(write_bag(bag, records=images(1)), 0)
    with pytest.raises(VprError) as error:
        BagTraverse(bag, TraverseOptions())
    assert 'is damaged' in line_of(error)


def test_odometry_of_several_drives_is_cautioned_against(tmp_path: Path, town: Path):
    def drive(name: str, records: list[Record]) -> Path:
        return write_bag(tmp_path / name, records=[*images(), *records])

    a, b = drive('a', odoms()), drive('b', odoms())
    placed = drive('c', [pose_stamped(START, Pose(0, 0, 0))])
    tf, bare = drive('d', robot('', 0)), drive('e', [])

    def of(*paths: Path) -> list[str]:
        return cautions([open_traverse(p, TraverseOptions()) for p in paths])

    for pair in ((a, b), (a, tf)):
        (line,) = of(*pair)
        assert '2 sources have poses of odometry in "odom"' in line and '--pose-topic' in line
    _, line = of(a, bare)
    assert line.startswith(f'{bare}: no poses, which the other sources have')
    for one in (a, tf):
        (line,) = of(one)
        assert 'whose frame "odom" begins anew' in line and '--trajectory' in line
    assert of(placed, town / 'day') == of(bare) == []

# SPDX-License-Identifier: Apache-2.0
"""What build_map, evaluate and map_info say of poses that are no good to go by."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from bag_helpers import image, pose_stamped, write_bag
from evaluation_helpers import run

from ashtkd_ros.commands.build_map import main as build_map
from ashtkd_ros.commands.evaluate import main as evaluate
from ashtkd_ros.commands.map_info import main as map_info
from ashtkd_ros.geometry.pose import Pose
from ashtkd_ros.traverses.bag_writer import BagOptions, make_bag
from ashtkd_ros.traverses.image_folder import read_source
from ashtkd_ros.traverses.opening import open_traverse
from ashtkd_ros.traverses.traverse import TraverseOptions

pytest_plugins = ['evaluation_fixtures']


def judge(map_folder: Path, source: Path, *options: object) -> None:
    assert run(evaluate, map_folder, source, '--no-timing', '--no-baselines', *options) == 0


def test_odometry_of_another_drive_is_noted_by_both_commands(
    day_map: Path, bags: Path, tmp_path: Path, capsys
):
    judge(day_map, bags / 'dusk', '--pose-topic', '/odom')
    said = capsys.readouterr().err
    assert 'are odometry of different recordings' in said and '--correspondences' in said
    judge(day_map, bags / 'day', '--pose-topic', '/odom')
    assert 'different recordings' not in capsys.readouterr().err  # the same drive
    judge(day_map, bags / 'dusk', '--pose-topic', '/fix')
    assert 'different recordings' not in capsys.readouterr().err
    for topic, expected in (('/odom', True), ('/fix', False)):
        out = tmp_path / topic.strip('/')
        assert run(build_map, bags / 'day', '-o', out, '--pose-topic', topic) == 0
        said = capsys.readouterr().err
        assert ('AMCL does not take' in said and '--trajectory' in said) == expected
        assert run(map_info, out) == 0
        assert ('begins anew with each drive' in capsys.readouterr().out) == expected


def test_poses_that_are_left_out_are_said_alike_by_both_commands(tmp_path: Path, capsys):
    records = [image(100.0 + i, np.full((60, 80, 3), 20 * i, np.uint8)) for i in range(10)]
    for i in range(100):
        x = i / 10 + (2000 if i == 50 else 0)
        records.append(pose_stamped(100 + i / 10, Pose(x, 0, 0)))
    path = write_bag(tmp_path / 'bag', records=records)
    options = ('--keyframes', 'all')
    assert run(build_map, path, '-o', tmp_path / 'map', *options) == 0
    said = '1 poses of /pose are left out: 1 too far from those before and after'
    assert said in capsys.readouterr().err
    judge(tmp_path / 'map', path)
    assert said in capsys.readouterr().err


def test_a_walk_of_images_is_checked_too(tmp_path: Path):
    rows = [f'{i}.png,{i / 2},{i + (3000 if i == 7 else 0)},0' for i in range(20)]
    (tmp_path / 'poses.csv').write_text('\n'.join(['file,stamp,x,y', *rows]))
    for i in range(20):
        cv2.imwrite(str(tmp_path / f'{i}.png'), np.full((6, 8, 3), i, np.uint8))
    traverse = open_traverse(tmp_path, TraverseOptions())
    poses = [frame.pose for _, frame in traverse.frames()]
    assert [i for i, pose in enumerate(poses) if pose is None] == [7]
    assert traverse.has_poses and '1 poses of poses.csv are left out' in traverse.notes[0]


def moved(walk: Path, out: Path, metres: float) -> Path:
    """The first images of a walk whose poses lie elsewhere."""
    (out / 'images').mkdir(parents=True)
    header, *rows = (walk / 'poses.csv').read_text().splitlines()
    lines = [header]
    for row in rows[:12]:
        cells = dict(zip(header.split(','), row.split(','), strict=True))
        shutil.copy(walk / cells['file'], out / cells['file'])
        cells['x'] = str(float(cells['x']) + metres)
        lines.append(','.join(cells.values()))
    (out / 'poses.csv').write_text('\n'.join(lines) + '\n')
    return out


@pytest.mark.parametrize(('metres', 'note'), [(0.0, ''), (60.0, 'none of 12 queries have')])
def test_queries_without_right_places_are_said_whatever_the_frames_are_called(
    town: Path, tmp_path: Path, capsys, metres: float, note: str
):
    out = tmp_path / 'map'
    assert run(build_map, moved(town / 'day', tmp_path / 'day', 0.0), '-o', out) == 0
    capsys.readouterr()
    judge(out, moved(town / 'dusk', tmp_path / 'dusk', metres))
    said = capsys.readouterr().err
    assert note in said and ('have a right place in the map' in said) == bool(note)


def test_a_map_most_of_whose_images_have_no_pose_is_said(tmp_path: Path, capsys, town: Path):
    frames = read_source(town / 'day')[:12]
    make_bag(frames, tmp_path / 'bag', BagOptions())
    few = [f'{1.7e9 + f.stamp:.6f} {f.pose.x} {f.pose.y} 0 0 0 0 1' for f in frames[:4]]
    (tmp_path / 'poses.tum').write_text('\n'.join(few) + '\n')
    options = ('--trajectory', tmp_path / 'poses.tum', '-o', tmp_path / 'map')
    assert run(build_map, tmp_path / 'bag', *options) == 0
    assert 'of 12 images have no pose, so they are not places' in capsys.readouterr().err

# SPDX-License-Identifier: Apache-2.0
"""Frames of lenses and bodies told by their axes, whatever they are called."""

from __future__ import annotations

import math

import numpy as np
import pytest
from bag_helpers import image, odometry, transforms, write_bag
from test_bags import picture
from test_pose_checks import drive, turns

from ashtkd_ros.geometry.camera_axes import is_optical
from ashtkd_ros.geometry.pose import Pose
from ashtkd_ros.geometry.quaternions import multiply
from ashtkd_ros.geometry.tf_chain import BODY_IN_OPTICAL
from ashtkd_ros.traverses.opening import open_traverse
from ashtkd_ros.traverses.traverse import TraverseOptions

LENS = np.array([-0.5, 0.5, -0.5, 0.5])  # x right, y down, z ahead, seen from a body
NAMES = ('camera', 'camera_link', 'cam_optical_frame', 'camera_optical_link', 'OpticalCenter', '')


def about(axis: int, degrees: float) -> np.ndarray:
    q = np.zeros(4)
    q[axis], q[3] = math.sin(math.radians(degrees) / 2), math.cos(math.radians(degrees) / 2)
    return q


def track(rng: np.random.Generator, reverse: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Positions and orientations of a robot that drives about."""
    while True:
        _, rows, headings = drive(rng, 300, 10.0, float(rng.uniform(0.5, 10)))
        if np.linalg.norm(np.diff(rows, axis=0), axis=1).sum() > 10.0:
            break
    return rows, turns(headings + (math.pi if reverse else 0.0))


def test_frames_that_look_ahead_or_back_are_told_whatever_their_name():
    rng = np.random.default_rng(20)
    for number in range(200):
        rows, body = track(rng, reverse=bool(rng.random() < 0.3))
        mounting = about(2, rng.choice([0, 180]) + rng.uniform(-25, 25))
        mounting = multiply(mounting, about(1, rng.uniform(-25, 25)))
        mounting = multiply(mounting, about(0, rng.uniform(-10, 10)))
        optical = bool(rng.random() < 0.5)
        if optical:
            mounting = multiply(mounting, LENS)
        rows = rows + rng.normal(0, 0.01, rows.shape)
        found, why = is_optical(rows, multiply(body, mounting), rng.choice(NAMES))
        assert found == optical and 'by its axes' in why, (number, why)


def test_where_the_motion_does_not_tell_the_name_does():
    rng = np.random.default_rng(21)
    for number in range(200):
        rows, body = track(rng)
        case = rng.choice(['stands', 'side', 'spins', 'down'])
        mounting = about(2, 0)
        if case == 'side':
            mounting = about(2, rng.choice([-90, 90]) + rng.uniform(-20, 20))
        elif case == 'down':
            mounting = about(1, 90)
        elif case == 'stands':
            rows = rows[:1] + rng.normal(0, 0.01, rows.shape)
        else:  # turns on the spot, with the camera a little off the middle
            angles = np.linspace(0, 20, len(rows))
            rows = 0.3 * np.column_stack([np.cos(angles), np.sin(angles), 0 * angles])
            body = turns(angles + rng.uniform(0, 6))
        optical = bool(rng.random() < 0.5)
        if optical:
            mounting = multiply(mounting, LENS)
        name = 'front_optical_x' if optical else 'front'
        if optical and case != 'down':  # y points down: whatever it is called
            name = rng.choice(NAMES)
        found, why = is_optical(rows, multiply(body, mounting), name)
        assert found == optical, (number, case, why)


def test_the_option_decides():
    rows, body = track(np.random.default_rng(1))
    assert is_optical(rows, body, 'camera', 'optical')[0]
    assert not is_optical(rows, multiply(body, LENS), 'camera_optical', 'body')[0]
    assert 'as --camera-frame-is says' in is_optical(rows, body, 'camera', 'optical')[1]


def test_an_undecided_frame_says_what_decides():
    still = np.zeros((20, 3))
    level = np.tile([0.0, 0, 0, 1], (20, 1))
    optical, why = is_optical(still, level, 'camera_optical_link')  # up, or not turned at all
    assert optical and 'by its name' in why and 'give --camera-frame-is body' in why


def bag_of(path, frame: str, mounting: np.ndarray):
    """Ten metres north; the camera looks ahead."""
    north = Pose(0, 0, 0, *about(2, 90))
    records = [image(100.0 + i, picture(i), frame_id=frame) for i in range(5)]
    for i in range(50):
        pose = Pose(0, i / 10, 0, north.qx, north.qy, north.qz, north.qw)
        records.append(transforms(100.0 + i / 10, [('odom', 'base_link', pose)]))
    static = [('base_link', frame, Pose(0.2, 0, 1, *mounting))]
    records.append(transforms(99.0, static, '/tf_static'))
    return write_bag(path, records=records)


@pytest.mark.parametrize('frame', ['camera_optical_link', 'rgb_camera', 'cam0', 'zed_left_camera'])
@pytest.mark.parametrize('optical', [True, False])
def test_headings_of_a_bag_are_those_of_the_motion(tmp_path, frame, optical):
    path = bag_of(tmp_path / 'bag', frame, LENS if optical else about(2, 0))
    for wanted in ('auto', 'optical' if optical else 'body'):
        traverse = open_traverse(path, TraverseOptions(camera_frame_is=wanted))
        headings = [math.degrees(f.pose.yaw) for _, f in traverse.frames() if f.pose]
        assert headings == pytest.approx([90.0] * 5)
        assert f'/tf: the frame {frame} is taken as' in traverse.notes[0]


def test_odometry_of_a_lens_and_trajectories_of_one_are_turned(tmp_path):
    turn = multiply(about(2, 90), LENS)
    records = [image(100.0 + i, picture(i)) for i in range(5)]
    records += [odometry(100 + i / 10, Pose(0, i / 10, 0, *turn)) for i in range(50)]
    path = write_bag(tmp_path / 'bag', records=records)
    lines = [f'{100 + i / 10} 0 {i / 10} 0 {" ".join(map(str, turn))}' for i in range(50)]
    (tmp_path / 'a.tum').write_text('\n'.join(lines))
    for trajectory in (None, tmp_path / 'a.tum'):
        traverse = open_traverse(path, TraverseOptions(trajectory=trajectory))
        headings = [math.degrees(f.pose.yaw) for _, f in traverse.frames() if f.pose]
        assert headings == pytest.approx([90.0] * 5)
        assert 'taken as optical (z forward), by its axes' in traverse.notes[0]


def test_the_rotation_is_the_inverse_of_the_usual_mounting():
    assert multiply(LENS, np.array(BODY_IN_OPTICAL)) == pytest.approx([0, 0, 0, 1])


@pytest.mark.parametrize('yaw', [90, -90])
@pytest.mark.parametrize('pitch', [30, 45, 50, 60, 75])
def test_a_lens_that_looks_sideways_and_down_is_no_body(yaw: float, pitch: float):
    rows, body = track(np.random.default_rng(7))
    mounting = multiply(multiply(about(2, yaw), about(1, pitch)), LENS)
    for name in ('side_optical_frame', 'left_optical'):
        assert is_optical(rows, multiply(body, mounting), name)[0]

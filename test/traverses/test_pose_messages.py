# SPDX-License-Identifier: Apache-2.0
"""Messages with poses of every kind, to the pose of an image."""

from __future__ import annotations

import math
from types import SimpleNamespace as Message

import numpy as np
import pytest
from conftest import line_of

from ashtkd_ros.errors import VprError
from ashtkd_ros.traverses.pose_messages import POSE_TYPES, PoseReader, pose_reader

TF = 'tf2_msgs/msg/TFMessage'
FIX = 'sensor_msgs/msg/NavSatFix'
ODOMETRY = 'nav_msgs/msg/Odometry'
# the usual mounting of a lens: its z is the body's x, its x the body's -y
OPTICAL = (-0.5, 0.5, -0.5, 0.5)


def turned(degrees: float) -> tuple[float, float, float, float]:
    half = math.radians(degrees) / 2
    return (0.0, 0.0, math.sin(half), math.cos(half))


def header(stamp: float, frame: str = 'map') -> Message:
    seconds = math.floor(stamp)
    time = Message(sec=seconds, nanosec=round((stamp - seconds) * 1e9))
    return Message(stamp=time, frame_id=frame)


def fields(names: str, values) -> Message:
    return Message(**dict(zip(names, values, strict=True)))


def pose(position=(0, 0, 0), quaternion=(0, 0, 0, 1)) -> Message:
    return Message(position=fields('xyz', position), orientation=fields('xyzw', quaternion))


def transforms(*edges) -> Message:
    """A tf message of (stamp, parent, child, position, quaternion)."""
    made = []
    for stamp, parent, child, position, quaternion in edges:
        transform = Message(
            translation=fields('xyz', position), rotation=fields('xyzw', quaternion)
        )
        made.append(
            Message(header=header(stamp, parent), child_frame_id=child, transform=transform)
        )
    return Message(transforms=made)


def fix(stamp: float, lat: float, lon: float, alt: float = 0.0, status: int = 0) -> Message:
    return Message(
        header=header(stamp, 'gps'),
        status=Message(status=status),
        latitude=lat,
        longitude=lon,
        altitude=alt,
    )


# --- odometry and stamped poses


@pytest.mark.parametrize(
    ('msgtype', 'wrapped'),
    [
        (ODOMETRY, True),
        ('geometry_msgs/msg/PoseStamped', False),
        ('geometry_msgs/msg/PoseWithCovarianceStamped', True),
    ],
)
def test_poses_as_published(msgtype, wrapped):
    reader = pose_reader(msgtype)
    for stamp, x, degrees in [(10, 0, 0), (11, 2, 90)]:
        body = pose((x, 1, 0), turned(degrees))
        body = Message(pose=body, covariance=None) if wrapped else body
        reader.add('/pose', Message(header=header(stamp, '/odom'), pose=body), 500.0 + stamp)
    track = reader.trajectory()
    found, _ = track.at(10.5, 1.0)
    assert (found.x, found.y, math.degrees(found.yaw)) == pytest.approx((1, 1, 45))
    assert track.frame == 'odom'


def test_receive_times_instead_of_stamps():
    reader = pose_reader(ODOMETRY, use_received=True)
    for i in range(2):
        reader.add('/odom', Message(header=header(0), pose=pose((i, 0, 0))), 500.0 + i)
    assert reader.trajectory().at(500.5, 1.0)[0].x == pytest.approx(0.5)


def test_stamps_that_are_zero_name_topic_and_remedy():
    reader = pose_reader(ODOMETRY)
    reader.add('/odom', Message(header=header(0), pose=pose()), 5.0)
    with pytest.raises(VprError) as error:
        reader.trajectory()
    assert line_of(error) == '/odom: all stamps are zero; use --stamps receive'


def in_frames(*names: str) -> PoseReader:
    reader = pose_reader(ODOMETRY)
    for i, name in enumerate(names):
        reader.add('/odom', Message(header=header(1 + i, name), pose=pose((i, 0, 0))), 1.0)
    return reader


def test_a_few_poses_in_another_frame_are_left_out_and_with_more_the_topic_is_refused():
    track = in_frames('o\x01om', *['odom'] * 19).trajectory()
    assert (track.frame, track.refused, track.stamps[0]) == ('odom', {'in another frame': 1}, 2.0)
    with pytest.raises(VprError) as error:
        in_frames('odom', 'map').trajectory()
    assert '/odom: poses are in frame odom and in map' in line_of(error)


@pytest.mark.parametrize('msgtype', sorted(POSE_TYPES))
def test_a_reader_without_messages_says_so_in_one_line(msgtype):
    with pytest.raises(VprError) as error:
        pose_reader(msgtype).trajectory('camera')
    line_of(error)


def test_other_types_are_refused():
    with pytest.raises(VprError) as error:
        pose_reader('sensor_msgs/msg/Imu')
    assert 'sensor_msgs/msg/Imu' in line_of(error) and ODOMETRY in line_of(error)


# --- tf


def robot(*, camera='camera', mounting=(0, 0, 0, 1), **options):
    """Odometry from x = 0 to 10 in 10 s, turning left by 90 degrees, off the map by 100 m."""
    reader = pose_reader(TF, **options)
    for i in range(11):
        odom = (i, 'odom', 'base', (i, 0, 0), turned(9 * i))
        reader.add('/tf', transforms((i, 'map', 'odom', (100, 0, 0), (0, 0, 0, 1)), odom), i)
    # comes last, as when a bag is cut out of a longer one, and twice
    for x in (7, 0.5):
        static = transforms((0, 'base', camera, (x, 0, 1), mounting))
        reader.add('/tf_static', static, 11.0)
    return reader


def test_a_chain_is_composed_of_its_transforms_at_the_stamp():
    track = robot().trajectory('camera')
    found, why = track.at(10.0, 1.5)
    assert (found.x, found.y, found.z) == pytest.approx((110, 0.5, 1))
    assert (math.degrees(found.yaw), why, track.frame) == (pytest.approx(90), '', 'map')
    between, _ = track.at(4.5, 1.5)
    angle = math.radians(40.5)
    expected = (104.5 + 0.5 * math.cos(angle), 0.5 * math.sin(angle), 1)
    assert (between.x, between.y, between.z) == pytest.approx(expected)
    assert between.yaw == pytest.approx(angle)


@pytest.mark.parametrize('camera', ['cam_optical_frame', '/left_optical'])
def test_a_lens_that_looks_ahead_has_the_heading_of_the_robot(camera):
    track = robot(camera=camera, mounting=OPTICAL).trajectory(camera)
    found, _ = track.at(5.0, 1.5)
    assert math.degrees(found.yaw) == pytest.approx(45)
    turn = (found.qx, found.qy, found.qz, found.qw)
    assert turn == pytest.approx(turned(45), abs=1e-12) or turn == pytest.approx(
        tuple(-v for v in turned(45)), abs=1e-12
    )


def test_a_lens_that_looks_left_heads_left():
    left = transforms((0, 'base', 'mast', (0, 0, 0), turned(90)))
    reader = robot()
    reader.add('/tf_static', left, 0)
    lens = transforms((0, 'mast', 'side_optical', (0, 0, 0), OPTICAL))
    reader.add('/robot/tf_static', lens, 0)
    found, _ = reader.trajectory('side_optical').at(0.0, 1.5)
    assert math.degrees(found.yaw) == pytest.approx(90)


def test_a_chain_goes_through_transforms_backwards():
    # a tracker that publishes where the world is, seen from the robot
    reader = pose_reader(TF)
    for i in range(1, 4):
        reader.add('/tf', transforms((i, 'base', 'world', (-i, 0, 0), (0, 0, 0, 1))), i)
    reader.add('/tf', transforms((2, 'base', 'world', (0, 2, 0), turned(-90))), 2)
    track = reader.trajectory('base')
    found, _ = track.at(2.0, 2.0)
    assert (found.x, found.y, found.z) == pytest.approx((2, 0, 0), abs=1e-12)
    assert (math.degrees(found.yaw), track.frame) == (pytest.approx(90), 'world')
    assert track.at(3.0, 2.0)[0].x == pytest.approx(3)


def test_a_gap_in_any_transform_is_a_gap():
    reader = robot()
    reader.add('/tf', transforms((20, 'odom', 'base', (20, 0, 0), (0, 0, 0, 1))), 20)
    reader.add('/tf', transforms((14, 'map', 'odom', (100, 0, 0), (0, 0, 0, 1))), 14)
    reader.add('/tf', transforms((20, 'map', 'odom', (100, 0, 0), (0, 0, 0, 1))), 20)
    track = reader.trajectory('camera')
    assert track.at(15.0, 1.5) == (None, 'gap between poses')
    assert track.at(-1.0, 1.5) == (None, 'before the first pose')
    assert track.at(21.0, 1.5) == (None, 'after the last pose')
    assert track.gaps(1.5) == [(10, 20)]
    assert track.describe().longest_gap_s == 10


def test_description_of_a_chain():
    found = robot().trajectory('base').describe()
    assert (found.count, found.rate_hz, found.duration_s) == (11, 1, 10)
    assert (found.length_m, found.longest_gap_s) == pytest.approx((10, 1))


def test_a_camera_on_a_wall_has_one_pose_for_ever():
    reader = pose_reader(TF)
    reader.add('/tf_static', transforms((0, 'map', 'wall', (1, 2, 3), turned(30))), 0)
    track = reader.trajectory('wall')
    assert track.at(123.0, 0.1)[0].y == 2
    assert (track.describe().count, track.gaps(0.1)) == (1, [])


@pytest.mark.parametrize(
    ('frames', 'root'),
    [
        (['map', 'odom', 'base'], 'map'),
        (['earth', 'odom', 'base'], 'odom'),
        (['earth', 'world', 'base'], 'world'),
        (['vicon', 'base'], 'vicon'),
    ],
)
def test_the_frame_of_the_map_is_guessed(frames, root):
    reader = pose_reader(TF)
    for parent, child in zip(frames, frames[1:], strict=False):
        for i in (1, 2):
            reader.add('/tf', transforms((i, parent, child, (1, 0, 0), (0, 0, 0, 1))), i)
    assert reader.trajectory('base').frame == root


def tf_refusal(reader, camera: str = 'camera') -> str:
    with pytest.raises(VprError) as error:
        reader.trajectory(camera)
    return line_of(error)


def test_frames_that_are_not_connected_name_those_that_are():
    reader = robot()
    static = transforms((0, 'arm', 'hand', (0, 0, 0), (0, 0, 0, 1)))
    reader.add('/tf_static', static, 0)
    assert 'no chain from map to hand; hand is connected to: arm;' in tf_refusal(reader, 'hand')
    said = tf_refusal(reader, 'eye')
    assert (
        'no chain from map to eye; there is no frame eye, but: arm, base, camera, hand, map'
        in said
    )
    assert '--camera-frame' in tf_refusal(reader, '')
    assert 'no chain from site to camera' in tf_refusal(robot(map_frame='site'))


def test_two_roots_need_a_choice():
    reader = pose_reader(TF)
    for parent in ('a', 'b'):
        static = transforms((0, parent, f'{parent}_camera', (0, 0, 0), (0, 0, 0, 1)))
        reader.add('/tf_static', static, 0)
    assert '(roots: a, b); give --map-frame' in tf_refusal(reader, 'a_camera')


def test_only_transforms_of_the_chain_must_have_sound_stamps():
    reader = robot()
    for stamp in (1000, 5):
        wheel = transforms((stamp, 'base', 'wheel', (0, 0, 0), turned(stamp)))
        reader.add('/tf', wheel, 1)
    assert reader.trajectory('camera').at(5, 1.5)[0]
    assert 'tf base -> wheel: the clock jumps back by 995.0 s' in tf_refusal(reader, 'wheel')


def test_transforms_that_are_never_there_together_are_refused():
    reader = pose_reader(TF)
    reader.add('/tf', transforms((1, 'map', 'odom', (0, 0, 0), (0, 0, 0, 1))), 1)
    reader.add('/tf', transforms((50, 'odom', 'base', (0, 0, 0), (0, 0, 0, 1))), 50)
    assert 'never exist at the same time' in tf_refusal(reader, 'base')


# --- transforms that are constant though nobody said so


def test_a_static_transform_with_stamp_zero_on_tf_is_constant():
    for copies in (1, 3):
        reader = robot(camera='other')
        for _ in range(copies):
            edge = (0, 'base', 'camera', (0.5, 0, 1), (0, 0, 0, 1))
            reader.add('/tf', transforms(edge), 4.0)
        track = reader.trajectory('camera')
        for stamp in (0.0, 5.0, 10.0):
            assert track.at(stamp, 1.5)[0].z == pytest.approx(1)
        said = 'base -> camera has stamp 0 on /tf and never changes: it is taken as constant'
        assert said in track.remarks


def test_a_transform_sent_once_or_seldom_on_tf_is_constant():
    for received in (False, True):  # the advice for stamps of 0 leads to no dead end
        for stamps, said in (([3], 'sent once only'), ([1, 2.5, 2.6], 'sent seldom')):
            reader = robot(camera='other', use_received=received)
            for stamp in stamps:
                edge = (0 if received else stamp, 'base', 'camera', (0.5, 0, 1), (0, 0, 0, 1))
                reader.add('/tf', transforms(edge), stamp)
            track = reader.trajectory('camera')
            assert track.at(9.5, 1.5)[0].z == pytest.approx(1)
            assert any(said in remark for remark in track.remarks)


def test_a_static_transform_that_is_also_on_tf_is_that_of_tf_static():
    reader = robot()
    reader.add('/tf', transforms((0, 'base', 'camera', (0.1, 0, 1), (0, 0, 0, 1))), 0.0)
    assert reader.trajectory('camera').at(0.0, 1.5)[0].x == pytest.approx(100.5)


def test_a_transform_with_stamp_zero_that_changes_says_what_to_do():
    reader = robot(camera='other')
    for x in (0, 1):
        reader.add('/tf', transforms((0, 'base', 'camera', (x, 0, 1), (0, 0, 0, 1))), 4.0)
    assert 'tf base -> camera: all stamps are zero; use --stamps receive' in tf_refusal(reader)


def test_constant_transforms_at_random():
    rng = np.random.default_rng(22)
    for _ in range(100):
        reader = robot(camera='other', use_received=bool(rng.random() < 0.5))
        frames = ['base', *(f'f{i}' for i in range(rng.integers(1, 5))), 'camera']
        for parent, child in zip(frames, frames[1:], strict=False):
            topic, zero = rng.choice(['/tf', '/tf_static']), rng.random() < 0.5
            place = rng.uniform(-1, 1, 3).tolist()
            for stamp in np.sort(rng.uniform(1, 9, rng.integers(1, 4))).tolist():
                edge = (0 if zero else stamp, parent, child, place, turned(0))
                reader.add(topic, transforms(edge), stamp)
        track = reader.trajectory('camera')
        assert all(track.at(float(stamp), 1.5)[0] for stamp in range(11))


# --- odometry in a chain of transforms


def test_odometry_that_begins_anew_under_tf_is_left_out():
    for root in ('odom', 'map'):
        reader = pose_reader(TF)
        offset = (100, 0, 0)
        for i in range(200):
            x = i / 10 + 5 if i < 120 else (i - 120) / 10
            if root == 'map':  # SLAM makes up for it at once
                offset = (100, 0, 0) if i < 120 else (117, 0, 0)
                edge = (i / 10, 'map', 'odom', offset, (0, 0, 0, 1))
                reader.add('/tf', transforms(edge), i / 10)
            reader.add('/tf', transforms((i / 10, 'odom', 'base', (x, 0, 0), turned(0))), i / 10)
        reader.add('/tf_static', transforms((0, 'base', 'camera', (1, 0, 1), turned(0))), 0)
        track = reader.trajectory('camera')
        assert track.at(11.95, 1.5)[1] == 'gap between poses'  # nothing in between
        assert track.at(8.0, 1.5)[0].x == pytest.approx(114 if root == 'map' else 14)
        after = track.at(15.0, 1.5)[0]
        if root == 'map':
            assert after.x == pytest.approx(121) and not track.refused
        else:
            assert after is None and sum(track.refused.values()) == 80
            assert any('starts again' in remark for remark in track.remarks)


def test_a_moment_elsewhere_in_tf_is_left_out():
    reader = pose_reader(TF)
    for i in range(100):
        x = i / 10 + (500 if i == 50 else 0)
        reader.add('/tf', transforms((i / 10, 'map', 'base', (x, 0, 0), turned(0))), i / 10)
    track = reader.trajectory('base')
    assert sum(track.refused.values()) == 1
    assert track.at(5.0, 1.5)[0] is None and track.at(5.1, 1.5)[0].x == pytest.approx(5.1)
    assert track.gaps(1.5) == [pytest.approx((4.9, 5.1))]


def test_senseless_transforms_are_left_out_and_counted():
    reader = robot()
    reader.add('/tf_static', transforms((0, 'base', 'camera', (0, 0, 0), (0, 0, 0, 0))), 0)
    reader.add('/tf', transforms((1, 'base', 'base', (0, 0, 0), (0, 0, 0, 1))), 1)
    reader.add('/tf', transforms((1.5, 'odom', 'base', (math.nan, 0, 0), (0, 0, 0, 1))), 1)
    track = reader.trajectory('camera')
    assert sum(track.refused.values()) == 3
    assert track.at(1.5, 1.5)[0].z == pytest.approx(1)


def test_a_frame_with_several_parents_is_said():
    reader = robot()
    for i in range(3):
        reader.add('/tf', transforms((i, 'vodom', 'base', (9, 9, 9), (0, 0, 0, 1))), i)
    track = reader.trajectory('camera')
    assert any(
        'several parents (odom, vodom); the one through odom is used' in line
        for line in track.remarks
    )
    assert not any('several parents' in line for line in robot().trajectory('camera').remarks)


def test_a_transform_that_was_refused_is_told_where_it_lacks():
    reader = robot()
    lost = transforms((0, 'base', 'lens', (math.nan, 0, 0), (0, 0, 0, 1)))
    reader.add('/tf_static', lost, 0)
    assert '1 left out: constant transform not finite' in tf_refusal(reader, 'lens')

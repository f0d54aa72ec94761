# SPDX-License-Identifier: Apache-2.0
"""Poses over time: between them, at their ends, and what of a flawed recording is taken."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from conftest import line_of

from ashtkd_ros.errors import VprError
from ashtkd_ros.geometry.quaternions import slerp
from ashtkd_ros.geometry.trajectory import STRAY, Trajectory, TrajectoryBuilder, read_tum

LEVEL = (0.0, 0.0, 0.0, 1.0)


def turned(degrees: float) -> tuple[float, float, float, float]:
    half = math.radians(degrees) / 2
    return (0.0, 0.0, math.sin(half), math.cos(half))


def along_x(stamps, headings=None) -> Trajectory:
    """A trajectory whose x is ten times the stamp."""
    builder = TrajectoryBuilder('/odom')
    for stamp, heading in zip(stamps, headings or [0] * len(stamps), strict=True):
        builder.add(stamp, (10 * stamp, 0, 0), turned(heading))
    return builder.build()


def refusal(stamps, quaternion=LEVEL, **options) -> str:
    builder = TrajectoryBuilder('/odom', **options)
    for stamp in stamps:
        builder.add(stamp, (0, 0, 0), quaternion)
    with pytest.raises(VprError) as error:
        builder.build()
    return line_of(error)


# --- between poses


def test_halfway_between_two_poses():
    builder = TrajectoryBuilder('/odom', 'odom')
    builder.add(100.0, (0, 2, -1), turned(10))
    builder.add(101.0, (4, 2, 1), turned(100))
    track = builder.build()
    pose, why = track.at(100.5, 2.0)
    assert (pose.x, pose.y, pose.z) == pytest.approx((2, 2, 0))
    assert math.degrees(pose.yaw) == pytest.approx(55)
    assert (why, track.frame) == ('', 'odom')
    quarter, _ = track.at(100.25, 2.0)
    assert (quarter.x, math.degrees(quarter.yaw)) == pytest.approx((1, 32.5))


def test_orientations_take_the_shortest_arc():
    assert math.degrees(along_x([1, 2], [170, -170]).at(1.5, 2)[0].yaw) % 360 == pytest.approx(180)
    # the same orientation with the sign of its quaternion turned is no turn at all
    builder = TrajectoryBuilder('/odom')
    builder.add(1, (0, 0, 0), turned(30))
    builder.add(2, (0, 0, 0), tuple(-v for v in turned(40)))
    assert math.degrees(builder.build().at(1.25, 2)[0].yaw) == pytest.approx(32.5)


def test_slerp_turns_evenly_also_where_there_is_hardly_a_turn():
    parts = np.linspace(0, 1, 5)
    for degrees in (0.0, 1e-7, 1.0, 179.0):
        ends = np.tile(turned(0), (5, 1)), np.tile(turned(degrees), (5, 1))
        found = slerp(*ends, parts)
        assert found == pytest.approx(np.array([turned(p * degrees) for p in parts]), abs=1e-12)


def test_a_stamp_that_hits_a_pose_gets_it():
    track = along_x([1, 2, 50])
    for stamp in (1, 2, 50):
        assert track.at(stamp, 0.1)[0].x == 10 * stamp


# --- ends and gaps


def test_before_after_and_gap_are_told_apart():
    track = along_x([1, 2, 5, 6])
    assert track.at(0.9, 1.5) == (None, 'before the first pose')
    assert track.at(6.1, 1.5) == (None, 'after the last pose')
    assert track.at(3.0, 1.5) == (None, 'gap between poses')
    assert track.at(3.0, 3.0)[0].x == pytest.approx(30)
    assert track.at(math.nan, 3.0)[0] is None


def test_an_image_just_outside_takes_the_pose_of_the_end():
    track = along_x([1, 2])
    assert track.at(0.985, 1.5)[0].x == 10
    assert track.at(2.015, 1.5)[0].x == 20


def test_poses_exactly_the_gap_apart_are_bridged_whatever_the_clock_says():
    epoch = 1.7e9 + 0.1
    builder = TrajectoryBuilder('/odom')
    for i in range(50):
        builder.add(epoch + i * 0.1, (i, 0, 0), LEVEL)
    track = builder.build()
    assert all(track.at(epoch + i * 0.1 + 0.05, 0.1)[0] for i in range(49))
    assert track.gaps(0.1) == []


def test_gaps_are_listed():
    assert along_x([1, 2, 5, 6, 9]).gaps(1.5) == [(2, 5), (6, 9)]


def test_a_single_pose_holds_at_its_stamp_only():
    track = along_x([3])
    assert track.at(3.01, 1)[0].x == 30
    assert track.at(3.1, 1) == (None, 'after the last pose')
    assert track.at(2.9, 1) == (None, 'before the first pose')
    assert track.describe().count == 1


def test_many_stamps_at_once_are_the_same_as_one_by_one():
    track = along_x([1, 2, 5, 6], [0, 80, -80, 20])
    stamps = np.array([0.0, 1.0, 1.3, 3.0, 5.5, 7.0])
    positions, quaternions, reasons = track.sample(stamps, 1.5)
    for i, stamp in enumerate(stamps):
        pose, why = track.at(stamp, 1.5)
        assert bool(why) == bool(reasons[i])
        if pose:
            assert (pose.x, pose.qz, pose.qw) == (positions[i, 0], *quaternions[i, 2:])


def test_description():
    found = along_x([1, 1.5, 2, 2.5, 6]).describe()
    assert (found.count, found.rate_hz, found.duration_s) == (5, 2, 5)
    assert (found.length_m, found.longest_gap_s) == pytest.approx((50, 3.5))
    assert str(found) == '5 poses, 2.0 Hz, 5.0 s, 50.0 m, longest gap 3.50 s'


# --- latitude and longitude


def test_latitude_and_longitude_are_interpolated_too():
    geo = np.array([[10.0, 20.0], [11.0, 22.0], [12.0, 24.0]])
    track = Trajectory(np.array([1.0, 2, 9]), np.zeros((3, 3)), np.tile(LEVEL, (3, 1)), geo=geo)
    assert track.geo_at(1.5) == pytest.approx((10.5, 21))
    assert track.geo_at(0.0) is None
    assert track.geo_at(5.0, 2.0) is None
    assert along_x([1, 2]).geo_at(1.5) is None


def test_longitude_crosses_the_180th_meridian_the_short_way():
    geo = np.array([[0, 179.9], [0, -179.9]])
    track = Trajectory(np.array([1.0, 2]), np.zeros((2, 3)), np.tile(LEVEL, (2, 1)), geo=geo)
    assert track.geo_at(1.75) == pytest.approx((0, -179.95))
    assert track.geo_at(1.25) == pytest.approx((0, 179.95))


# --- flawed recordings


def test_small_disorder_is_sorted_and_of_the_same_stamp_the_last_stays():
    builder = TrajectoryBuilder('/odom')
    for stamp, x in [(1, 1), (3, 3), (2.5, 2.5), (3, 33), (4, 4)]:
        builder.add(stamp, (x, 0, 0), LEVEL)
    track = builder.build()
    assert track.stamps.tolist() == [1, 2.5, 3, 4]
    assert track.positions[:, 0].tolist() == [1, 2.5, 33, 4]


def test_a_clock_that_jumps_back_is_named():
    line = refusal([1000, 1001.5, 901.5, 902])
    assert line == (
        '/odom: the clock jumps back by 100.0 s after 1001.500 s (pose 2); use --stamps receive'
    )


@pytest.mark.parametrize('stray', [4e6, -50.0, 300.0])
@pytest.mark.parametrize('rows', [[0], [10], [10, 11], [5, 30], [39]])
def test_a_few_stray_stamps_are_left_out_and_counted(rows: list[int], stray: float):
    # with a pause of 50 s
    stamps = [stray if i in rows else 100.0 + i / 10 + 50 * (i > 20) for i in range(40)]
    track = along_x(stamps)
    ahead = stray > 150.0 and rows == [39] or stray < 100.0 and rows == [0]  # still in order
    assert track.refused == ({} if ahead else {STRAY: len(rows)})
    assert len(track.stamps) == 40 - (0 if ahead else len(rows))


@pytest.mark.parametrize('rate', [0.5, 2.0, 20.0])
def test_a_clock_that_was_set_back_is_no_stray_stamp(rate: float):
    for back in (4.0, 10.0, 1000.0):
        stamps = np.concatenate([np.arange(2000, 2200), np.arange(2200, 2400) - back * rate])
        assert 'the clock jumps back by ' in refusal((stamps / rate).tolist())


def test_stamps_that_are_all_zero_are_named():
    assert refusal([0, 0]) == '/odom: all stamps are zero; use --stamps receive'
    assert refusal([0, 0], remedy='do so').endswith('; do so')


def test_single_stamps_of_zero_are_left_out_and_counted():
    for stamps in ([0, 100, 101, 102], [100, 101, 0, 0, 102]):
        track = along_x(stamps)
        assert track.stamps.tolist() == [100, 101, 102] and track.span == (100, 102)
        assert track.refused == {'stamp zero': stamps.count(0)}
    begins_at_zero = along_x([0, 0.5, 1.0])
    assert begins_at_zero.stamps.tolist() == [0, 0.5, 1.0] and not begins_at_zero.refused


def test_no_pose_is_refused_and_why():
    assert refusal([]) == '/odom: has no usable pose; use another source of poses'
    assert '(2 quaternion of length 0)' in refusal([1, 2], (0, 0, 0, 0))


def test_bad_poses_are_left_out_and_counted():
    builder = TrajectoryBuilder('/odom')
    builder.add(1, (1, 0, 0), (0, 0, 0, 2))
    builder.add(2, (math.nan, 0, 0), LEVEL)
    builder.add(math.inf, (0, 0, 0), LEVEL)
    builder.add(3, (0, 0, 0), (0, 0, 0, 0))
    builder.add(4, (4, 0, 0), (0, 0, 3, 3))
    track = builder.build()
    assert track.refused == {'not finite': 2, 'quaternion of length 0': 1}
    assert track.stamps.tolist() == [1, 4]
    assert np.linalg.norm(track.quaternions, axis=1) == pytest.approx([1, 1])


# --- TUM files


def tum(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / 'poses.tum'
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_tum_file(tmp_path: Path):
    text = '# stamp tx ty tz qx qy qz qw\n\n1.5 1 2 3 0 0 0 1\n2.5  -1e0 2 3 0 0 1 0  # end\n'
    track = read_tum(tum(tmp_path, text), 'site')
    assert track.stamps.tolist() == [1.5, 2.5]
    assert track.positions.tolist() == [[1, 2, 3], [-1, 2, 3]]
    assert track.quaternions.tolist() == [[0, 0, 0, 1], [0, 0, 1, 0]]
    assert track.frame == 'site'


@pytest.mark.parametrize(
    ('text', 'said'),
    [
        ('1 0 0 0 0 0 0 1\n2 0 0 0 0 0 1\n', ':2: the line has 7 columns'),
        ('# x\n1,0,0,0,0,0,0\n', ':2: the line has 1 columns'),
        ('1 0 0 0 0 0 0 one\n', ':1: qw is "one", it must be a finite number'),
        ('1 0 nan 0 0 0 0 1\n', ':1: y is "nan", it must be a finite number'),
        ('1;0;0,5;0;0;0;0;1\n', ':1: y is "0,5", write it with a decimal point'),
        ('1,0,,0,0,0,0,1\n', ':1: y is "", it must be a finite number'),
        ('1 0 1e12 0 0 0 0 1\n', ':1: its position 0.0, 1000000000000.0, 0.0 is nowhere'),
        ('', ': has no usable pose'),
        ('0 0 0 0 0 0 0 1\n', ': all stamps are zero; the first column'),
        ('9 0 0 0 0 0 0 1\n2 0 0 0 0 0 0 1\n', ': the clock jumps back by 7.0 s'),
        (b'\xff\xfe1', ': cannot be read (it is not UTF-8 text)'),
    ],
)
def test_flawed_tum_files_are_refused_in_one_line(tmp_path: Path, text, said):
    path = tum(tmp_path, text)
    with pytest.raises(VprError) as error:
        read_tum(path)
    assert line_of(error).startswith(f'{path}{said}')


def test_a_tum_file_that_is_not_there(tmp_path: Path):
    with pytest.raises(VprError) as error:
        read_tum(tmp_path / 'none.tum')
    assert line_of(error).endswith('none.tum: no such file; give a file of poses in TUM format')

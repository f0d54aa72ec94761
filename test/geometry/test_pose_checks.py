# SPDX-License-Identifier: Apache-2.0
"""Poses that cannot be are left out, counted and said; sound ones of every kind stay."""

from __future__ import annotations

import math

import numpy as np
import pytest
from test_pose_messages import FIX, ODOMETRY, Message, fix, header, pose, turned

from ashtkd_ros.errors import VprError
from ashtkd_ros.geometry.geodesy import GeoOrigin
from ashtkd_ros.geometry.pose_checks import (
    LOST,
    OUTLIER,
    RESTARTED,
    STUCK,
    check_poses,
    lost,
    notes_on,
)
from ashtkd_ros.geometry.trajectory import read_tum
from ashtkd_ros.traverses.pose_messages import pose_reader

RATES = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 100.0)
ORIGIN = GeoOrigin(50.0, 8.0, 100.0)


def drive(rng: np.random.Generator, count: int, rate: float, top: float) -> tuple:
    """A vehicle with bends, stops and changes of speed: stamps, positions and headings."""
    dt = 1.0 / rate
    speed, target, heading, at = 0.0, 0.0, rng.uniform(-3, 3), np.zeros(2)
    stamps, rows, headings, left = [], [], [], 0.0
    for i in range(count):
        left -= dt
        if left <= 0:
            target = rng.choice([0.0, top, rng.uniform(0, top)])
            turn, left = rng.normal(0, 0.1), rng.uniform(3, 30)
        speed += np.clip(target - speed, -3.0 * dt, 2.0 * dt)
        heading += turn * dt * min(1.0, 3.0 / max(speed, 0.1)) * (speed > 0)
        at = at + speed * dt * np.array([math.cos(heading), math.sin(heading)])
        stamps.append(1000.0 + i * dt)
        rows.append([*at, 0.0])
        headings.append(heading)
    return np.array(stamps), np.array(rows), np.array(headings)


def turns(headings: np.ndarray) -> np.ndarray:
    zero = np.zeros(len(headings))
    return np.column_stack([zero, zero, np.sin(headings / 2), np.cos(headings / 2)])


def sound(rng: np.random.Generator) -> tuple:
    """Kind, stamps, positions, headings and whether of odometry, of a sound track of some kind."""
    rate = float(rng.choice(RATES))
    top = float(rng.choice([0.3, 1.0, 5.0, 15.0, 30.0, 60.0, 83.0]))
    count = int(rng.integers(20, 400))
    stamps, rows, headings = drive(rng, count, rate, top)
    kind = rng.choice(['plain', 'noise', 'jitter', 'gaps', 'repeated', 'parts', 'far'])
    if kind == 'noise':  # of satellites: metres at 1 Hz, and slow at higher rates
        sigma, share = rng.uniform(0.01, 4.0), min(1.0, 1.0 / rate)
        noise = np.zeros((count, 2))
        for i in range(1, count):
            noise[i] = (1 - share) * noise[i - 1] + share * rng.normal(0, sigma, 2)
        rows[:, :2] += noise
    elif kind == 'jitter':  # receive times
        stamps = np.sort(stamps + rng.uniform(-0.45, 0.45, count) / rate)
    elif kind == 'gaps':
        keep = rng.random(count) > rng.uniform(0.05, 0.6)
        keep[:3] = True
        stamps, rows, headings = stamps[keep], rows[keep], headings[keep]
    elif kind == 'repeated':  # a slow sensor, published more often
        every = int(rng.integers(2, 12))
        held = np.arange(count) // every * every
        rows, headings = rows[held], headings[held]
    elif kind == 'far':  # in UTM
        rows = rows + [500000.0, 5500000.0, 100.0]
    parts = kind == 'parts'
    if parts:  # sessions: somewhere else after a pause, or from the beginning again
        half = count // 2
        rows += [5.0, 0, 0]  # a pose that stays at the very origin is one that is not known yet
        rows[half:] += rng.choice([[3000.0, 0, 0], -rows[half], [-400.0, 50.0, 0]])
        stamps[half:] += rng.choice([0.0, 60.0, 3600.0])
    return kind, stamps, rows, headings, bool(rng.random() < 0.5 and not parts)


def test_sound_tracks_of_every_kind_stay_whole():
    rng = np.random.default_rng(9)
    for number in range(600):
        kind, stamps, rows, headings, odometry = sound(rng)
        verdict = check_poses(stamps, rows, turns(headings), odometry)
        assert verdict.keep.all(), (number, kind, verdict.refused, verdict.remarks)


def test_sound_tracks_without_parts_are_not_split():
    rng = np.random.default_rng(10)
    for number in range(300):
        rate = float(rng.choice(RATES))
        top = float(rng.choice([0.3, 1.0, 5.0, 15.0, 30.0, 60.0, 83.0]))
        stamps, rows, headings = drive(rng, int(rng.integers(20, 400)), rate, top)
        verdict = check_poses(stamps, rows, turns(headings), True)
        moved = rows.any()
        assert not len(verdict.breaks) and not (moved and verdict.remarks), (number, rate, top)


def moving(rng: np.random.Generator, rate: float, top: float, count: int) -> tuple:
    """A drive that goes on: stamps, positions, headings."""
    while True:
        stamps, rows, headings = drive(rng, count, rate, top)
        if np.linalg.norm(rows[count // 3 : -count // 4], axis=1).min() > 20.0:
            return stamps, rows, headings


def test_outliers_are_left_out_wherever_they_are():
    rng = np.random.default_rng(11)
    for number in range(200):
        rate, top = float(rng.choice([1.0, 5.0, 10.0, 50.0])), float(rng.choice([1.5, 10.0, 30.0]))
        stamps, rows, headings = drive(rng, int(rng.integers(60, 300)), rate, top)
        rows[:, :2] += rng.normal(0, 0.3 if rate > 1 else 1.5, rows[:, :2].shape)
        bad = np.zeros(len(rows), bool)
        for _ in range(int(rng.integers(1, 4))):
            at, long = int(rng.integers(len(rows))), int(rng.integers(1, 4))
            bad[at : at + long] = True
            angle = rng.uniform(0, 2 * math.pi)
            away = rng.uniform(400, 1e6) * np.array([math.cos(angle), math.sin(angle)])
            rows[at : at + long, :2] += away
        verdict = check_poses(stamps, rows)
        assert (verdict.keep == ~bad).all(), (number, np.flatnonzero(bad), verdict)
        assert verdict.refused[OUTLIER] == bad.sum()


def test_odometry_that_begins_anew_keeps_its_longest_part():
    rng = np.random.default_rng(12)
    for number in range(60):
        rate, top = float(rng.choice([5.0, 10.0])), float(rng.choice([1.5, 3.0, 20.0]))
        count = int(120 * rate)
        stamps, rows, headings = moving(rng, rate, top, count)
        at = int(rng.integers(count // 3, 3 * count // 4))
        cos, sin = math.cos(headings[at]), math.sin(headings[at])
        rows[at:, :2] = (rows[at:, :2] - rows[at, :2]) @ np.array([[cos, -sin], [sin, cos]])
        headings[at:] -= headings[at]
        stamps[at:] += rng.choice([0.0, 0.5, 4.0])
        verdict = check_poses(stamps, rows, turns(headings), True)
        longest = np.arange(count) < at if at >= count - at else np.arange(count) >= at
        assert (verdict.keep == longest).all(), (number, at, count, verdict)
        assert verdict.refused == {RESTARTED: (~longest).sum()}
        assert 'starts again' in verdict.remarks[0]
        # in a map it may have been carried there: split, and nothing is lost
        verdict = check_poses(stamps, rows, turns(headings))
        assert verdict.keep.all()


def test_a_stuck_source_that_jumps_ahead_is_left_out():
    rng = np.random.default_rng(13)
    for _ in range(100):
        rate, speed = float(rng.choice([10.0, 50.0])), rng.uniform(0.5, 20.0)
        count = int(60 * rate)
        stamps = 10.0 + np.arange(count) / rate
        rows = np.zeros((count, 3))
        rows[:, 0] = 5.0 + speed * np.arange(count) / rate
        at, end = int(20 * rate), int((20 + rng.uniform(4, 15)) * rate)
        rows[at:end] = rows[at]
        verdict = check_poses(stamps, rows)
        assert verdict.refused == {STUCK: end - at - 1}
        stood = rows.copy()  # the same, but it stood there
        stood[end:, 0] -= stood[end, 0] - stood[at, 0] - speed / rate
        assert check_poses(stamps, stood).keep.all()


def test_poses_that_never_change_are_said():
    verdict = check_poses(np.arange(20.0), np.ones((20, 3)))
    assert verdict.keep.all() and 'never change' in verdict.remarks[0]


def test_units_that_are_wrong_are_said_and_nothing_is_lost():
    rng = np.random.default_rng(3)
    verdict = check_poses(np.arange(100.0), rng.uniform(-1e6, 1e6, (100, 3)) ** 3)
    assert verdict.keep.all() or verdict.refused[OUTLIER] < 25


# --- covariance


@pytest.mark.parametrize('huge', [9999.0, 1e6, 1e9])
def test_lost_odometry_says_so_by_its_covariance(huge):
    positions = np.column_stack([np.arange(100.0), np.zeros(100), np.zeros(100)])
    variances = np.full(100, 0.01)
    variances[40:60] = huge
    assert np.flatnonzero(lost(positions, variances)).tolist() == list(range(40, 60))
    variances = np.full(100, 0.01)
    variances[:7] = variances[90:] = huge
    assert lost(positions, variances).sum() == 17


def test_drift_and_placeholders_are_not_lost():
    positions = np.column_stack([np.arange(1000.0), np.zeros(1000), np.zeros(1000)])
    t = np.linspace(0, 1, 1000)
    for variances in (1e5 * t, 1e6 * t**3, np.full(1000, 1e9), np.full(1000, np.nan), -1 + 0 * t):
        assert not lost(positions, variances).any()
    assert lost(np.zeros((1000, 3)), np.full(1000, 9999.0)).all()


def odometry(rows, covariance=None) -> list:
    made = []
    for i, (x, y, degrees) in enumerate(rows):
        matrix = np.zeros(36)
        matrix[[0, 7]] = covariance[i] if covariance is not None else 0.0
        body = Message(pose=pose((x, y, 0), turned(degrees)), covariance=matrix)
        stamp = header(100 + i / 10, 'odom')
        made.append(Message(header=stamp, child_frame_id='base_link', pose=body))
    return made


def track_of(messages, msgtype=ODOMETRY):
    reader = pose_reader(msgtype)
    for message in messages:
        reader.add('/poses', message, 0.0)
    return reader.trajectory()


def test_lost_odometry_is_not_interpolated():
    rows = [(5 + i / 10, 2, 0) for i in range(200)]
    rows[80:120] = [(0, 0, 0)] * 40
    covariance = [0.01] * 200
    covariance[80:120] = [9999.0] * 40
    for messages in (odometry(rows, covariance), odometry(rows)):
        track = track_of(messages)
        assert track.refused == {LOST: 40}
        assert track.at(110.0, 1.5) == (None, 'gap between poses')
        assert track.at(105.05, 1.5)[0].x == pytest.approx(10.05)


def test_a_new_start_splits_the_track():
    rows = [(20 + i / 10, 2, 30) for i in range(200)] + [(i / 10, 0, 0) for i in range(50)]
    track = track_of(odometry(rows))
    assert track.span[1] == pytest.approx(119.9) and track.refused == {RESTARTED: 50}
    assert 'starts again at the origin at 120.0 s' in track.remarks[0]
    # without the name of odometry both parts stay, but nothing is in between
    stamped = [
        Message(header=header(100 + i / 10), pose=m.pose.pose)
        for i, m in enumerate(odometry(rows))
    ]
    track = track_of(stamped, 'geometry_msgs/msg/PoseStamped')
    assert track.at(119.95, 1.5) == (None, 'gap between poses') and not track.refused
    assert track.at(120.05, 1.5)[0].x == pytest.approx(0.05)
    assert track.gaps(1.5) == [pytest.approx((119.9, 120.0))]


# --- satellites


def fixes(rows) -> list:
    enu = np.array([[x, y, 0] for x, y in rows], float)
    return [fix(1000 + i, *row) for i, row in enumerate(ORIGIN.to_geodetic(enu).tolist())]


def test_fixes_at_zero_and_far_away_are_left_out():
    messages = fixes([(3 * i, 0) for i in range(60)])
    for i in (0, 17, 18, 59):
        messages[i].latitude = messages[i].longitude = 0.0
    messages[30].latitude += 0.01  # 1.1 km
    track = track_of(messages, FIX)
    assert track.refused == {'at latitude and longitude 0': 4, OUTLIER: 1}
    assert track.origin.lat == pytest.approx(50, abs=1e-3)
    assert np.abs(track.positions).max() < 200
    assert track.at(1030.5, 1.5)[0] is None and track.at(1040.5, 1.5)[0] is not None
    assert abs(track.at(1025.0, 1.5)[0].yaw) < 1e-3  # and the heading is not drawn there
    assert abs(track.at(1033.0, 1.5)[0].yaw) < 1e-3


@pytest.mark.parametrize('rate', [1, 5, 10])
@pytest.mark.parametrize('degrees', [0.001, 0.01, 1.0])
def test_a_first_or_last_fix_far_away_is_an_outlier(rate, degrees):
    messages = fixes([(i / rate, 0) for i in range(60)])
    for i, message in enumerate(messages):
        message.header = header(1000 + i / rate)
    for i in (0, 59):
        messages[i].longitude += degrees
    track = track_of(messages, FIX)
    assert track.refused == {OUTLIER: 2} and np.abs(track.positions).max() < 70


@pytest.mark.parametrize('count', range(1, 8))
def test_few_poses_do_no_harm(count):
    rng = np.random.default_rng(count)
    for _ in range(50):
        rows = rng.choice([0.0, 1.0, 1e4], (count, 3))
        verdict = check_poses(np.sort(rng.uniform(0, 9, count)), rows, None, True)
        assert verdict.keep.any()


def test_all_fixes_at_zero_are_no_pose():
    with pytest.raises(VprError) as error:
        track_of([fix(1 + i, 0.0, 0.0) for i in range(5)], FIX)
    assert '/poses: has no usable pose (5 at latitude and longitude 0)' in str(error.value)


def test_a_simulator_that_begins_at_zero_is_believed():
    track = track_of([fix(1 + i, 1e-5 * i, 0.0) for i in range(30)], FIX)
    assert not track.refused and len(track.stamps) == 30


def test_fixes_without_certainty_are_left_out():
    messages = fixes([(3 * i, 0) for i in range(20)])
    for i, message in enumerate(messages):
        message.position_covariance = [1e6 if i == 4 else 4.0] * 9
        message.position_covariance_type = 2
    assert track_of(messages, FIX).refused == {'no fix, by its covariance': 1}
    messages[4].position_covariance_type = 0  # unknown
    assert not track_of(messages, FIX).refused


def test_a_height_that_is_unknown_is_that_of_its_neighbours():
    messages = fixes([(3 * i, 0) for i in range(20)])
    messages[7].altitude = math.nan
    assert np.ptp(track_of(messages, FIX).positions[:, 2]) < 0.1


# --- files


def test_a_trajectory_file_is_checked(tmp_path):
    rows = [f'{100 + i / 10} {i / 10} 5 0 0 0 0 1' for i in range(100)]
    rows[50] = '105.0 1105 5 0 0 0 0 1'
    (tmp_path / 'a.tum').write_text('\n'.join(rows))
    track = read_tum(tmp_path / 'a.tum').checked()
    assert track.refused == {OUTLIER: 1}
    assert notes_on('a.tum', track.refused, track.remarks) == [
        f'1 poses of a.tum are left out: 1 {OUTLIER}'
    ]

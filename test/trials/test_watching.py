# SPDX-License-Identifier: Apache-2.0
"""Each trouble is told once, when it is sure, and its end once; a good stream tells nothing."""

from __future__ import annotations

import math
import random

import pytest

from ashtkd_ros.stamps import s_to_ns
from ashtkd_ros.trials.moment import Moment
from ashtkd_ros.trials.robot_watch import accuracy_m
from ashtkd_ros.trials.trial_log import LogEntry
from ashtkd_ros.trials.vocabulary import (
    CAMERA_BACK,
    CAMERA_FAULT,
    CAMERA_STOPPED,
    CLOCK_JUMP,
    DISK_FULL,
    DISK_LOW,
    GNSS_BACK,
    GNSS_JUMP,
    GNSS_LOST,
    MAP_SWAPPED,
    MESSAGES_LOST,
    NODE_BACK,
    NODE_SILENT,
    ODOMETRY_BACK,
    ODOMETRY_STOPPED,
    RECORDER_BACK,
    RECORDER_LOST,
)
from ashtkd_ros.trials.watching import ENDS, Watch, is_end_of

CAMERA, SINCE_NS = '/camera', 1_795_000_000 * 10**9
DEGREE_M = 111_195.0


class Robot:
    """A robot whose parts can be switched off and shifted; `told`: (second, entry)."""

    def __init__(self, hz: float = 10.0, **options: object):
        self.watch, self.told = Watch([CAMERA], **options), []
        self.hz, self.now = hz, 0.0
        self.on = {'camera', 'node', 'fix', 'odometry', 'recorder'}
        self.clock = self.camera_clock = self.north = 0.0
        self.recorder = {'state': 'recording', 'lost': 0, 'free_mb': 50_000.0}

    def at(self) -> Moment:
        return Moment(s_to_ns(self.now), SINCE_NS + s_to_ns(self.now + self.clock))

    def drive(self, seconds: float) -> list[str]:
        """Go on for so long; the kinds of what was told meanwhile."""
        before, steps = len(self.told), round(seconds * 20)
        for _ in range(steps):
            self.now += 0.05
            self._step(round(self.now * 20))
        return [entry.kind for _, entry in self.told[before:]]

    def _step(self, step: int) -> None:
        watch, at, x = self.watch, self.at(), self.now * 1.0
        told: list[LogEntry] = []
        if step % max(1, round(20 / self.hz)) == 0 and 'camera' in self.on:
            stamp = at.stamp_ns + s_to_ns(self.camera_clock)
            told += watch.image(CAMERA, stamp, at)
            told += watch.answer(CAMERA, at) if 'node' in self.on else []
        if step % 20 == 0 and 'fix' in self.on:
            lat = 48.0 + (x + self.north) / DEGREE_M
            told += watch.fix(lat, 11.0, 0, 0.5, at)
        if step % 4 == 0 and 'odometry' in self.on:
            told += watch.odometry(x, 0.0, at)
        if step % 20 == 0 and 'recorder' in self.on:
            told += watch.recorder(written=round(self.now * 1e6), at=at, **self.recorder)
        told += watch.tick(at) if step % 5 == 0 else []
        self.told += [(self.now, entry) for entry in told]

    def last(self) -> LogEntry:
        return self.told[-1][1]


@pytest.mark.parametrize('hz', [20.0, 10.0, 1.0, 0.5])
def test_a_good_stream_tells_nothing(hz: float):
    assert Robot(hz).drive(120) == []


def test_jitter_and_late_images_tell_nothing():
    """Each image is delivered late, by up to 1.3 s, in the order of their stamps."""
    noise, watch, told = random.Random(1), Watch([CAMERA], recorder=False), []
    arrivals, last = [], 0.0
    for k in range(3000):
        last = max(last, 0.1 * k + noise.choice((0.02, 0.03, 0.05, 0.2, 0.3)))
        last += 1.0 if k % 500 == 400 else 0.0
        arrivals.append((last, 0.1 * k))
    for when, stamp in sorted(arrivals + [(0.25 * k, -1.0) for k in range(1200)]):
        at = Moment(s_to_ns(when), SINCE_NS + s_to_ns(when))
        if stamp < 0.0:
            told += watch.tick(at)
        else:
            told += watch.image(CAMERA, SINCE_NS + s_to_ns(stamp), at) + watch.answer(CAMERA, at)
    assert told == []


def test_a_start_in_any_order_tells_nothing():
    robot = Robot()
    robot.on.clear()
    assert robot.drive(5) == []
    for part in ('recorder', 'camera', 'odometry', 'fix', 'node'):
        robot.on.add(part)
        assert robot.drive(8) == []


def test_a_machine_that_stutters_tells_nothing():
    robot = Robot()
    robot.drive(30)
    for pause in (1.0, 2.5, 4.0):
        robot.now += pause  # nothing runs, neither camera nor watch
        assert robot.drive(20) == []


def test_a_watch_that_was_stopped_tells_no_jump():
    """After it the middleware gives a few of the fixes that waited, all at once."""
    robot = Robot()
    robot.drive(30)
    robot.now += 9.0
    lats = [48.0 + x / DEGREE_M for x in (31.0, 32.0, 80.0, 81.0)]
    assert [e for lat in lats for e in robot.watch.fix(lat, 11.0, 0, 0.5, robot.at())] == []
    robot.north = 80.0 - robot.now
    assert robot.drive(20) == []


@pytest.mark.parametrize(
    ('part', 'begin', 'end', 'within_s'),
    [
        ('camera', CAMERA_STOPPED, CAMERA_BACK, 2.0),
        ('node', NODE_SILENT, NODE_BACK, 4.0),
        ('fix', GNSS_LOST, GNSS_BACK, 6.0),
        ('odometry', ODOMETRY_STOPPED, ODOMETRY_BACK, 2.0),
        ('recorder', RECORDER_LOST, RECORDER_BACK, 4.5),
    ],
)
def test_what_stops_is_told_once_and_what_comes_back_once(
    part: str, begin: str, end: str, within_s: float
):
    robot = Robot()
    robot.drive(30)
    robot.on.remove(part)
    stopped = robot.now
    assert robot.drive(20) == [begin]
    at, entry = robot.told[-1]
    assert at - stopped < within_s
    assert entry.values['seconds'] == pytest.approx(at - stopped, abs=1.1)
    robot.on.add(part)
    assert robot.drive(20) == [end]
    assert robot.last().values['seconds'] == pytest.approx(20.0, abs=2.0)
    assert is_end_of(robot.last(), entry)


def test_a_slow_camera_has_more_time():
    robot = Robot(hz=0.5)
    robot.drive(60)
    robot.on.remove('camera')
    assert robot.drive(9) == []
    assert robot.drive(4) == [CAMERA_STOPPED]


def test_a_camera_and_a_recorder_that_never_came():
    robot = Robot()
    robot.on -= {'camera', 'recorder'}
    assert robot.drive(12) == []
    assert sorted(robot.drive(30)) == [CAMERA_STOPPED, RECORDER_LOST]
    robot.on.add('camera')
    assert robot.drive(5) == [CAMERA_BACK]
    quiet = Robot(recorder=False)
    quiet.on.remove('recorder')
    assert quiet.drive(60) == []


def test_a_node_that_never_answers():
    robot = Robot()
    robot.on.remove('node')
    assert robot.drive(50) == []
    assert robot.drive(20) == [NODE_SILENT]
    assert 'see whether it runs' in robot.last().text  # what it said long ago explains nothing
    robot.on.add('node')
    robot.drive(10)
    robot.on.remove('node')
    robot.watch.node_says(CAMERA, 'no such map')
    assert robot.drive(2.4) == []
    robot.watch.node_says(CAMERA, 'no such map')
    assert robot.drive(2) == [NODE_SILENT]
    assert 'no such map' in robot.last().text
    robot.on.add('node')
    assert robot.drive(5) == [NODE_BACK]
    without = Robot(nodes=False)
    without.on.remove('node')
    assert without.drive(100) == []


def test_a_camera_that_stops_silences_no_node():
    robot = Robot()
    robot.drive(30)
    for _ in range(3):
        robot.on.remove('camera')
        assert robot.drive(10) == [CAMERA_STOPPED]
        robot.on.add('camera')
        assert robot.drive(10) == [CAMERA_BACK]


def test_an_image_that_nobody_answered_before_a_stop_silences_no_node():
    robot = Robot()
    robot.drive(30)
    robot.on.remove('node')
    robot.drive(0.3)
    robot.on.remove('camera')
    assert robot.drive(10) == [CAMERA_STOPPED]
    robot.on.add('camera')
    assert robot.drive(1) == [CAMERA_BACK]
    robot.on.add('node')
    assert robot.drive(10) == []


def test_a_burst_at_the_start_of_a_slow_camera():
    robot = Robot(hz=20.0)
    robot.drive(0.25)
    robot.hz = 0.5
    assert robot.drive(30) == []


@pytest.mark.parametrize('seconds', [5.0, -5.0, 3600.0])
def test_the_clock_of_the_machine_jumps(seconds: float):
    robot = Robot()
    robot.drive(30)
    robot.clock += seconds
    assert robot.drive(30) == [CLOCK_JUMP]  # the camera has the same clock
    values = robot.last().values
    assert values['clock'] == 'system' and values['seconds'] == pytest.approx(seconds, abs=0.1)


@pytest.mark.parametrize('seconds', [2.0, -2.0])
def test_the_clock_of_the_camera_jumps(seconds: float):
    robot = Robot()
    robot.drive(30)
    robot.camera_clock += seconds
    assert robot.drive(30) == [CLOCK_JUMP]
    values = robot.last().values
    assert values['clock'] == 'camera' and values['seconds'] == pytest.approx(seconds, abs=0.2)


def test_a_clock_that_is_slewed_is_no_jump():
    robot = Robot()
    for _ in range(100):
        robot.clock += 0.02
        assert robot.drive(1) == []


def test_faults_of_pictures():
    robot = Robot()
    robot.drive(10)

    def look(*faults: str) -> list[str]:
        kinds = []
        for fault in faults:
            told = robot.watch.camera_fault(CAMERA, fault, robot.at())
            kinds += [(e.kind, e.values.get('fault')) for e in told]
            assert robot.drive(1) == []
        return kinds

    assert look('', 'blurred', '', 'blurred', 'blurred', '') == []
    assert look(*['nearly black'] * 8) == [(CAMERA_FAULT, 'nearly black')]
    assert look('', '') == [(CAMERA_BACK, 'nearly black')]


@pytest.mark.parametrize('with_odometry', [True, False])
def test_a_position_that_jumps(with_odometry: bool):
    robot = Robot()
    robot.on -= set() if with_odometry else {'odometry'}
    robot.drive(30)
    robot.north = 60.0
    assert robot.drive(20) == [GNSS_JUMP]
    assert robot.last().values['metres'] == pytest.approx(61.0, abs=1.0)
    robot.north = 0.0
    assert robot.drive(20) == [GNSS_JUMP]


def test_odometry_tells_of_jumps_that_a_fast_robot_could_have_driven():
    for parts, told in ((set(), [GNSS_JUMP]), ({'odometry'}, [])):
        robot = Robot()
        robot.on -= parts
        for x in (1e308, -1e308):  # nowhere for a moment
            robot.watch.odometry(x, 0.0, robot.at())
        robot.drive(30)
        robot.north = 15.0
        assert robot.drive(20) == told


def test_positions_as_accurate_as_they_say_do_not_jump():
    robot, noise = Robot(), random.Random(3)
    for _ in range(300):
        robot.now += 0.5
        north = noise.gauss(0.0, 4.0)
        told = robot.watch.fix(48.0 + north / DEGREE_M, 11.0, 0, 4.0, robot.at())
        assert told + robot.watch.odometry(0.0, 0.0, robot.at()) == []


def test_no_fix_is_none():
    robot = Robot()
    robot.drive(10)
    robot.on.remove('fix')
    kinds = []
    for _ in range(10):
        for status, lat in ((-1, 48.0), (0, math.nan)):
            kinds += robot.watch.fix(lat, 11.0, status, math.nan, robot.at())
        kinds += robot.drive(1)
    assert kinds == [GNSS_LOST]


def test_accuracy():
    assert accuracy_m([4.0, 0, 0, 0, 9.0, 0, 0, 0, 1.0], 2) == 3.0
    assert math.isnan(accuracy_m([4.0] * 9, 0)) and math.isnan(accuracy_m([math.nan] * 9, 2))


def test_maps_that_are_swapped():
    robot = Robot()
    watch, at = robot.watch, robot.at
    assert watch.map_in_use(CAMERA, '/maps/a', 1, at()) == []
    assert watch.map_in_use(CAMERA, '/maps/a', 1, at()) == []  # latched, or a new node
    (anew,) = watch.map_in_use(CAMERA, '/maps/a', 2, at())
    assert anew.kind == MAP_SWAPPED
    assert watch.map_in_use(CAMERA, '/maps/a', 1, at()) == []  # the node was started again
    (other,) = watch.map_in_use(CAMERA, '/maps/b', 1, at())
    assert other.values['before'] == '/maps/a'
    assert watch.map_on_disk('/maps/b', 'abc', at()) == []
    (changed,) = watch.map_on_disk('/maps/b', 'abd', at())
    assert changed.kind == MAP_SWAPPED and watch.map_on_disk('/maps/b', 'abd', at()) == []
    (gone,) = watch.map_on_disk('/maps/b', '', at())
    assert 'gone' in gone.text
    (back,) = watch.map_on_disk('/maps/b', 'abc', at())
    assert 'at first lies there again' in back.text


def test_a_disk_that_fills():
    robot = Robot()
    robot.drive(60)
    robot.recorder['free_mb'] = 200.0
    assert robot.drive(60) == [DISK_LOW]
    robot.recorder['state'] = 'disk full'
    for _ in range(5):
        robot.recorder['lost'] += 100
        robot.drive(5)
    assert [entry.kind for _, entry in robot.told[1:]] == [DISK_FULL]
    robot.recorder |= {'state': 'recording', 'free_mb': 50_000.0}
    assert robot.drive(30) == [RECORDER_BACK]
    assert robot.last().values['seconds'] == pytest.approx(25.0, abs=2.0)


def test_messages_that_are_lost_are_counted_together():
    robot = Robot()
    robot.drive(30)
    for _ in range(25):
        robot.recorder['lost'] += 4
        robot.drive(1)
    robot.drive(20)
    lost = [entry.values['messages'] for _, entry in robot.told]
    assert {entry.kind for _, entry in robot.told} == {MESSAGES_LOST}
    assert sum(lost) == 100 and len(lost) <= 4


def test_what_was_lost_before_the_watch_began_is_not_told_anew():
    robot = Robot()
    robot.recorder['lost'] = 500
    assert robot.drive(30) == []
    robot.recorder['lost'] += 3
    assert robot.drive(5) == [MESSAGES_LOST]


def test_a_watch_goes_on_after_one_that_was_killed():
    robot = Robot()
    robot.drive(30)
    robot.on -= {'camera', 'odometry', 'fix', 'recorder'}
    robot.drive(10)
    begun = [entry for _, entry in robot.told if entry.kind in ENDS]
    assert len(begun) == 4
    heir = Robot()
    heir.now = robot.now + 5.0
    heir.watch.resume(begun, heir.at())
    heir.on.clear()
    assert heir.drive(5) == []
    heir.on |= robot.on | {'camera', 'odometry', 'fix', 'recorder'}
    ends = sorted(heir.drive(10))
    assert ends == sorted((CAMERA_BACK, ODOMETRY_BACK, GNSS_BACK, RECORDER_BACK))
    for _, entry in heir.told:
        assert entry.values['seconds'] == pytest.approx(20.0, abs=2.0)


def test_a_camera_that_is_not_known():
    with pytest.raises(ValueError, match='no camera is called /x'):
        Robot().watch.image('/x', 0, Moment.now())

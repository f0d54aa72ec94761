# SPDX-License-Identifier: Apache-2.0
"""The simulated robot as live topics: rates, and faults that a listener sees."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='rclpy cannot be imported')

import cv2
import rclpy
from nav_msgs.msg import Odometry
from rclpy.executors import SingleThreadedExecutor
from ros_helpers import TOWN, until
from sensor_msgs.msg import BatteryState, CompressedImage, NavSatFix

from ashtkd_ros.stamps import stamp_to_ns, stamp_to_s
from tools.trial import plan
from tools.trial.robot import BATTERY_TOPIC, FIX_TOPIC, IMAGE_TOPIC, ODOM_TOPIC
from tools.trial.robot_process import RobotProcess, robot_process

pytest_plugins = ['ros_fixtures']
pytestmark = pytest.mark.ros
TOPICS = {
    IMAGE_TOPIC: CompressedImage,
    ODOM_TOPIC: Odometry,
    FIX_TOPIC: NavSatFix,
    BATTERY_TOPIC: BatteryState,
}
LONG_S = 600.0  # of a fault; the robot ends before


class Listener:
    """Hears all topics of the robot; `heard`: messages and when they came, in s."""

    def __init__(self, robot: RobotProcess):
        self.robot = robot
        self.heard: dict[str, list[tuple[float, object]]] = {name: [] for name in TOPICS}
        self.node = rclpy.create_node('listener')
        for name, kind in TOPICS.items():
            keep = self.heard[name].append
            self.node.create_subscription(
                kind, name, lambda m, keep=keep: keep((time.monotonic(), m)), 200
            )
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)

    def until(self, condition: Callable[[], object], what: str) -> object:
        return until(condition, what, lambda: self._executor.spin_once(timeout_sec=0.05))

    def next(self, topic: str, fits: Callable[[object], object] = lambda _: True) -> object:
        """The next message that fits."""
        self.heard[topic].clear()
        found = self.until(lambda: [m for _, m in self.heard[topic] if fits(m)], topic)
        return found[0]

    def rest(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        self.until(lambda: time.monotonic() > end, 'time')


@pytest.fixture(scope='module')
def listener(ros, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Listener]:
    truth = tmp_path_factory.mktemp('robot') / 'truth.csv'
    with robot_process([str(TOWN / 'day'), '--truth', str(truth)]) as robot:
        listener = Listener(robot)
        listener.truth = truth
        for topic in TOPICS:
            listener.next(topic)
        yield listener
        listener._executor.shutdown()
        listener.node.destroy_node()


def pixels(message: CompressedImage) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(message.data, np.uint8), cv2.IMREAD_COLOR)


def now_off(message) -> float:
    """Seconds that the robot's clock is ahead."""
    return stamp_to_s(message.header.stamp) - time.time()


def test_it_stands_until_it_is_told_to_go_and_publishes_at_its_rates(listener: Listener):
    first = listener.next(ODOM_TOPIC)
    assert first.twist.twist.linear.x == first.pose.pose.position.x == 0.0
    listener.robot.go()
    listener.next(ODOM_TOPIC, lambda m: m.twist.twist.linear.x > 4.0)
    for messages in listener.heard.values():
        messages.clear()
    listener.rest(6.0)
    rates = {}
    for topic, messages in listener.heard.items():
        stamps = [stamp_to_s(m.header.stamp) for _, m in messages]
        rates[topic] = (len(stamps) - 1) / (stamps[-1] - stamps[0])
    assert 6.0 < rates[IMAGE_TOPIC] <= 10.6 and 3.0 < rates[FIX_TOPIC] <= 5.3
    assert 25.0 < rates[ODOM_TOPIC] <= 53.0 and rates[BATTERY_TOPIC] <= 1.1
    assert pixels(listener.next(IMAGE_TOPIC)).shape == (240, 320, 3)
    fix = listener.next(FIX_TOPIC)
    assert abs(fix.latitude - 48.0) < 0.01 and fix.status.status >= 0
    stamp_ns = stamp_to_ns(listener.next(IMAGE_TOPIC).header.stamp)
    listener.until(lambda: f'{stamp_ns},' in listener.truth.read_text(), 'the true pose')


def test_camera_unplugged_is_silent_and_comes_back(listener: Listener):
    listener.robot.fault(plan.CAMERA_UNPLUGGED, 3.0)
    gap = listener.until(lambda: longest_gap(listener) > 2.5, 'the camera to be silent')
    assert gap and listener.next(IMAGE_TOPIC)


def longest_gap(listener: Listener) -> float:
    """Seconds by the stamps, or since the last image."""
    stamps = [stamp_to_s(m.header.stamp) for _, m in listener.heard[IMAGE_TOPIC]]
    return float(np.diff([*stamps, time.time()]).max()) if stamps else 0.0


def test_camera_dark_and_frozen(listener: Listener):
    listener.robot.fault(plan.CAMERA_DARK, 1.5)
    listener.next(IMAGE_TOPIC, lambda m: pixels(m).max() < 32)
    listener.next(IMAGE_TOPIC, lambda m: pixels(m).mean() > 32)
    listener.robot.fault(plan.CAMERA_FROZEN, 3.0)
    listener.heard[IMAGE_TOPIC].clear()
    listener.until(lambda: most_equal(listener) > 5, 'the same image again and again')


def most_equal(listener: Listener) -> int:
    """How often the image that came most often came."""
    data = [bytes(m.data) for _, m in listener.heard[IMAGE_TOPIC]]
    return max(map(data.count, data), default=0)


@pytest.mark.parametrize('topic', [IMAGE_TOPIC, ODOM_TOPIC, FIX_TOPIC])
def test_the_clock_jumps_in_all_stamps_and_back(listener: Listener, topic: str):
    listener.robot.fault(plan.CLOCK_JUMP, 2.0)
    listener.next(topic, lambda m: now_off(m) > 20.0)
    listener.next(topic, lambda m: now_off(m) < 5.0)


def test_fixes_jump_and_are_lost(listener: Listener):
    before = listener.next(FIX_TOPIC).latitude
    listener.robot.fault(plan.GNSS_JUMP, 2.0)
    listener.next(FIX_TOPIC, lambda m: abs(m.latitude - before) * 111e3 > 25)
    listener.robot.fault(plan.GNSS_OUTAGE, 2.0)
    lost = listener.next(FIX_TOPIC, lambda m: m.status.status < 0)
    assert math.isnan(lost.latitude)
    listener.next(FIX_TOPIC, lambda m: m.status.status >= 0)


def test_odometry_stops_and_goes_on_from_where_the_robot_is(listener: Listener):
    before = listener.next(ODOM_TOPIC).pose.pose.position
    listener.robot.fault(plan.ODOMETRY_STOPPED, 3.0)
    heard = listener.heard[ODOM_TOPIC]
    listener.until(lambda: time.monotonic() > heard[-1][0] + 1.5, 'odometry to stop')
    after = listener.next(ODOM_TOPIC).pose.pose.position
    assert math.hypot(after.x - before.x, after.y - before.y) > 3.0


def test_a_command_that_nobody_knows_ends_it_with_a_line(tmp_path: Path, ros, capfd):
    with robot_process([str(TOWN / 'day')]) as robot:
        robot.tell('fault gremlins 3')
        assert robot.process.wait(60) == 1
    assert 'error: "fault gremlins 3" is no command' in capfd.readouterr().err

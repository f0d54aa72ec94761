# SPDX-License-Identifier: Apache-2.0
"""trial_check measures what is there and ends with go or no-go."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')

import numpy as np
from nav_msgs.msg import Odometry
from rclpy.qos import qos_profile_sensor_data
from ros_helpers import Process, image_message, picture
from sensor_msgs.msg import BatteryState, Image, NavSatFix, NavSatStatus

from ashtkd_ros.maps.city import read_city
from ashtkd_ros.maps.place_map import PlaceMap
from ashtkd_ros.maps.tiling import cut_into_tiles
from ashtkd_ros.ros.trial.trial_options import all_arguments
from ashtkd_ros.ros.trial.trial_plan import TrialPlan
from ashtkd_ros.trials.folder import CHECKS

pytest_plugins = ['ros_fixtures']
pytestmark = pytest.mark.ros
CHECK = 'ashtkd_ros.ros.trial.check'


class Sensors:
    """A camera, best effort, a receiver, wheels and a battery, in a thread of their own."""

    def __init__(self, node, pixels: np.ndarray):
        self._node, self._message = node, image_message(pixels)
        self._camera = node.create_publisher(Image, '/front/raw', qos_profile_sensor_data)
        self._fix = node.create_publisher(NavSatFix, '/fix', 5)
        self._odometry = node.create_publisher(Odometry, '/odom', 5)
        self._battery = node.create_publisher(BatteryState, '/battery_state', 5)
        self.unset_clock = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._publish)
        self._thread.start()

    def _publish(self) -> None:
        rng = np.random.default_rng(0)
        while not self._ended.wait(0.1):
            now = self._node.get_clock().now().to_msg()
            noise = rng.integers(0, 4, len(self._message.data)).astype(np.uint8)
            self._message.data = (np.frombuffer(self._message.data, np.uint8) ^ noise).tobytes()
            if not self.unset_clock:
                self._message.header.stamp = now
            self._camera.publish(self._message)
            fix = NavSatFix(latitude=48.0, longitude=11.0, position_covariance_type=2)
            fix.status.status = NavSatStatus.STATUS_FIX
            fix.position_covariance = [0.04, 0.0, 0.0, 0.0, 0.04, 0.0, 0.0, 0.0, 0.1]
            odometry = Odometry()
            fix.header.stamp = odometry.header.stamp = now
            self._fix.publish(fix)
            self._odometry.publish(odometry)
            self._battery.publish(BatteryState(percentage=0.7))

    def close(self) -> None:
        self._ended.set()
        self._thread.join()


@pytest.fixture
def sensors(peer) -> Iterator[Sensors]:
    sensors = Sensors(peer.node, picture())
    yield sensors
    sensors.close()


def verdicts(lines: list[str]) -> dict[str, str]:
    return {words[1]: words[0] for words in (line.split() for line in lines[:-1])}


def test_a_robot_that_is_ready(sensors, town_map: Path, tmp_path: Path):
    given = {name: default for name, default, _ in all_arguments()}
    given |= {'trial': 'x', 'trials_folder': str(tmp_path), 'map_path': str(town_map)}
    given |= {'image_topic': '/front/raw', 'planned_minutes': '0.5'}
    plan = TrialPlan(given)
    trial = plan.create_folder()
    trial.write_configuration(plan.configuration())
    check = Process(tmp_path / 'check', CHECK, '--trial', trial.path, '--seconds', '2')
    assert check.wait() == 0, check.stdout + check.stderr
    lines = check.stdout.splitlines()
    assert lines[-1] == 'go'
    found = verdicts(lines)
    ready = ('camera', 'exposure', 'blur', 'picture', 'stamps', 'model', 'map', 'gnss', 'odometry')
    assert {found[name] for name in (*ready, 'battery')} == {'go'}, check.stdout
    written = json.loads((trial.path / CHECKS).read_text())
    assert written['verdict'] == 'go' and written['cameras'] == ['/front/raw']
    assert len(written['checks']) == len(lines) - 1


def test_images_that_the_node_would_not_take_are_a_no_go(sensors, tmp_path: Path):
    given = {name: default for name, default, _ in all_arguments()}
    given |= {'trial': 'x', 'trials_folder': str(tmp_path), 'image_topic': '/front/raw'}
    plan = TrialPlan(given | {'map_path': str(tmp_path), 'image_transport': 'compressed'})
    trial = plan.create_folder()
    trial.write_configuration(plan.configuration())
    check = Process(tmp_path / 'check', CHECK, '--trial', trial.path, '--seconds', '1')
    assert check.wait() == 1
    (line,) = [x for x in check.stdout.splitlines() if x.startswith('no-go   camera')]
    assert line.endswith('compressed ones; set image_transport to raw')


def test_the_map_of_every_camera_is_loaded(ros, town_map: Path, tmp_path: Path):
    shutil.copytree(town_map, tmp_path / 'front')
    given = {name: default for name, default, _ in all_arguments()}
    given |= {'trial': 'x', 'trials_folder': str(tmp_path / 'trials'), 'image_topic': 'raw'}
    given |= {'cameras': 'front,rear', 'map_path': f'{tmp_path}/{{camera}}'}
    plan = TrialPlan(given)
    trial = plan.create_folder()
    trial.write_configuration(plan.configuration())
    check = Process(tmp_path / 'check', CHECK, '--trial', trial.path, '--seconds', '1')
    assert check.wait() == 1
    maps = [line.split() for line in check.stdout.splitlines() if ' map ' in line]
    assert [(words[0], words[2]) for words in maps[:2]] == [
        ('go', f'{tmp_path}/front'),
        ('no-go', f'{tmp_path}/rear:'),
    ]
    assert check.stdout.count(' model ') == 1


def test_what_makes_a_trial_worthless(sensors, saved: Path, tmp_path: Path):
    sensors.unset_clock = True  # every image has one stamp of 1970
    (saved / 'places.csv').write_text('cut off')
    options = ['--image-topic', '/front/raw', '--image-topic', '/rear/raw', '--map', saved]
    check = Process(tmp_path / 'check', CHECK, *options, '--seconds', '1')
    assert check.wait() == 1
    lines = check.stdout.splitlines()
    assert lines[-1].startswith('no-go: ') and 'Traceback' not in check.stderr
    assert (
        'no-go   camera /rear/raw' in check.stdout
        and 'on /rear/raw, but on /front/raw' in lines[-1]
    )
    assert {verdicts(lines)[name] for name in ('stamps', 'map')} == {'no-go'}


def test_tiles_are_loaded_with_the_network_as_the_node_would(town_map: Path, tmp_path: Path):
    city, options = tmp_path / 'city', ('--image-topic', '/front/raw', '--seconds', '0.1')
    cut_into_tiles(PlaceMap.load(town_map), city, 2.0)
    folders = [city / tile.path for tile in read_city(city).tiles]

    def found(name: str) -> dict[str, str]:
        check = Process(tmp_path / name, CHECK, *options, '--map', city)
        assert check.wait() == 1 and 'Traceback' not in check.stderr  # there is no camera
        return verdicts(check.stdout.splitlines())

    assert found('whole')['map'] == 'go'
    (folders[0] / 'index.faiss').write_bytes(b'cut off')
    damaged = found('damaged')
    assert (damaged['map'], damaged['tiles']) == ('go', 'unsure')
    for folder in folders[1:]:
        (folder / 'index.faiss').write_bytes(b'cut off')
    assert found('none')['map'] == 'no-go'


def test_a_folder_that_is_not_a_trial(tmp_path: Path):
    check = Process(tmp_path / 'check', CHECK, '--trial', tmp_path)
    assert check.wait() == 1 and check.stderr.startswith('error: ')

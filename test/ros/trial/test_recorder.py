# SPDX-License-Identifier: Apache-2.0
"""trial_recorder as a process of its own: what it hears, what outlives it, what it refuses."""

from __future__ import annotations

import array
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import pytest

pytest.importorskip('rclpy', reason='rclpy cannot be imported')

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import serialize_message
from ros_helpers import Process, environment, until
from rosbags.highlevel import AnyReader
from sensor_msgs.msg import Image
from std_msgs.msg import String

from ashtkd_ros.bags.bag import Bag
from ashtkd_ros.trials.folder import TrialFolder
from ashtkd_ros.trials.sheet import Sheet
from ashtkd_ros.trials.vocabulary import DISK_FULL, RECORDER_STATUS

pytest_plugins = ['ros_fixtures']
pytestmark = pytest.mark.ros

MODULE = 'ashtkd_ros.ros.trial.recorder'
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
CARELESS = QoSProfile(depth=100, reliability=ReliabilityPolicy.BEST_EFFORT)


class Robot:
    """Publishes, and hears the recorder's diagnostics; `sent`: topic → serialised messages."""

    def __init__(self) -> None:
        self.node = rclpy.create_node('robot')
        self.sent: dict[str, list[bytes]] = {}
        self.statuses: list[DiagnosticStatus] = []
        self.node.create_subscription(DiagnosticArray, '/diagnostics', self._keep, 10)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)

    def _keep(self, message: DiagnosticArray) -> None:
        self.statuses += [s for s in message.status if s.name == RECORDER_STATUS]

    def publisher(self, topic: str, kind: type = String, qos: object = 1000) -> Callable:
        """A function that publishes a message."""
        publisher = self.node.create_publisher(kind, topic, qos)

        def publish(message: object) -> None:
            data = serialize_message(message)
            publisher.publish(data)
            self.sent.setdefault(topic, []).append(padded(data))

        publish.is_heard = lambda: publisher.get_subscription_count() > 0
        return publish

    def spin(self) -> None:
        self._executor.spin_once(timeout_sec=0.02)

    def until(self, condition: Callable[[], object], what: str) -> object:
        return until(condition, what, self.spin)

    def status(self, state: str, **values: object) -> tuple[DiagnosticStatus, dict[str, str]]:
        """The next diagnostics with this state and these values."""
        self.statuses.clear()

        def matching():
            for status in self.statuses:
                found = {pair.key: pair.value for pair in status.values}
                wanted = {'state': state, **{k: str(v) for k, v in values.items()}}
                if wanted.items() <= found.items():
                    return status, found
            return None

        return self.until(matching, f'the state {state} with {values}')

    def until_recorded(self) -> None:
        """Everything sent has come to the recorder."""
        self.status('recording', messages=sum(map(len, self.sent.values())))

    def close(self) -> None:
        self._executor.shutdown()
        self.node.destroy_node()


@pytest.fixture
def robot(ros) -> Iterator[Robot]:
    robot = Robot()
    yield robot
    robot.close()


@pytest.fixture
def record(ros, tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """Starts the recorder; what a failed test leaves behind is killed."""
    processes = []

    def start(*arguments: object) -> Process:
        folder = tmp_path / f'recorder{len(processes)}'
        processes.append(Process(folder, MODULE, *arguments))
        return processes[-1]

    yield start
    for process in processes:
        process.kill()


def padded(data: bytes) -> bytes:
    """As the middleware delivers it: a multiple of 4 bytes."""
    return data + bytes(-len(data) % 4)


def recorded(path: Path, topic: str) -> list[bytes]:
    bag = Bag(path)
    found = [data for _, _, data in bag.serialized([topic])]
    bag.close()
    return found


def end(process: Process, number: int = signal.SIGINT) -> None:
    status, seconds = process.stop(number)
    assert (status, 'Traceback' in process.stderr) == (0, False), process.stderr
    assert seconds < 15.0


def image(number: int) -> Image:
    data = array.array('B', bytes([number % 256]) * (640 * 480 * 3))
    return Image(height=480, width=640, encoding='rgb8', step=1920, data=data)


def test_everything_is_recorded_byte_for_byte(record, robot: Robot, tmp_path: Path) -> None:
    words, images = robot.publisher('/words'), robot.publisher('/camera', Image, 20)
    latched = robot.publisher('/map_info', qos=LATCHED)
    latched(String(data='once'))
    process = record(
        '-o', tmp_path / 'bag', '--split-s', 2, 'words', '/camera', '/map_info', '/late', '/none'
    )
    robot.until(lambda: words.is_heard() and images.is_heard(), 'the recorder')
    for number in range(60):
        words(String(data=f'{number}'))
        images(image(number))
        time.sleep(0.05)
    late = robot.publisher('/late')
    robot.until(late.is_heard, 'the recorder to hear a late topic')
    late(String(data='late'))
    robot.until_recorded()
    status, values = robot.status('recording')
    assert (status.level, status.hardware_id) == (DiagnosticStatus.OK, str(tmp_path / 'bag'))
    assert (values['lost'], values['topics'], values['not heard yet']) == ('0', '4', '/none')
    assert int(values['bytes']) == sum(len(d) for sent in robot.sent.values() for d in sent)
    assert float(values['disk free MB']) > 0 and values['file'].startswith('bag_')
    end(process)
    assert '122 messages' in process.stdout and 'never heard: /none' in process.stderr
    opened = Bag(tmp_path / 'bag')
    assert (opened.notes, opened.in_order) == ([], True)
    assert opened.topics['/camera'].type == 'sensor_msgs/msg/Image'
    for topic, sent in robot.sent.items():
        assert recorded(tmp_path / 'bag', topic) == sent
    assert len(list((tmp_path / 'bag').glob('bag_*.mcap'))) > 1
    with AnyReader([tmp_path / 'bag']) as reader:  # it checks definitions by their hashes
        [latched] = [c for c in reader.connections if c.topic == '/map_info']
        assert latched.ext.offered_qos_profiles[0].durability.name == 'TRANSIENT_LOCAL'
        [text] = [reader.deserialize(d, c.msgtype).data for c, _, d in reader.messages([latched])]
        assert text == 'once'


def test_a_late_publisher_with_another_qos_is_heard(record, robot, tmp_path: Path) -> None:
    first = robot.publisher('/words', qos=LATCHED)
    first(String(data='latched'))
    process = record('-o', tmp_path / 'bag', '/words')
    robot.until_recorded()
    careless = robot.publisher('/words', qos=CARELESS)
    robot.until(careless.is_heard, 'the recorder to hear a best-effort publisher')
    robot.until(lambda: 'a publisher with another QoS' in process.stderr, 'a warning')
    robot.until(first.is_heard, 'the recorder to hear the first publisher again')
    careless(String(data='careless'))
    robot.until_recorded()
    first(String(data='first'))
    robot.until_recorded()
    end(process, signal.SIGTERM)
    assert recorded(tmp_path / 'bag', '/words') == robot.sent['/words']


def test_what_came_before_a_kill_can_be_read(record, robot: Robot, tmp_path: Path) -> None:
    words, images = robot.publisher('/words'), robot.publisher('/camera', Image, 20)
    process = record('-o', tmp_path / 'bag', '/words', '/camera')
    robot.until(lambda: words.is_heard() and images.is_heard(), 'the recorder')
    for number in range(32):  # the last ones fill no chunk
        words(String(data=f'{number}'))
        images(image(number))
        time.sleep(0.05)
    robot.until_recorded()
    everything = [robot.sent[topic] for topic in ('/words', '/camera')]
    on_disk = lambda: [recorded(tmp_path / 'bag', t) for t in ('/words', '/camera')]  # noqa: E731
    robot.until(lambda: on_disk() == everything, 'all of it to be with the kernel')
    process.stop(signal.SIGKILL)
    bag = Bag(tmp_path / 'bag')
    assert 'was cut off (the recorder was killed' in bag.notes[-1]
    bag.close()
    assert recorded(tmp_path / 'bag', '/words') == robot.sent['/words']
    assert recorded(tmp_path / 'bag', '/camera') == robot.sent['/camera']


@pytest.fixture
def small_trial(tmp_path: Path) -> Iterator[TrialFolder]:
    """A trial on a disk of 64 MB."""
    folder = tmp_path / 'disk'
    folder.mkdir()
    command = ['mount', '-t', 'tmpfs', '-o', 'size=64m', 'tmpfs', str(folder)]
    if os.geteuid() or not shutil.which('mount') or subprocess.run(command).returncode:
        pytest.skip('no file system can be mounted here: there is no small disk')
    yield TrialFolder.create(folder, Sheet('small'), datetime(2026, 11, 28))
    subprocess.run(['umount', '--lazy', str(folder)], check=True)


def test_a_full_disk_is_said_and_outlived(record, robot: Robot, small_trial) -> None:
    words = robot.publisher('/words')
    process = record('--trial', small_trial.path, '--reserve-mb', 8, '/words')
    robot.until(words.is_heard, 'the recorder')
    words(String(data='before'))
    robot.until_recorded()
    ballast = small_trial.path / 'ballast'
    ballast.write_bytes(bytes(60 * 10**6))
    status, _ = robot.status(DISK_FULL)
    assert status.level == DiagnosticStatus.ERROR and 'NOTHING IS RECORDED' in status.message
    words(String(data='lost'))
    robot.status(DISK_FULL, lost=1)
    [event] = small_trial.events.read()[0]
    assert event.kind == DISK_FULL and 'the reserve of 8 MB is reached' in event.text
    assert '[ERROR]' in process.stderr and event.text in process.stderr
    assert recorded(small_trial.path / 'bag', '/words') == robot.sent['/words'][:1]
    ballast.unlink()
    robot.status('recording', lost=1)
    words(String(data='after'))
    robot.status('recording', messages=2)
    end(process)
    assert '1 message lost: disk' in process.stderr
    sent = robot.sent['/words']
    assert recorded(small_trial.path / 'bag', '/words') == [sent[0], sent[2]]
    assert Bag(small_trial.path / 'bag').notes == []


def test_a_trial_s_next_bag_is_taken(record, robot: Robot, tmp_path: Path) -> None:
    trial = TrialFolder.create(tmp_path, Sheet('two'), datetime(2026, 11, 28))
    (trial.path / 'bag').mkdir()
    process = record('--trial', trial.path, '/words')
    robot.status('recording', topics=0)
    end(process)
    assert [p.name for p in trial.bags()] == ['bag', 'bag_2']
    assert Bag(trial.path / 'bag_2').notes == []


@pytest.mark.parametrize(
    ('arguments', 'status', 'text'),
    [
        ([], 2, 'the following arguments are required: topic'),
        (['/words'], 2, 'give either --trial FOLDER or -o BAG'),
        (['/words', '-o', 'new', '--trial', 'x'], 2, 'give either --trial FOLDER or -o BAG'),
        (['/a b', '-o', 'new'], 2, 'argument topic: "/a b" is not the name of a topic'),
        (['/words', '-o', 'new', '--split-s', 'nan'], 2, '"nan" is not a number of 0 or more'),
        (['/words', '-o', 'new', '--reserve-mb', '-1'], 2, '"-1" is not a whole number'),
        (['/words', '-o', 'new', '--ros-args', '-r'], 2, 'nothing follows -r; write'),
        (['/words', '-o', '.'], 1, ': exists already; give another name or remove it'),
        (['/words', '-o', '/proc/bag'], 1, 'the bag cannot be written'),
        (['/words', '--trial', 'none'], 1, 'none: there is no such folder; name the folder of a'),
    ],
)
def test_bad_arguments_are_refused_in_one_line(
    tmp_path: Path, arguments: list[str], status: int, text: str
) -> None:
    ended = subprocess.run(
        [sys.executable, '-m', MODULE, *arguments],
        cwd=tmp_path,
        env=environment(tmp_path / 'log'),
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert ended.returncode == status, ended.stderr
    assert text in ended.stderr.splitlines()[-1] and 'Traceback' not in ended.stderr
    assert not (tmp_path / 'new').exists()

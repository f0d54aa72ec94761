# SPDX-License-Identifier: Apache-2.0
"""trial_watch tells what goes wrong at once, everywhere, and keeps the operator's marks."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.qos import DurabilityPolicy, QoSProfile
from ros_helpers import Process, environment, image_message, picture
from std_msgs.msg import String
from vision_msgs.msg import Classification, ObjectHypothesis

from ashtkd_ros.ros.trial.processes import SUPERVISOR
from ashtkd_ros.ros.trial.trial_options import all_arguments
from ashtkd_ros.ros.trial.trial_plan import TrialPlan
from ashtkd_ros.trials.folder import TrialFolder
from ashtkd_ros.trials.trial_log import LogEntry
from ashtkd_ros.trials.vocabulary import (
    CAMERA_BACK,
    CAMERA_STOPPED,
    EVENT_TOPIC,
    MARK_TOPIC,
    MARKED_TOPIC,
    NOTE,
    PROCESS_DIED,
    RECORDER_STATUS,
    STARTED,
    WATCH_STATUS,
)

pytest_plugins = ['ros_fixtures']
pytestmark = pytest.mark.ros
WATCH = 'ashtkd_ros.ros.trial.watch'


@pytest.fixture
def trial(tmp_path: Path, saved: Path) -> TrialFolder:
    """A trial that has just begun."""
    return begun(tmp_path / 'trials', saved)


def begun(trials: Path, saved: Path, **given: str) -> TrialFolder:
    usual = {name: default for name, default, _ in all_arguments()}
    given = {**usual, **given, 'trial': 'yard', 'trials_folder': str(trials)}
    given['map_path'] = str(saved)
    plan = TrialPlan(given)
    folder = plan.create_folder()
    folder.write_configuration(plan.configuration())
    folder.events.append(LogEntry(STARTED, 'the trial begins'))
    return folder


class Operator:
    """Camera, recorder and listener of a watch."""

    def __init__(self, peer, trial: TrialFolder):
        self.peer, self.trial, node = peer, trial, peer.node
        self.events: list[LogEntry] = []
        self.marked: list[LogEntry] = []
        self.status: list[DiagnosticStatus] = []
        latched = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        hear = node.create_subscription
        hear(String, EVENT_TOPIC, lambda m: self.events.append(entry_of(m)), latched)
        hear(String, MARKED_TOPIC, lambda m: self.marked.append(entry_of(m)), 10)
        hear(DiagnosticArray, '/diagnostics', self._keep, 10)
        self.mark = node.create_publisher(String, MARK_TOPIC, 10)
        self.places = node.create_publisher(Classification, 'vpr_node/place', 10)
        self.recorder = node.create_publisher(DiagnosticArray, '/diagnostics', 10)
        self._ended, self.filming = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._film)
        self._thread.start()

    def _keep(self, message: DiagnosticArray) -> None:
        self.status += [s for s in message.status if s.name == WATCH_STATUS]

    def _film(self) -> None:
        message, number = image_message(picture()), 0
        while not self._ended.wait(0.1):
            number += 1
            if self.filming.is_set():
                message.header.stamp = self.peer.node.get_clock().now().to_msg()
                self.peer.camera.publish(message)
            if number % 10 == 0:
                self._record()

    def _record(self) -> None:
        """What the trial's recorder says, and one that fails and has nothing to do with it."""
        values = {'state': 'recording', 'lost': '0', 'bytes': '1', 'disk free MB': 'plenty'}
        for bag, state in ((self.trial.path / 'bag', 'recording'), (Path('/a/bag'), 'failed')):
            pairs = [KeyValue(key=k, value=v) for k, v in {**values, 'state': state}.items()]
            status = DiagnosticStatus(name=RECORDER_STATUS, hardware_id=str(bag), values=pairs)
            self.recorder.publish(DiagnosticArray(status=[status]))

    def wait_for(self, kind: str, count: int = 1) -> LogEntry:
        """The event of a kind, as it was published."""

        def found() -> list[LogEntry]:
            events = [event for event in self.events if event.kind == kind]
            return events if len(events) >= count else []

        return self.peer.until(found, f'the event "{kind}"')[-1]

    def say(self, text: str) -> None:
        self.peer.until(self.mark.get_subscription_count, 'the watch to listen')
        self.mark.publish(String(data=text))

    def close(self) -> None:
        self._ended.set()
        self._thread.join()


def entry_of(message: String) -> LogEntry:
    return LogEntry(**json.loads(message.data))


@pytest.fixture
def operator(peer, trial: TrialFolder) -> Iterator[Operator]:
    operator = Operator(peer, trial)
    yield operator
    operator.close()


@pytest.fixture
def watch(trial: TrialFolder, tmp_path: Path) -> Iterator[Process]:
    process = Process(tmp_path / 'watch', WATCH, '--trial', trial.path)
    yield process
    process.kill()


def kinds(trial: TrialFolder) -> list[str]:
    """Of all events, in the order of their times."""
    entries = sorted(trial.events.read()[0], key=lambda entry: entry.monotonic_ns)
    return [entry.kind for entry in entries]


def test_a_camera_that_stops_and_comes_back(operator, watch, trial: TrialFolder):
    operator.wait_for(STARTED)  # what was written before is published too
    operator.filming.set()
    operator.peer.until(lambda: hz_of(operator) > 5.0, 'images to be counted')
    operator.filming.clear()
    stopped = operator.wait_for(CAMERA_STOPPED)
    assert stopped.values['camera'] == '/image' and stopped.values['seconds'] < 5.0
    operator.peer.until(
        lambda: 'no image' in operator.status[-1].message, 'the status to tell of it'
    )
    operator.filming.set()
    operator.wait_for(CAMERA_BACK)
    trial.events.append(LogEntry(PROCESS_DIED, 'another process wrote this'))
    operator.wait_for(PROCESS_DIED)
    assert watch.stop()[0] == 0
    assert kinds(trial) == [STARTED, CAMERA_STOPPED, CAMERA_BACK, PROCESS_DIED]
    assert watch.stderr.count('no image for') == 1 and 'Traceback' not in watch.stderr


def hz_of(operator: Operator) -> float:
    values = {pair.key: pair.value for s in operator.status[-1:] for pair in s.values}
    return float(values.get('/image Hz', 0.0))


def test_marks_by_topic_and_service(operator, watch, trial: TrialFolder):
    peer = operator.peer
    peer.until(lambda: operator.places.get_subscription_count() > 1, 'the watch beside the peer')
    best = ObjectHypothesis(class_id='17', score=0.75)
    for _ in range(10):  # discovery may lose the first ones
        operator.places.publish(Classification(results=[best]))
        time.sleep(0.1)
    operator.say('nonsense here')
    operator.say('note the gate\nis \x1b[31mclosed')
    peer.until(lambda: operator.marked, 'the acknowledgement')
    answer = peer.service('trial/mark_wrong', node='trial_watch')()
    assert answer.success and answer.message == 'marked: wrong'
    peer.until(lambda: len(operator.marked) == 2, 'both acknowledgements')
    note, wrong = trial.marks.read()[0]
    assert (note.kind, wrong.kind, wrong.text) == (NOTE, 'wrong', '')
    assert '\x1b' not in note.text and 'the gate is' in note.text
    assert wrong.values == {'place': '17', 'confidence': 0.75}
    assert [m.kind for m in operator.marked] == [NOTE, 'wrong']
    assert 'is no mark' in watch.stderr


def test_the_trials_of_two_robots_do_not_mix(peer, tmp_path: Path, saved: Path):
    trial = begun(tmp_path / 'trials', saved, namespace='robot1')
    events = f'/{EVENT_TOPIC}'
    peer.until(lambda: not peer.node.count_publishers(events), 'the watch of another test to go')
    watch = Process(tmp_path / 'watch', WATCH, '--trial', trial.path)
    try:
        own = peer.node.create_publisher(String, f'/robot1/{MARK_TOPIC}', 10)
        other = peer.node.create_publisher(String, f'/{MARK_TOPIC}', 10)
        peer.until(own.get_subscription_count, 'the watch to listen')
        other.publish(String(data='note of another robot'))
        own.publish(String(data='note of this robot'))
        peer.until(lambda: trial.marks.path.exists() and trial.marks.read()[0], 'the mark')
        peer.spin(0.5)
        assert [mark.text for mark in trial.marks.read()[0]] == ['of this robot']
        assert not peer.node.count_publishers(events)
        assert watch.stop()[0] == 0
    finally:
        watch.kill()


def test_events_that_cannot_be_written_are_told_all_the_same(operator, watch, trial: TrialFolder):
    operator.wait_for(STARTED)
    operator.filming.set()
    operator.peer.until(lambda: hz_of(operator) > 5.0, 'images to be counted')
    trial.events.path.unlink()
    trial.events.path.mkdir()
    operator.filming.clear()
    operator.wait_for(CAMERA_STOPPED)
    operator.peer.until(
        lambda: 'not written down' in operator.status[-1].message, 'the status to tell of it'
    )
    assert watch.alive


def test_the_death_of_the_supervisor_is_an_event(operator, trial: TrialFolder, tmp_path: Path):
    command = [sys.executable, '-m', WATCH, '--trial', str(trial.path)]
    starter = (
        f'import os, subprocess, time; os.environ[{SUPERVISOR!r}] = str(os.getpid()); '
        f'p = subprocess.Popen({command!r}); print(p.pid, flush=True); time.sleep(600)'
    )
    with subprocess.Popen(
        [sys.executable, '-c', starter],
        stdout=subprocess.PIPE,
        env=environment(tmp_path / 'log'),
        text=True,
    ) as parent:
        pid = int(parent.stdout.readline())
        try:
            operator.wait_for(STARTED)
            time.sleep(1.0)
            parent.kill()
            died = operator.wait_for(PROCESS_DIED)
            assert died.values == {'process': 'vpr_trial'} and '--end' in died.text
        finally:
            os.kill(pid, signal.SIGKILL)


def test_a_map_that_is_swapped_on_the_disk(operator, watch, trial: TrialFolder, saved: Path):
    operator.wait_for(STARTED)
    time.sleep(4.0)
    other = saved.with_name('other')
    shutil.copytree(saved, other)
    text = (other / 'map.yaml').read_bytes()
    (saved / 'map.yaml').write_bytes(text.replace(b'checksum', b'checksun'))
    swapped = operator.wait_for('map swapped')
    assert swapped.values['map'] == str(saved)


def test_a_folder_that_is_no_trial(tmp_path: Path):
    process = Process(tmp_path / 'watch', WATCH, '--trial', tmp_path)
    assert process.wait() == 1
    assert process.stderr.startswith('error: ') and len(process.stderr.splitlines()) == 1

# SPDX-License-Identifier: Apache-2.0
"""Disks that stall, and files that are none: the node waits so long and no longer."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip('rclpy', reason='rclpy cannot be imported')

from diagnostic_msgs.msg import DiagnosticStatus
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from ros_helpers import ACTIVATE, CONFIGURE, EXIT_S, OddNode, Peer, image_message
from sensor_msgs.msg import Image
from std_srvs.srv import Trigger

pytest_plugins = ['ros_fixtures']
pytestmark = pytest.mark.ros
DEADLINE_S = 1.5
LATE_S = 3.0  # of a busy machine


@pytest.fixture
def map_copy(town_map: Path, tmp_path: Path) -> Path:
    return shutil.copytree(town_map, tmp_path / 'map')


@pytest.fixture
def start(ros, map_copy: Path, tmp_path: Path) -> Iterator:
    nodes = []

    def make(**parameters: object) -> OddNode:
        fixed = {'min_confidence': 0.0, 'num_threads': 1, 'load_timeout_s': DEADLINE_S}
        fixed |= {'on_start_failure': 'stay', 'map_path': map_copy}
        nodes.append(OddNode(tmp_path / 'node', **{**fixed, **parameters}))
        return nodes[-1]

    yield make
    for node in nodes:
        node.kill()


def reload(peer: Peer) -> tuple[Trigger.Response, float]:
    call = peer.service('reload_map')
    started = time.monotonic()
    return call(), time.monotonic() - started


def answers(peer: Peer, walk, number: int, stamp: float) -> None:
    assert int(peer.ask(image_message(walk[number], stamp)).results[0].class_id) == number


def test_a_disk_that_stalls_under_a_node_that_runs(start, peer: Peer, map_copy, walk) -> None:
    node = start(image_timeout_s=3600.0)
    answers(peer, walk, 1, 1.0)
    pictures = []
    peer.node.create_subscription(Image, 'vpr_node/debug_image', pictures.append, 10)
    peer.until(lambda: peer.node.count_publishers('vpr_node/debug_image'), 'the topic')
    node.be('stall', str(map_copy))
    for turn in range(3):
        response, seconds = reload(peer)
        assert not response.success
        assert 'could not be read within 1.5 s' in response.message or 'disk' in response.message
        assert response.message.endswith('the old map stays in use')
        assert seconds < DEADLINE_S + LATE_S
        answers(peer, walk, 2 + turn, 10.0 + turn)

    def told() -> bool:
        status, _ = peer.status(state='active')
        return status.level == DiagnosticStatus.WARN and 'does not answer' in status.message

    peer.until(told, 'a warning of the disk')
    answers(peer, walk, 6, 20.0)
    node.be('stall', '')
    peer.until(lambda: reload(peer)[0].success, 'a reload when the disk is back')
    answers(peer, walk, 7, 30.0)
    node.be('stall', str(map_copy))
    node.end()


@pytest.mark.parametrize('what', ['map', 'model'])
def test_configure_gives_up_and_succeeds_when_the_disk_is_back(
    start, peer, tmp_path, map_copy, student, what
) -> None:
    model = tmp_path / 'model' / 'student.onnx'
    model.parent.mkdir()
    shutil.copyfile(student, model)
    node = start(autostart=False, model_path=model)
    stalled = map_copy if what == 'map' else model
    node.be('stall', str(stalled))
    assert peer.state() == 'unconfigured'
    started = time.monotonic()
    assert not peer.change_state(CONFIGURE)
    assert time.monotonic() - started < 2 * (DEADLINE_S + LATE_S)
    status, _ = peer.status(state='unconfigured')
    assert 'could not be read within 1.5 s (load_timeout_s)' in status.message
    node.be('stall', '')
    peer.until(lambda: peer.change_state(CONFIGURE), 'a disk that is back')
    assert peer.change_state(ACTIVATE)
    node.end()


@pytest.mark.parametrize('signal_number', [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize('autostart', [True, False])
def test_a_signal_is_obeyed_while_it_waits(start, peer, map_copy, signal_number, autostart):
    node = start(autostart=False, load_timeout_s=300.0) if not autostart else None
    if node is None:
        node = start(load_timeout_s=300.0, before={'stall': str(map_copy)})
        peer.until(node.has_begun, 'the node')
        time.sleep(2.0)  # until it waits for the disk, in all likelihood
    else:
        node.be('stall', str(map_copy))
        peer.until(peer._clients['change_state'].service_is_ready, 'the service')
        request = ChangeState.Request(transition=Transition(id=CONFIGURE))
        peer._clients['change_state'].call_async(request)
        end = time.monotonic() + 1.0
        while time.monotonic() < end:
            peer.spin()
    assert node.alive
    status, seconds = node.stop(signal_number)
    assert status == 0 and seconds < EXIT_S, node.stderr
    assert 'Traceback' not in node.stderr


def test_what_is_no_file_is_refused_at_once(start, peer, map_copy, town_map, student, tmp_path):
    model = shutil.copyfile(student, tmp_path / 'x.onnx')
    node = start(autostart=False, load_timeout_s=300.0, model_path=model)
    assert peer.state() == 'unconfigured'
    for name in ('map.yaml', 'index.faiss', 'places.csv', 'model', 'map'):
        file = {'model': model, 'map': map_copy}.get(name, map_copy / name)
        for kind in ('fifo', 'device', 'link', 'folder'):
            shutil.rmtree(file) if file.is_dir() else file.unlink()
            if kind == 'fifo':
                os.mkfifo(file)
            elif kind == 'folder':
                file.mkdir()
            else:
                file.symlink_to('/dev/zero' if kind == 'device' else file)
            started = time.monotonic()
            assert not peer.change_state(CONFIGURE), (name, kind)
            assert time.monotonic() - started < 30.0, (name, kind)
        status, _ = peer.status(state='unconfigured')
        assert status.level == DiagnosticStatus.ERROR and str(file.parent) in status.message
        shutil.rmtree(file)
        shutil.copyfile(student, model)
        shutil.copytree(town_map, map_copy, dirs_exist_ok=True)
    assert peer.change_state(CONFIGURE)
    node.end()

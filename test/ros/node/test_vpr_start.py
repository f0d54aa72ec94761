# SPDX-License-Identifier: Apache-2.0
"""Starts that fail, descriptors that are none: what the process does and what it says."""

from __future__ import annotations

import gc
import itertools
import random
import shutil
import signal
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

pytest.importorskip('rclpy', reason='rclpy cannot be imported')

from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.context import Context
from ros_helpers import MAP_PLACES, NodeProcess, OddNode, Peer, image_message

from ashtkd_ros.errors import VprError
from ashtkd_ros.ros.node.parameter_values import _nearest
from ashtkd_ros.ros.node.parameters import Parameters
from ashtkd_ros.ros.node.qos_overrides import fault
from ashtkd_ros.ros.session import QuietExecutor

pytest_plugins = ['ros_fixtures']
pytestmark = pytest.mark.ros
QOS = 'qos_overrides./image.subscription'
FAILING = {
    'no map': ({'map_path': '/nowhere'}, '/nowhere: no such map'),
    'no key': ({'map_pat': '/nowhere'}, 'unknown parameter "map_pat"; did you mean map_path?'),
    'range': ({'top_k': 0}, 'parameter top_k is 0; it must be from 1 to 100'),
    'model': ({'map_path': 'x', 'model_path': '/none.onnx'}, '/none.onnx: the model cannot be'),
    'qos depth': ({f'{QOS}.depth': 'abc'}, f'{QOS}.depth is "abc"; it must be a whole number'),
    'qos depth below 0': ({f'{QOS}.depth': -1}, f'{QOS}.depth is -1; it must be a whole number'),
    'qos too deep': ({f'{QOS}.depth': 10**12}, f'{QOS}.depth is 1000000000000; it must be a'),
    'qos word': ({f'{QOS}.history': 'all'}, f'{QOS}.history is "all"; it must be system_default'),
    'qos unknown': ({f'{QOS}.durability': 'unknown'}, f'{QOS}.durability is "unknown"; it must'),
    'qos number': ({f'{QOS}.reliability': 7}, f'{QOS}.reliability is 7; it must be'),
    'empty': ({'providers': '[]'}, 'parameter providers is given without a value'),
    'word': ({'on_start_failure': 'explode'}, 'on_start_failure is "explode"; it must be exit or'),
}


def complaints(node: NodeProcess) -> list[str]:
    return [line for line in node.stderr.splitlines() if not line.startswith('[INFO]')]


@pytest.mark.parametrize('case', FAILING)
def test_a_start_that_fails_ends_the_process_with_one_line(start_node, case: str) -> None:
    parameters, named = FAILING[case]
    node = start_node(**parameters)
    assert node.wait() == 1
    (line,) = complaints(node)
    assert line.startswith(('[ERROR]', 'error: ')) and named in line


def test_a_clock_that_is_none_is_refused(start_node) -> None:
    node = start_node(use_sim_time='yes please', map_path='x')
    assert node.wait() == 1
    assert 'parameter use_sim_time is "yes please"; it must be true or false' in node.stderr


@pytest.mark.parametrize('word', ['reliable', 'BEST_EFFORT', 'system_default'])
def test_sound_qos_is_not_refused(word: str) -> None:
    assert fault(f'{QOS}.reliability', word) == ''
    assert fault(f'{QOS}.depth', 0) == fault(f'{QOS}.depth', 100) == ''
    assert fault('qos_overrides./tf.publisher.depth', 'x') == ''


def test_qos_that_is_none_is_not_tried_again(start_node) -> None:
    node = start_node(on_start_failure='retry', **{f'{QOS}.depth': 'abc'})
    assert node.wait() == 1


def test_what_was_not_foreseen_is_tried_again_and_said_once(peer, town_map, tmp_path) -> None:
    parameters = {'map_path': town_map, 'on_start_failure': 'retry', 'num_threads': 1}
    node = OddNode(
        tmp_path / 'node', before={'activate': 'raise OverflowError("x")'}, **parameters
    )
    try:
        for _ in range(13):
            peer.status(state='unconfigured')
        assert len(complaints(node)) == 2
        assert node.stderr.count('OverflowError') == 1 and node.stderr.count('configured: ') == 1
        node.be('activate', '')
        peer.status(state='active')
        node.end()
    finally:
        node.kill()


def test_a_parameters_file_for_another_node_is_named(start_node, tmp_path: Path) -> None:
    file = tmp_path / 'params.yaml'
    file.write_text('vpr:\n  ros__parameters:\n    map_path: /maps/x\n')
    node = start_node('--params-file', str(file))
    assert node.wait() == 1
    assert f'{file} has no section for this node; name the section /vpr_node or /**' in node.stderr


def test_what_cannot_be_mended_is_not_tried_again(start_node) -> None:
    node = start_node(on_start_failure='retry', autostrat='true')
    assert node.wait() == 1
    assert 'unknown parameter "autostrat"; did you mean autostart?' in node.stderr


def test_a_range_error_of_a_node_that_others_configure_ends_it_too(start_node) -> None:
    node = start_node(autostart=False, min_confidence=7.0)
    assert node.wait() == 1
    assert 'min_confidence is 7.0; it must be from -1.0 to 1.0' in node.stderr


def test_retry_until_the_map_is_there(start_node, peer: Peer, town_map, tmp_path, walk) -> None:
    folder = tmp_path / 'map'
    node = start_node(map_path=folder, on_start_failure='retry', num_threads=1)
    peer.status(state='unconfigured')
    for _ in range(7):
        peer.status(state='unconfigured')
    shutil.copytree(town_map, tmp_path / 'other')
    (tmp_path / 'other').rename(folder)
    peer.status(state='active')
    first, second = complaints(node)[:2]
    assert 'no such map' in first and 'trying again every 5 s' in second
    assert node.stderr.count('no such map') == 1
    assert f'active: {MAP_PLACES} places from {folder}' in node.stderr
    peer.ask(image_message(walk[0]))
    node.end()


def test_a_reload_starts_a_node_that_stayed(start_node, peer: Peer, town_map, tmp_path) -> None:
    node = start_node(map_path=tmp_path / 'map', on_start_failure='stay', num_threads=1)
    peer.status(state='unconfigured')
    reload = peer.service('reload_map')
    refused = reload()
    assert not refused.success and 'no such map' in refused.message
    shutil.copytree(town_map, tmp_path / 'map')
    assert reload().message == f'map loaded: {MAP_PLACES} places'
    assert peer.state() == 'active'
    node.end()


def test_misspelt_names_are_told_the_nearest() -> None:
    rng, known, right = random.Random(1), [f.name for f in fields(Parameters)], 0
    for _ in range(300):
        name = rng.choice(known)
        at = rng.randrange(len(name) - 1)
        spelt = rng.choice(
            (
                name[:at] + name[at + 1 :],
                name[:at] + name[at + 1] + name[at] + name[at + 2 :],
                name[:at] + rng.choice('abcxyz_') + name[at:],
                name.upper(),
                f'vpr_node.{name}',
            )
        )
        right += _nearest(spelt, known) == f'did you mean {name}?'
    assert right > 285
    assert _nearest('zzz', known).startswith('the known parameters are model_path, ')
    assert issubclass(VprError, Exception)


def test_the_console_tells_of_activation_waiting_and_levels(start_node, peer, town_map, walk):
    node = start_node(map_path=town_map, num_threads=1, image_timeout_s=4.0)
    peer.until(lambda: 'no image on /image for' in node.stderr, 'waiting')
    active = next(line for line in node.stderr.splitlines() if '[vpr_node]: active: ' in line)
    for part in (f'{MAP_PLACES} places', str(town_map), '/image', 'ashtkd_student', 'CPUExec'):
        assert part in active
    peer.until(lambda: 'diagnostics WARN: no image yet' in node.stderr, 'a warning')

    stamps = itertools.count(1)

    def well() -> bool:
        stamp = next(stamps)
        peer.ask(image_message(walk[stamp % MAP_PLACES], float(stamp)))
        return 'diagnostics OK: active' in node.stderr.split('diagnostics WARN')[1]

    peer.until(well, 'that it is well')
    node.end()


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_the_node_is_made_ends_it_in_silence(ros, tmp_path, number) -> None:
    make = f'import signal; os.kill(os.getpid(), {int(number)}); time.sleep(0.5)'
    node = OddNode(tmp_path / 'node', before={'make': make}, map_path='/nowhere')
    assert node.wait() == 0
    assert node.stderr == '' and node.stdout == ''


def test_an_executor_that_a_signal_interrupts_is_gone_in_silence(monkeypatch) -> None:
    """ROS is closed between the node and its executor."""
    printed = []
    monkeypatch.setattr(sys, 'unraisablehook', printed.append)
    with pytest.raises(Exception, match='context'):
        QuietExecutor(context=Context())  # one that is not open
    gc.collect()
    assert printed == []


@pytest.fixture
def odd(ros, town_map: Path, tmp_path: Path) -> Iterator[OddNode]:
    node = OddNode(
        tmp_path / 'node',
        map_path=town_map,
        min_confidence=0.0,
        num_threads=1,
        frozen_after=0,
        image_timeout_s=60.0,
    )
    yield node
    try:
        node.end(signal.SIGTERM)
    finally:
        node.kill()


VECTORS = [
    'vector * np.float32("nan")',
    'vector * np.float32("inf")',
    'vector * 0',
    'vector * np.float32(0.5)',
    'vector * np.float32(1.01)',
    'np.where(np.arange(vector.size) == 7, np.float32("nan"), vector)',
]


def test_descriptors_that_are_none_are_an_error_and_never_unknown(odd, peer: Peer, walk) -> None:
    stamp = 1.0
    for change in VECTORS:
        assert peer.ask(image_message(walk[2], stamp)).results
        peer.until(lambda: peer.status()[0].level == DiagnosticStatus.OK, 'that it is well')
        odd.be('vector', change)
        for i in range(3):
            peer.camera.publish(image_message(walk[3], stamp + 0.1 * (i + 1)))
            peer.spin(0.1)

        def told() -> bool:
            status, _ = peer.status(state='active')
            words = 'recognition failed: ', 'gives a descriptor of length'
            return status.level == DiagnosticStatus.ERROR and all(
                word in status.message for word in words
            )

        peer.until(told, f'an error of {change}')
        assert not [p for p in peer.places if p.header.stamp.nanosec]
        odd.be('vector', '')
        stamp += 1.0
    assert 'Traceback' not in odd.stderr


def test_it_comes_back_by_itself_when_the_network_is_sound_again(odd, peer: Peer, walk) -> None:
    peer.ask(image_message(walk[2], 1.0))
    odd.be('vector', VECTORS[0])

    def given_up() -> bool:
        peer.camera.publish(image_message(walk[3], 2.0))
        peer.spin(0.05)
        return 'the node deactivates itself and tries again in 10 s' in odd.stderr

    peer.until(given_up, 'the node to give up')
    assert peer.status(state='inactive')[0].level == DiagnosticStatus.ERROR
    odd.be('vector', '')
    peer.status(state='active')
    assert peer.ask(image_message(walk[4], 3.0)).results[0].class_id == '4'
    peer.until(lambda: peer.status()[0].level == DiagnosticStatus.OK, 'that it is well')

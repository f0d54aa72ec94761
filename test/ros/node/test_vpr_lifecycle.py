# SPDX-License-Identifier: Apache-2.0
"""vpr_node's life: bad starts and mending, transitions, what it holds on to, how it ends."""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='rclpy cannot be imported')

from diagnostic_msgs.msg import DiagnosticStatus
from lifecycle_msgs.msg import Transition
from ros_helpers import (
    ACTIVATE,
    CLEANUP,
    CONFIGURE,
    DEACTIVATE,
    NodeProcess,
    Peer,
    image_message,
)

pytest_plugins = ['ros_fixtures']
pytestmark = pytest.mark.ros
# Until then each thread's part of the heap grows.
ROUNDS, SETTLED_ROUND = 90, 40
GROWTH = 1.05
# what is wrong → what the one line of log names
UNFIT = {
    'no_map_path': 'map_path is not set',
    'missing_map': 'no such map',
    'empty_map': 'holds no map.yaml',
    'corrupt_map': 'checksum',
    'other_model': 'model',
    'missing_model': 'model cannot be read',
    'no_model': 'not a model',
    'unknown_parameter': 'unknown parameter "map_pth"; did you mean map_path?',
    'wrong_type': 'parameter top_k is "many"; it must be a whole number',
    'integer_for_float': 'write 1.0',
    'out_of_range': 'parameter min_confidence is 1.5; it must be from -1.0 to 1.0',
    'wrong_word': 'parameter image_transport is "png"',
    'bad_qos': 'reliability',
}


def spoilt_maps(good: Path, folder: Path) -> dict[str, Path]:
    """Copies of a map, each with one thing wrong."""
    maps = {name: folder / name for name in ('empty_map', 'corrupt_map', 'other_model')}
    maps['empty_map'].mkdir()
    for name in ('corrupt_map', 'other_model'):
        shutil.copytree(good, maps[name])
    index = maps['corrupt_map'] / 'index.faiss'
    index.write_bytes(index.read_bytes()[:-1] + b'?')
    table = maps['other_model'] / 'map.yaml'
    digest = table.read_text().split('sha256: ')[1].split()[0]
    table.write_text(table.read_text().replace(digest, 'f' * 64, 1))
    return maps


@pytest.fixture(scope='module')
def unfit(ros, town_map: Path, tmp_path_factory) -> Iterator[dict[str, NodeProcess]]:
    """A node for each entry of UNFIT, in a namespace of that name; all start side by side."""
    folder = tmp_path_factory.mktemp('unfit')
    parameters = {name: {'map_path': path} for name, path in spoilt_maps(town_map, folder).items()}
    (folder / 'text.onnx').write_text('no network')
    qos = 'qos_overrides./bad_qos/image.subscription.reliability'
    good = {'map_path': town_map}
    parameters |= {
        'no_map_path': {},
        'missing_map': {'map_path': folder / 'nowhere'},
        'missing_model': {**good, 'model_path': folder / 'nowhere.onnx'},
        'no_model': {**good, 'model_path': folder / 'text.onnx'},
        'unknown_parameter': {'map_pth': town_map},
        'wrong_type': {**good, 'top_k': 'many'},
        'integer_for_float': {**good, 'min_confidence': 1},
        'out_of_range': {**good, 'min_confidence': 1.5},
        'wrong_word': {**good, 'image_transport': 'png'},
        'bad_qos': {**good, qos: 'sometimes'},
    }
    fixed = {'num_threads': 1, 'on_start_failure': 'stay'}
    nodes = {
        name: NodeProcess(folder / f'{name}_node', '-r', f'__ns:=/{name}', **fixed, **given)
        for name, given in parameters.items()
    }
    yield nodes
    for node in nodes.values():
        node.kill()


@pytest.mark.parametrize('case', UNFIT)
def test_an_unfit_start_is_told_in_one_line(unfit, case: str) -> None:
    node, peer = unfit[case], Peer(f'/{case}')
    status, _ = peer.status(state='unconfigured')
    assert status.level == DiagnosticStatus.ERROR
    assert UNFIT[case] in status.message
    assert peer.state() == 'unconfigured'
    (line,) = (line for line in node.stderr.splitlines() if not line.startswith('[INFO]'))
    assert line.startswith(('[ERROR]', '[FATAL]'))
    assert UNFIT[case] in line
    peer.close()
    node.end()


@pytest.mark.parametrize(
    ('arguments', 'status', 'named'),
    [
        (('--params-file', 'nowhere.yaml'), 1, 'nowhere.yaml'),
        (('-p', 'top_k'), 2, 'top_k'),
        (('--nonsense',), 2, '--nonsense'),
        (('-p', 'providers:=[]'), 1, 'without a value'),
    ],
)
def test_arguments_that_ros_refuses(
    start_node, arguments: tuple[str, ...], status: int, named: str
) -> None:
    node = start_node(*arguments)
    assert node.wait() == status
    assert 'Traceback' not in node.stderr
    line = node.stderr.splitlines()[-1]  # rcl may have logged that it failed
    assert line.startswith('error: ')
    assert named in line


def test_a_mended_node_configures(start_node, peer: Peer, town_map, walk) -> None:
    stay = {'on_start_failure': 'stay'}
    node = start_node(map_path='/nowhere', min_confidence=0.0, num_threads=1, **stay)
    peer.status(state='unconfigured')
    assert not peer.change_state(CONFIGURE)
    assert not peer.set_parameter('top_k', 0)
    assert not peer.set_parameter('min_confidence', 'high')
    assert not peer.set_parameter('no_such_thing', 1)
    assert peer.set_parameter('top_k', 2)
    assert peer.set_parameter('map_path', str(town_map))
    assert peer.change_state(CONFIGURE)
    assert peer.change_state(ACTIVATE)
    assert len(peer.ask(image_message(walk[3], 1.0)).results) == 2
    status, values = peer.status(state='active')
    assert status.level == DiagnosticStatus.OK
    assert values['last error'] == ''
    node.end()


def test_transitions_out_of_turn_are_refused_without_harm(start_node, peer, town_map, walk):
    node = start_node(map_path=town_map, autostart=False, min_confidence=0.0, num_threads=1)
    assert peer.state() == 'unconfigured'
    refused = {
        'unconfigured': (ACTIVATE, DEACTIVATE, CLEANUP, 99),
        'inactive': (CONFIGURE, DEACTIVATE),
        'active': (CONFIGURE, ACTIVATE, CLEANUP),
    }
    order = [(CONFIGURE, 'inactive'), (ACTIVATE, 'active'), (DEACTIVATE, 'inactive')]
    for transition, state in [*order, (CLEANUP, 'unconfigured'), *order[:2]]:
        assert not any(peer.change_state(other) for other in refused[peer.state()])
        assert peer.change_state(transition)
        assert peer.state() == state
    peer.status(state='active')
    assert int(peer.ask(image_message(walk[1], 1.0)).results[0].class_id) == 1
    assert peer.change_state(Transition.TRANSITION_ACTIVE_SHUTDOWN)
    assert peer.state() == 'finalized'
    assert not peer.change_state(CONFIGURE)
    assert peer.service('reload_map')().message == 'the node is finalized; start it again'
    status, _ = peer.status(state='finalized')
    assert status.level == DiagnosticStatus.WARN and 'start it again' in status.message
    node.end()


def test_fifty_rounds_leak_nothing(start_node, peer: Peer, town_map, walk) -> None:
    node = start_node(map_path=town_map, autostart=False, min_confidence=0.0, num_threads=1)
    memory, handles = {}, {}
    for number in range(1, ROUNDS + 1):
        assert peer.change_state(CONFIGURE)
        assert peer.change_state(ACTIVATE)
        for i in range(3):
            place = peer.ask(image_message(walk[i], 10.0 * number + i))
            assert int(place.results[0].class_id) == i
        assert peer.change_state(DEACTIVATE)
        assert peer.change_state(CLEANUP)
        if number in (SETTLED_ROUND, ROUNDS):
            memory[number], handles[number] = node.memory_kb(), node.handles()
    print('memory kB', memory, 'threads, files', handles)
    assert handles[ROUNDS] == handles[SETTLED_ROUND]
    assert memory[ROUNDS] <= GROWTH * memory[SETTLED_ROUND]
    node.end()


def test_transitions_under_load(start_node, peer: Peer, town_map) -> None:
    node = start_node(map_path=town_map, num_threads=1)
    with peer.streaming(np.zeros((480, 640, 3), np.uint8), 60):
        peer.until(lambda: peer.places, 'a place')
        for _ in range(3):
            for transition in (DEACTIVATE, CLEANUP, CONFIGURE, ACTIVATE):
                assert peer.change_state(transition)
            peer.places.clear()
            peer.until(lambda: len(peer.places) > 2, 'places again')
    assert 'recognition failed' not in node.stderr
    node.end()


@pytest.mark.parametrize('load', [False, True], ids=['idle', 'load'])
@pytest.mark.parametrize('signal_number', [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_node_at_once(start_node, peer, town_map, signal_number, load) -> None:
    node = start_node(map_path=town_map, num_threads=1)
    if load:
        with peer.streaming(np.zeros((480, 640, 3), np.uint8), 30):
            peer.until(lambda: len(peer.places) > 5, 'some places')
            time.sleep(0.1 * np.random.default_rng().random())  # anywhere between two images
            node.end(signal_number)
    else:
        peer.status(state='active')
        node.end(signal_number)
    assert 'ERROR' not in node.stderr


@pytest.mark.parametrize('reliability', ['reliable', 'best_effort'])
def test_qos_override(start_node, peer: Peer, town_map, walk, reliability: str) -> None:
    override = {'qos_overrides./image.subscription.reliability': reliability}
    node = start_node(map_path=town_map, min_confidence=0.0, num_threads=1, **override)
    assert peer.ask(image_message(walk[9], 120.0)).results[0].class_id == '9'
    (image,) = peer.node.get_subscriptions_info_by_topic('/image')
    assert image.qos_profile.reliability.name.lower() == reliability
    node.end()


def test_two_signals_at_once_end_it_well(ros, town_map: Path, tmp_path: Path, walk) -> None:
    """Ctrl-C reaches the node twice under a launch: from the terminal, and passed on."""
    for pause in (0.0, 0.02, 0.1):
        node, peer = NodeProcess(tmp_path / str(pause), map_path=town_map), Peer()
        try:
            peer.ask(image_message(walk[0]))
            node.process.send_signal(signal.SIGINT)
            time.sleep(pause)
            node.process.send_signal(signal.SIGINT)
            assert node.wait() == 0, node.stderr
            assert 'Traceback' not in node.stderr
        finally:
            peer.close()
            node.kill()

# SPDX-License-Identifier: Apache-2.0
"""Maps that a node should not have, reloaded under way: it keeps the one it has, and goes on."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
import yaml

pytest.importorskip('rclpy', reason='rclpy cannot be imported')

from diagnostic_msgs.msg import DiagnosticStatus
from ros_helpers import ACTIVATE, CONFIGURE, MAP_PLACES, OddNode, Peer, image_message
from std_srvs.srv import Trigger
from test_map_damage import STRANGE, paths_of, replaced, sealed

pytest_plugins = ['ros_fixtures']
pytestmark = pytest.mark.ros
TRIES = int(os.environ.get('NODE_MAPS', 46))
# What a loader that checks nothing might let through.
SPOILT = [
    *(f'loaded.info = type(loaded.info)({v}, loaded.info.model)' for v in ('None', '7', '[1]')),
    "object.__setattr__(loaded.info, 'frame', '\\ud800')",
    "object.__setattr__(loaded.info, 'frame', None)",
    "object.__setattr__(loaded.info, 'calibration', {'similarity': 'x'})",
    "object.__setattr__(loaded.info, 'calibration', None)",
    "object.__setattr__(loaded.info, 'built', {'traverses': 3})",
    "object.__setattr__(loaded.places[0], 'pose', 'here')",
    "object.__setattr__(loaded.places[3].pose, 'x', None)",
    "object.__setattr__(loaded.places[3].pose, 'y', 'north')",
    'loaded.places = []',
    'loaded.places = None',
    'loaded.places[5] = None',
    'loaded.index = None',
    'loaded.index.array = loaded.index.array[:0]',
    'raise RuntimeError("of a library\\nwith two lines")',
    'raise MemoryError()',
    'raise RecursionError()',
    'raise SystemExit(3)',
    'raise KeyboardInterrupt()',
    'raise UnicodeDecodeError("utf-8", b"x", 0, 1, "bad")',
]


@pytest.fixture
def map_copy(town_map: Path, tmp_path: Path) -> Path:
    return shutil.copytree(town_map, tmp_path / 'map')


@pytest.fixture
def node(ros, map_copy: Path, tmp_path: Path, request) -> Iterator[OddNode]:
    parameters = {'min_confidence': 0.0, 'num_threads': 1, **getattr(request, 'param', {})}
    node = OddNode(tmp_path / 'node', map_path=map_copy, **parameters)
    yield node
    try:
        node.end()
    finally:
        node.kill()


@pytest.fixture
def reload(peer: Peer) -> Callable[[], Trigger.Response]:
    made = cache(lambda: peer.service('reload_map'))  # when the node is there
    return lambda: made()()


def answers(peer: Peer, walk, number: int, stamp: float) -> None:
    place = peer.ask(image_message(walk[number], stamp))
    assert int(place.results[0].class_id) == number


def test_bad_maps_at_random_and_then_a_good_one(node, peer, reload, map_copy, town_map, walk):
    rng, refused = random.Random(1), 0
    values = yaml.safe_load((town_map / 'map.yaml').read_bytes())
    values.pop('checksum')
    paths = paths_of(values)
    answers(peer, walk, 2, 1.0)
    for number in range(TRIES):
        node.be('spoil', '')
        if number % 2 or number // 2 >= len(SPOILT):
            new = rng.choice(STRANGE)
            sealed(map_copy, replaced(values, rng.choice(paths), new))
        else:
            sealed(map_copy, values)
            node.be('spoil', SPOILT[number // 2])
        response = reload()
        assert node.alive, node.stderr
        assert response.message and response.message.isprintable()
        if not response.success:
            refused += 1
            assert response.message.endswith('the old map stays in use')
        answers(peer, walk, number % MAP_PLACES, 10.0 + number)
    print(f'{TRIES} maps, {refused} refused')
    assert refused > TRIES / 2
    node.be('spoil', '')
    sealed(map_copy, values)
    assert reload().success
    answers(peer, walk, 5, 10.0 + TRIES)
    assert peer.state() == 'active'
    assert peer.status(state='active')[0].level == DiagnosticStatus.OK
    assert 'Traceback' not in node.stderr and 'recognition failed' not in node.stderr


def test_a_changed_map_that_was_refused_is_not_advised_again(
    node, peer, reload, map_copy, town_map, walk
) -> None:
    answers(peer, walk, 2, 1.0)

    def is_told(text: str) -> bool:
        return text in peer.status(state='active')[0].message

    for damage in ('a', 'b'):
        (map_copy / 'map.yaml').write_text(damage)
        peer.until(lambda: is_told('call ~/reload_map'), 'the advice')
        why = reload().message.removesuffix('; the old map stays in use')
        said = f'the map that has changed on the disk was not loaded: {why}'
        peer.until(lambda said=said: is_told(said), said)
    assert peer.set_parameter('map_path', '~nobody_of_this_name/map')
    assert not reload().success and peer.set_parameter('map_path', str(map_copy))
    shutil.copyfile(town_map / 'map.yaml', map_copy / 'map.yaml')
    peer.until(lambda: is_told('call ~/reload_map'), 'the advice for a map that is mended')
    assert reload().success
    peer.until(lambda: not is_told('on the disk'), 'nothing said of the map')


# which would come back by itself with `autostart`
@pytest.mark.parametrize('node', [{'autostart': False}], indirect=True, ids=[''])
def test_a_good_reload_revives_a_node_that_gave_up(node, peer, reload, walk) -> None:
    assert peer.change_state(CONFIGURE) and peer.change_state(ACTIVATE)
    answers(peer, walk, 2, 1.0)
    node.be('vector', 'vector * np.float32("nan")')

    def given_up() -> bool:
        peer.camera.publish(image_message(walk[3], 2.0))
        peer.spin(0.05)
        return peer.state() == 'inactive'

    peer.until(given_up, 'the node to give up')
    node.be('vector', '')
    response = reload()
    assert (
        response.success
        and response.message == f'map loaded: {MAP_PLACES} places; the node is active again'
    )
    assert peer.state() == 'active'
    answers(peer, walk, 4, 3.0)
    assert not peer.change_state(ACTIVATE)


def test_what_is_deactivated_by_hand_stays_so(node, peer, reload) -> None:
    peer.status(state='active')
    assert peer.change_state(4)
    assert reload().message == f'map loaded: {MAP_PLACES} places'
    assert peer.state() == 'inactive'

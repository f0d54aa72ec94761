# SPDX-License-Identifier: Apache-2.0
"""vpr_node with a map that has local features: verified answers, and why they are not."""

from __future__ import annotations

import gc
import os
import shutil
import time
import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='rclpy cannot be imported')

from diagnostic_msgs.msg import DiagnosticStatus
from ros_helpers import OddNode, Peer, image_message, until
from sensor_msgs.msg import Image
from std_srvs.srv import Trigger

from ashtkd_ros.maps.place_map import PlaceMap
from ashtkd_ros.maps.thumbnails import make_thumbnail, write_thumbnail
from ashtkd_ros.network.embedder import Embedder
from ashtkd_ros.recognition.matcher import Matcher, MatcherConfig
from ashtkd_ros.ros.node.map_loading import load_map
from ashtkd_ros.ros.node.messages import check_messages
from ashtkd_ros.ros.node.parameters import Parameters

pytest_plugins = ['ros_fixtures']
pytestmark = pytest.mark.ros
TOP = MatcherConfig.verify_top


@pytest.fixture
def map_copy(local_map: Path, tmp_path: Path) -> Path:
    """A map that a test may spoil."""
    return shutil.copytree(local_map, tmp_path / 'map')


@pytest.fixture
def node(ros, local_model: Path, map_copy: Path, tmp_path: Path) -> Iterator[OddNode]:
    """A node of the test's own; it ends well or the test fails."""
    fixed = {'min_confidence': 0.0, 'num_threads': 1, 'frozen_after': 0}
    node = OddNode(tmp_path / 'node', model_path=local_model, map_path=map_copy, **fixed)
    yield node
    try:
        node.end()
    finally:
        node.kill()


@pytest.fixture
def matcher(local_model: Path, local_map: Path) -> Matcher:
    return Matcher(PlaceMap.load(local_map, Embedder(local_model, num_threads=1)))


@pytest.fixture
def looks(local_model: Path, walk) -> list:
    """What the network makes of the walk's pictures."""
    embedder = Embedder(local_model, num_threads=1)
    return [embedder.describe(pixels) for pixels in walk]


def told(place) -> list[tuple[int, float]]:
    return [(int(result.class_id), result.score) for result in place.results]


def expected(matcher: Matcher, look, verify_top: int) -> list[tuple[int, float]]:
    found = matcher.answer(look, verify_top=verify_top).candidates
    return [(c.place.id, pytest.approx(c.confidence, abs=1e-4)) for c in found]


def saying(peer: Peer, text: str) -> tuple[DiagnosticStatus, dict[str, str]]:
    """The diagnostics once `verification` begins with this text."""

    def found():
        status, values = peer.status(state='active')
        return (status, values) if values['verification'].startswith(text) else None

    return peer.until(found, f'verification: {text}')


def reload(peer: Peer) -> Trigger.Response:
    return peer.service('reload_map')()


def test_answers_are_those_of_a_verifying_matcher(node, peer: Peer, matcher, looks, walk) -> None:
    for i, look in enumerate(looks):
        assert told(peer.ask(image_message(walk[i], 1.0 + i))) == expected(matcher, look, TOP)
    _, values = saying(peer, f'on, of the {TOP} most similar places')
    check = matcher.answer(looks[-1]).candidates[0].check
    assert values['last agreement'] == f'{100 * check.agreement:.0f} %'
    assert values['last displacement'] == '0 % down, 0 % right'
    assert 0.0 < float(values['verify p50 ms']) < float(values['latency p50 ms'])
    assert f'verification: on, of the {TOP} most similar places' in node.stderr


def test_verify_top_applies_from_the_next_image_on(node, peer, matcher, looks, walk) -> None:
    changed = 0
    for number, top in enumerate((0, 3, 0)):
        assert peer.set_parameter('verify_top', top)
        for i, look in enumerate(looks):
            place = peer.ask(image_message(walk[i], 100.0 * number + i + 1))
            assert told(place) == expected(matcher, look, top)
            changed += told(place) != expected(matcher, look, 0)
    assert changed, 'verification changes no answer'
    _, values = saying(peer, 'off (verify_top is 0)')
    assert (values['last agreement'], values['last displacement']) == ('none', 'none')
    for wrong in (-1, 257, 2.5):
        assert not peer.set_parameter('verify_top', wrong)


def test_features_that_change_on_the_disk_are_told_of_and_not_used(
    node, peer: Peer, matcher, looks, walk, map_copy
) -> None:
    peer.ask(image_message(walk[0], 1.0))
    os.utime(map_copy / 'local.npy')
    for i in range(1, 6):
        place = peer.ask(image_message(walk[i], 1.0 + i))
        assert told(place) == expected(matcher, looks[i], 0)
    status, _ = saying(peer, f'off ({map_copy}/local.npy: cannot be read any more')
    assert status.level == DiagnosticStatus.WARN
    assert f'answers are not verified: {map_copy}/local.npy: ' in status.message
    assert peer.set_parameter('verify_top', 0)
    assert saying(peer, 'off (verify_top is 0)')[0].level == DiagnosticStatus.OK
    assert peer.set_parameter('verify_top', TOP)
    assert reload(peer).success
    assert saying(peer, 'on')[0].level == DiagnosticStatus.OK
    assert told(peer.ask(image_message(walk[7], 20.0))) == expected(matcher, looks[7], TOP)


@pytest.mark.parametrize('spoil', ['cut', 'delete', 'replace'])
def test_the_map_in_use_outlives_its_file(
    node, peer, matcher, looks, walk, map_copy, spoil: str
) -> None:
    peer.ask(image_message(walk[0], 1.0))
    file = map_copy / 'local.npy'
    if spoil == 'cut':
        os.truncate(file, 200)
    else:
        file.unlink()
    if spoil == 'replace':
        file.write_bytes(b'another')
    top = 0 if spoil == 'cut' else TOP  # an open file that is deleted can still be read
    for i in range(1, 4):
        place = peer.ask(image_message(walk[i], 1.0 + i))
        assert told(place) == expected(matcher, looks[i], top)
    refused = reload(peer)
    assert not refused.success and 'local.npy' in refused.message
    assert told(peer.ask(image_message(walk[5], 10.0))) == expected(matcher, looks[5], top)


def test_a_disk_that_stalls_costs_the_verification_alone(
    node, peer: Peer, matcher, looks, walk, map_copy
) -> None:
    peer.ask(image_message(walk[0], 1.0))
    node.be('stall', str(map_copy))
    for i in range(1, 6):
        assert told(peer.ask(image_message(walk[i], 1.0 + i))) == expected(matcher, looks[i], 0)
    status, values = saying(peer, f'off ({map_copy}/local.npy: the disk does not answer')
    assert status.level == DiagnosticStatus.WARN
    assert float(values['latency p50 ms']) < 300
    node.be('stall', '')

    def verified() -> bool:
        peer.ask(image_message(walk[6], 20.0 + len(peer.places)))
        return peer.status(state='active')[1]['verification'].startswith('on')

    peer.until(verified, 'verified answers')
    node.be('stall', str(map_copy))  # the node ends well all the same
    peer.ask(image_message(walk[7], 900.0))


def test_a_map_that_is_dropped_closes_its_file(local_map: Path, local_model: Path) -> None:
    gc.collect()
    gc.disable()  # no circle of references keeps it
    try:
        loaded = load_map(str(local_map), Embedder(local_model), Parameters(), print)
        check_messages(loaded)
        file = weakref.ref(loaded.recogniser.matcher.map.local._source)
        assert file() is not None
        del loaded
        until(lambda: file() is None, 'the end of the file', lambda: time.sleep(0.01))
    finally:
        gc.enable()


def test_a_map_without_local_features_works_and_says_so(
    node, peer: Peer, matcher, looks, walk, map_copy, local_model
) -> None:
    peer.ask(image_message(walk[0], 1.0))
    old = PlaceMap.load(map_copy, Embedder(local_model, num_threads=1))
    old.local = None
    old.save(map_copy)
    assert reload(peer).success
    assert told(peer.ask(image_message(walk[2], 2.0))) == expected(matcher, looks[2], 0)
    status, _ = saying(peer, 'off (the map has no local features; answers are not verified')
    assert status.level == DiagnosticStatus.OK
    assert 'verification: off (the map has no local features' in node.stderr


def test_the_debug_image_shows_what_matches(node, peer: Peer, walk, map_copy) -> None:
    (map_copy / 'thumbnails').mkdir()
    for i, pixels in enumerate(walk):
        write_thumbnail(map_copy, i, make_thumbnail(pixels, 'RGB'))
    pictures: list[Image] = []
    peer.node.create_subscription(Image, 'vpr_node/debug_image', pictures.append, 10)
    peer.until(lambda: peer.node.count_publishers('vpr_node/debug_image'), 'the topic')

    def shown() -> bool:
        peer.ask(image_message(walk[3], 10.0 + len(peer.places)))
        return bool(pictures)

    peer.until(shown, 'a picture')
    pixels = np.frombuffer(pictures[-1].data, np.uint8).reshape(268, 640, 3)
    green = (pixels == (0, 255, 0)).all(axis=2)
    assert green[28:, :320].any() and green[28:, 320:].any()
    assert (green[28:, :320] == green[28:, 320:]).mean() > 0.99  # the same picture, unmoved


def test_a_sequence_remembers_the_images_before(node, peer: Peer, looks, walk) -> None:
    def told_at(number: int, start: float) -> list[tuple[int, float]]:
        return told(peer.ask(image_message(walk[number], start + number)))

    alone = [told_at(i, 1.0) for i in range(len(walk))]
    assert peer.set_parameter('sequence_length', 10)
    followed = [told_at(i, 101.0) for i in range(len(walk))]
    assert len(followed[-1]) == len(alone[-1])
    assert followed[-1] != alone[-1] and 0.0 < followed[-1][0][1] < 1.0

    def of_a_sequence():
        values = peer.status(state='active')[1]
        return values if 'last image alone' in values else None

    values = peer.until(of_a_sequence, 'what the last image alone says')
    place, confidence = alone[-1][0]
    assert values['last image alone'] == f'{place}, confidence {confidence:.3f}'
    assert 0.0 <= float(values['lost']) < 1.0
    again = told_at(len(walk) - 1, 1.0)  # stamps go back: nothing is remembered
    assert again != followed[-1]
    assert peer.set_parameter('sequence_length', 1)
    assert told_at(0, 301.0) == alone[0]
    for wrong in (0, 1001, 2.5):
        assert not peer.set_parameter('sequence_length', wrong)

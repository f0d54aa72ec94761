# SPDX-License-Identifier: Apache-2.0
"""vpr_node in a sequence: a covered camera is no place, a robot that was carried off is found."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='rclpy cannot be imported')

from evaluation_helpers import run
from ros_helpers import OddNode, Peer, image_message

from ashtkd_ros.commands.build_map import main as build_map
from ashtkd_ros.traverses.image_folder import read_source

pytest_plugins = ['ros_fixtures']
pytestmark = pytest.mark.ros


@pytest.fixture
def node(ros, town: Path, tmp_path: Path) -> Iterator[OddNode]:
    """With a map of the whole walk, which has its own confidence."""
    assert run(build_map, town / 'day', '-o', tmp_path / 'map') == 0
    settings = {'sequence_length': 10, 'num_threads': 1, 'frozen_after': 0}
    node = OddNode(tmp_path / 'node', map_path=tmp_path / 'map', **settings)
    yield node
    try:
        node.end()
    finally:
        node.kill()


def test_a_covered_camera_and_a_robot_that_is_carried_off(
    node: OddNode, peer: Peer, town: Path
) -> None:
    route, rng, stamp = read_source(town / 'dusk'), np.random.default_rng(0), 10.0

    def answers(pictures: Iterator[np.ndarray]) -> list[int]:
        """The place of each picture, -1 where it is unknown."""
        nonlocal stamp
        found = []
        for picture in pictures:
            stamp += 0.5
            results = peer.ask(image_message(picture, stamp)).results
            found.append(int(results[0].class_id) if results else -1)
        return found

    def drive(first: int, last: int) -> list[int]:
        """How far the answers are from the places at which the pictures were taken."""
        found = answers(frame.read() for frame in route[first:last])
        return [abs(place - k) if place >= 0 else -1 for k, place in enumerate(found, first)]

    assert 0 <= drive(5, 20)[-1] <= 2
    shape = route[0].read().shape
    shades = np.linspace(60, 130, shape[0])[:, None, None] * (1.0, 0.5, 0.4)  # a hand
    for noise in (6, 2):
        hand = (rng.normal(shades, noise, shape) for _ in range(12))
        covered = answers(np.clip(picture, 0, 255).astype(np.uint8) for picture in hand)
        assert covered == [-1] * 12

    def refused():
        values = peer.status(state='active')[1]
        return 'shows nothing' in values['last refusal']

    peer.until(refused, 'why the place is unknown')
    gaps = drive(80, 92)
    assert all(0 <= gap <= 2 for gap in gaps[9:])
    assert all(gap <= 2 for gap in gaps)

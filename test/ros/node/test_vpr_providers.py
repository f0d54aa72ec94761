# SPDX-License-Identifier: Apache-2.0
"""A node whose provider fails while images come: each image is answered, and it is said once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip('rclpy', reason='rclpy cannot be imported')

from diagnostic_msgs.msg import DiagnosticStatus
from ros_helpers import OddNode, Peer, image_message

pytest_plugins = ['ros_fixtures']
pytestmark = pytest.mark.ros
OPENVINO, CPU = 'OpenVINOExecutionProvider', 'CPUExecutionProvider'
PLAYED = f"""
import onnxruntime
from runtime_fixtures import Runtime
onnxruntime.played = Runtime()
onnxruntime.get_available_providers = lambda: ['{OPENVINO}', '{CPU}']
onnxruntime.InferenceSession = onnxruntime.played.session
"""
BROKEN_NOW = f"""
[vector, __import__('onnxruntime').played.broken.update({{'{OPENVINO}': 'cannot run'}})][0]
"""


@pytest.fixture
def node(ros, town_map: Path, tmp_path: Path) -> Iterator[OddNode]:
    fixed = {'map_path': town_map, 'min_confidence': 0.0, 'frozen_after': 0}
    node = OddNode(tmp_path / 'node', before={'make': PLAYED}, **fixed)
    yield node
    try:
        node.end()
    finally:
        node.kill()


def test_a_provider_that_fails_costs_no_image(node: OddNode, peer: Peer, walk) -> None:
    place = peer.ask(image_message(walk[0], 1.0))
    assert int(place.results[0].class_id) == 0
    assert peer.status(state='active')[1]['execution provider'] == OPENVINO
    node.be('vector', BROKEN_NOW.strip())
    for number in range(1, 4):
        place = peer.ask(image_message(walk[number], 1.0 + number))
        assert int(place.results[0].class_id) == number

    def told() -> bool:
        status, values = peer.status(state='active')
        moved = values['execution provider'] == CPU
        return moved and f'{OPENVINO} failed while it ran' in status.message

    peer.until(told, 'a warning in the diagnostics')
    assert peer.status(state='active')[0].level == DiagnosticStatus.WARN
    lines = [line for line in node.stderr.splitlines() if 'failed while it ran' in line]
    of_its_own = [line for line in lines if 'diagnostics WARN' not in line]
    assert len(of_its_own) == 1 and '[WARN]' in of_its_own[0]
    assert 'no kernel for this device' in of_its_own[0]

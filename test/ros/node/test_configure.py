# SPDX-License-Identifier: Apache-2.0
"""What vpr_node does when it is configured, seen from within."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip('rclpy', reason='rclpy cannot be imported')

from conftest import places_along_x, unit_rows
from rclpy.parameter import Parameter
from std_msgs.msg import Header

from ashtkd_ros.maps.place_map import PlaceMap
from ashtkd_ros.network.embedder import Embedder
from ashtkd_ros.network.emptiness import pictures_of_nothing
from ashtkd_ros.network.shipped_model import shipped_model
from ashtkd_ros.ros.node.messages import map_markers, pose_message
from ashtkd_ros.ros.node.vpr_node import VprNode

pytest_plugins = ['ros_fixtures']
pytestmark = pytest.mark.ros


@pytest.fixture
def node(ros) -> Iterator[VprNode]:
    made = VprNode()
    yield made
    made.trigger_shutdown()
    made.destroy_node()


def configure(node: VprNode, map_folder: Path) -> None:
    node.set_parameters([Parameter('map_path', value=str(map_folder))])
    node.trigger_configure()
    assert node.state == 'inactive', node.health.last_error


def test_the_network_runs_on_two_pictures_and_on_nothing(
    node: VprNode, town_map: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs, infer = [], Embedder._infer

    def counted(self, outputs, blob):
        runs.append(len(blob))
        return infer(self, outputs, blob)

    monkeypatch.setattr(Embedder, '_infer', counted)
    configure(node, town_map)
    assert runs == [1] * (2 + len(list(pictures_of_nothing(8, 8))))


@pytest.mark.parametrize(('apart', 'metres'), [(0.0, 0.5), (0.1, 0.5), (2.0, 2.0)])
def test_a_pose_is_as_sure_as_places_are_apart_but_half_a_metre_at_least(
    node: VprNode, tmp_path: Path, apart: float, metres: float
) -> None:
    embedder = Embedder(shipped_model(), num_threads=1)
    places = places_along_x([apart * i for i in range(6)])
    rows = unit_rows(6, embedder.dimensions)
    PlaceMap.build(rows, places, embedder).save(tmp_path / 'map')
    configure(node, tmp_path / 'map')
    loaded = node.loaded_map
    (best,) = loaded.recogniser.matcher.match(rows[0], 1)
    message = pose_message(loaded, Header(), best)
    stddev = (message.pose.covariance[0] * max(best.confidence, 0.05)) ** 0.5
    assert stddev == pytest.approx(metres)
    assert map_markers(loaded).markers[0].scale.x == pytest.approx(0.4 * metres)

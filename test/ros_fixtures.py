# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the ROS tests; a module asks for them with pytest_plugins."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import rclpy
from conftest import write_tiny_model
from ros_helpers import MAP_PLACES, TOWN, NodeProcess, Peer, save_town

from ashtkd_ros.network.embedder import Embedder
from ashtkd_ros.network.shipped_model import shipped_model
from ashtkd_ros.traverses.image_folder import read_source


@pytest.fixture(scope='session')
def ros() -> Iterator[None]:
    """This process in a ROS graph of its own machine."""
    os.environ.setdefault('ROS_DOMAIN_ID', str(1 + os.getpid() % 100))
    os.environ.setdefault('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
    rclpy.init()
    yield
    rclpy.try_shutdown()


@pytest.fixture
def peer(ros) -> Iterator[Peer]:
    """Camera, listener and operator."""
    peer = Peer()
    yield peer
    peer.close()


@pytest.fixture(scope='session')
def town_map(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Map of the first frames of the shipped day walk, made by the shipped student."""
    folder = tmp_path_factory.mktemp('maps') / 'town'
    save_town(folder, Embedder(shipped_model(), num_threads=1))
    return folder


@pytest.fixture(scope='session')
def local_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network with local features, whatever the shipped one has."""
    return write_tiny_model(tmp_path_factory.mktemp('model') / 'tiny.onnx', grid=(3, 4))


@pytest.fixture(scope='session')
def local_map(local_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Map of the same frames by `local_model`; its places have pictures."""
    folder = tmp_path_factory.mktemp('maps') / 'local'
    save_town(folder, Embedder(local_model, num_threads=1))
    return folder


@pytest.fixture(scope='session')
def walk() -> list[np.ndarray]:
    """Pictures of the first frames of the day walk, RGB; the map's places in order."""
    return [frame.read() for frame in read_source(TOWN / 'day')[:MAP_PLACES]]


@pytest.fixture
def start_node(ros, tmp_path: Path) -> Iterator[Callable[..., NodeProcess]]:
    """Starts vpr_node; what a failed test leaves behind is killed."""
    nodes = []

    def start(*ros_arguments: str, **parameters: object) -> NodeProcess:
        nodes.append(NodeProcess(tmp_path / f'node{len(nodes)}', *ros_arguments, **parameters))
        return nodes[-1]

    yield start
    for node in nodes:
        node.kill()

# SPDX-License-Identifier: Apache-2.0
"""What several test files share: where data lies, a small network, a stand-in for one."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

if worker := os.environ.get('PYTEST_XDIST_WORKER'):
    # A core each: threads that wait for those of another worker take many times as long. What
    # follows reads this as it is imported, and processes that tests start have it too.
    os.environ.setdefault('OMP_NUM_THREADS', '1')
    # nodes of two workers must not meet
    domain = int(os.environ.get('ROS_DOMAIN_ID', 0)) + 1 + int(worker[2:])
    os.environ['ROS_DOMAIN_ID'] = str(domain % 102)

import cv2
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
# The tests mirror the package, and some use what others make. (pytest 6, of Ubuntu 22.04, knows no
# `pythonpath`.)
sys.path[:0] = [str(ROOT), *sorted({str(p.parent) for p in (ROOT / 'test').rglob('test_*.py')})]

from ashtkd_ros.geometry.pose import Pose
from ashtkd_ros.maps.place_map import Place, PlaceMap
from ashtkd_ros.maps.places import Places
from ashtkd_ros.network.embedder import Preprocessing

# A shell starts what it runs in the background with SIGINT ignored, and so would be all processes
# that the tests start and interrupt.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

TINY_PREPROCESSING = {
    'size': [6, 8],
    'mean': [0.4, 0.5, 0.6],
    'std': [0.2, 0.3, 0.4],
    'colour_order': 'RGB',
}


@pytest.fixture(scope='session')
def root() -> Path:
    return ROOT


@pytest.fixture(scope='session')
def town() -> Path:
    """The shipped rendered walks: `day` and `dusk`."""
    return ROOT / 'test' / 'data' / 'town'


@pytest.fixture(scope='session')
def shared() -> Path:
    """Real photos and frozen teachers, which lie beside the repository where there are any."""
    folder = ROOT.parent / 'shared'
    if not folder.is_dir():
        pytest.skip('../shared is not there: no real photos, no teachers')
    return folder


@pytest.fixture(scope='session')
def student() -> Path:
    return ROOT / 'models' / 'ashtkd_student.onnx'


@pytest.fixture
def fake_network() -> SimpleNamespace:
    """What a map asks of an Embedder, without a network: 4 dimensions."""
    preprocessing = Preprocessing((6, 8), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), 'RGB')
    return SimpleNamespace(
        dimensions=4,
        name='fake',
        hash='0' * 64,
        preprocessing=preprocessing,
        confidence={},
        local=None,
    )


@pytest.fixture
def built(fake_network) -> PlaceMap:
    """A map of six places 1 m apart, with poses."""
    return PlaceMap.build(unit_rows(6, 4), places_along_x(range(6)), fake_network)


@pytest.fixture
def saved(built: PlaceMap, tmp_path: Path) -> Path:
    """The folder that `built` was saved to."""
    built.save(tmp_path / 'map')
    return tmp_path / 'map'


@pytest.fixture(scope='session')
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """64 random pictures of 64 x 64."""
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp('pictures')
    paths = [folder / f'{i:02d}.png' for i in range(64)]
    for path in paths:
        coarse = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        cv2.imwrite(str(path), cv2.resize(coarse, (64, 64)))
    return paths


@pytest.fixture(scope='session')
def views(pictures: list[Path], tmp_path_factory: pytest.TempPathFactory):
    """Two views of each of the 64 pictures, 64 x 64."""
    from small_student import torch  # noqa: F401  skips where it is missing

    from tools.training.data.views import Views

    made = Views(tmp_path_factory.mktemp('views'), size=64)
    made.add(pictures, 2)
    return made


def checksums(folder: Path) -> dict[str, str]:
    """Name → checksum of every file in a folder."""
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()}


def unit_rows(count: int, size: int, seed: int = 0) -> np.ndarray:
    """Random float32 (count, size), rows of length 1."""
    rows = np.random.default_rng(seed).normal(size=(count, size))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def change_place(place_map: PlaceMap, row: int, **values: object) -> None:
    """Give a place of a map in memory other values."""
    places = list(place_map.places)
    places[row] = replace(places[row], **values)
    place_map.places = Places.of(places)


def places_along_x(positions: list[float] | np.ndarray, with_poses: bool = True) -> list[Place]:
    """Places at x = positions; in order."""
    return [
        Place(i, 0.5 * i, i, Pose(float(x), 0.0, 0.0) if with_poses else None, f'images/{i}.jpg')
        for i, x in enumerate(positions)
    ]


def write_tiny_model(
    path: Path, metadata: dict[str, str] | None = None, grid: tuple[int, int] | None = None
) -> Path:
    """ONNX file: mean of each colour over the picture → length 1, float32 (N, 3).

    `grid`: also the same of each cell of this grid, rows and columns that divide 6 and 8, as the
    output `local`.
    """
    onnx = pytest.importorskip('onnx', reason='onnx is not installed: no model can be made')
    height, width = TINY_PREPROCESSING['size']
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    nodes = [
        helper.make_node('GlobalAveragePool', ['image'], ['pooled']),
        helper.make_node('Flatten', ['pooled'], ['flat']),
        helper.make_node('LpNormalization', ['flat'], ['descriptor'], axis=1, p=2),
    ]
    image = helper.make_tensor_value_info('image', kind, ['batch', 3, height, width])
    outputs = [helper.make_tensor_value_info('descriptor', kind, ['batch', 3])]
    if metadata is None:
        metadata = {'name': 'tiny', 'preprocessing': json.dumps(TINY_PREPROCESSING)}
    if grid:
        nodes += local_nodes(grid)
        shape = ['batch', grid[0] * grid[1], 3]
        outputs.append(helper.make_tensor_value_info('local', kind, shape))
        metadata = {'local': json.dumps({'grid': list(grid)}), **metadata}
    graph = helper.make_graph(nodes, 'tiny', [image], outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=8)
    helper.set_model_props(model, metadata)
    onnx.save(model, str(path))
    return path


def local_nodes(grid: tuple[int, int]) -> list:
    """The nodes from `image` to `local`: the mean colour of each cell, of length 1."""
    import onnx

    height, width = TINY_PREPROCESSING['size']
    cell, node = [height // grid[0], width // grid[1]], onnx.helper.make_node
    rows = onnx.numpy_helper.from_array(np.array([0, 3, -1]), 'rows')
    return [
        node('AveragePool', ['image'], ['cells'], kernel_shape=cell, strides=cell),
        node('Constant', [], ['rows'], value=rows),
        node('Reshape', ['cells', 'rows'], ['channels']),
        node('Transpose', ['channels'], ['positions'], perm=[0, 2, 1]),
        node('LpNormalization', ['positions'], ['local'], axis=2, p=2),
    ]


def line_of(error: pytest.ExceptionInfo) -> str:
    """The message of a VprError, which must be one line."""
    text = str(error.value)
    assert text and '\n' not in text
    return text

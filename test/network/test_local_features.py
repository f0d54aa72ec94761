# SPDX-License-Identifier: Apache-2.0
"""Local features beside the descriptor: int8 in the same run, and unsound ones refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import line_of, local_nodes, unit_rows, write_tiny_model
from test_model_file import METADATA, POOLED, UNIT, constant, helper, refusal, save, value

from ashtkd_ros.errors import VprError
from ashtkd_ros.network.embedder import Embedder
from ashtkd_ros.network.local_features import LocalShape, first_not_unit_int8, shape_of_output

GRID = (2, 4)
PICTURE = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)
DESCRIPTOR = value('descriptor', ['batch', 3])
LOCAL = value('local', ['batch', 8, 3])


@pytest.fixture
def network(tmp_path: Path) -> Embedder:
    return Embedder(write_tiny_model(tmp_path / 'local.onnx', grid=GRID), num_threads=1)


def odd(path: Path, nodes: list, output=LOCAL, grid: object = GRID, **metadata: str) -> Path:
    """A model with an output `local` of its own, which `nodes` make."""
    about = {**METADATA, 'local': json.dumps({'grid': grid}), **metadata}
    return save(path, [*POOLED, UNIT, *nodes], outputs=[DESCRIPTOR, output], metadata=about)


def ending(*last) -> list:
    """The nodes that make `local`, with other last ones after `positions`."""
    return [*local_nodes(GRID)[:-1], *last]


def test_a_look_has_the_descriptor_and_the_cells_as_int8(network: Embedder):
    look = network.describe(PICTURE)
    assert network.local == LocalShape(GRID, 3)
    np.testing.assert_array_equal(look.descriptor, network.embed(PICTURE))
    pixels = network.preprocess(PICTURE)
    cells = pixels.reshape(3, 2, 3, 4, 2).mean(axis=(2, 4)).reshape(3, 8).T
    cells /= np.linalg.norm(cells, axis=1, keepdims=True)
    assert look.local.dtype == np.int8 and look.local.shape == (8, 3)
    assert np.abs(look.local - 127 * cells).max() <= 0.5 + 1e-3
    assert first_not_unit_int8(look.local) is None


def test_a_look_is_one_run(network: Embedder, monkeypatch: pytest.MonkeyPatch):
    runs, infer = [], Embedder._infer

    def counted(self: Embedder, outputs: list[str], blob: np.ndarray) -> list[np.ndarray]:
        runs.append(outputs)
        return infer(self, outputs, blob)

    monkeypatch.setattr(Embedder, '_infer', counted)
    network.describe(PICTURE)
    network.embed(PICTURE)
    assert runs == [['descriptor', 'local'], ['descriptor']]


def test_a_model_without_local_features_gives_none(tmp_path: Path):
    about = {**METADATA, 'local': json.dumps({'grid': GRID})}  # whatever its metadata say
    for metadata in (METADATA, about):
        network = Embedder(save(tmp_path / 'plain.onnx', metadata=metadata), num_threads=1)
        assert network.local is None and network.describe(PICTURE).local is None


def test_a_model_for_single_pictures_has_local_features_too(tmp_path: Path):
    one = [value('descriptor', [1, 3]), value('local', [1, 8, 3])]
    image = [value('image', [1, 3, 6, 8])]
    about = {**METADATA, 'local': json.dumps({'grid': GRID})}
    nodes = [*POOLED, UNIT, *local_nodes(GRID)]
    path = save(tmp_path / 'one.onnx', nodes, image, one, about)
    network = Embedder(path, num_threads=1)
    assert network.describe(PICTURE).local.shape == (8, 3)
    assert network.embed_batch([PICTURE, PICTURE]).shape == (2, 3)


MALFORMED = {
    'no metadata': ({'local': '{}'}, 'grid is not'),
    'no JSON': ({'local': 'x'}, 'Expecting value'),
    'a list': ({'local': '[14, 14]'}, 'not a table'),
    'deep': ({'local': '[' * 100_000}, 'nested too deeply'),
    'other grid': ({'grid': [3, 3]}, 'has 8 positions, its grid 9'),
    'grid of 0': ({'grid': [0, 8]}, 'grid is not'),
    'three sides': ({'grid': [2, 2, 2]}, 'grid is not'),
    'half a cell': ({'grid': [2.0, 4]}, 'grid is not'),
    'true': ({'grid': [True, 8]}, 'grid is not'),
    'huge': ({'grid': [10**9, 10**9]}, 'grid is not'),
    'flat': ({'output': value('local', ['batch', 24])}, 'not float32 (N, positions, channels)'),
    'two pictures': ({'output': value('local', [2, 8, 3])}, '2 pictures at a time'),
}


@pytest.mark.parametrize('case', MALFORMED)
def test_a_malformed_output_is_refused_in_one_line(tmp_path: Path, case: str):
    parts, expected = MALFORMED[case]
    flat = [helper.make_node('Flatten', ['positions'], ['local'])] if case == 'flat' else []
    nodes = ending(*flat) if flat else local_nodes(GRID)
    line = refusal(odd(tmp_path / 'odd.onnx', nodes, **parts))
    assert expected in line and 'output "local"' in line


@pytest.mark.parametrize(
    ('shape', 'expected'),
    [
        (['batch', 8, 'n'], 'channels is not'),
        (['batch', 8, 1], 'channels is not'),
        (['batch', 8, 2**20], 'channels is not'),
        (['batch', 'n', 3], 'has n positions'),
        (['batch', None, 3], 'has None positions'),
        ([], 'not float32'),
    ],
    ids=str,
)
def test_an_output_without_fixed_sizes_is_refused(shape: list, expected: str):
    with pytest.raises(ValueError, match=expected):
        shape_of_output({'local': json.dumps({'grid': GRID})}, 'tensor(float)', shape)


def test_an_output_of_another_type_is_refused(tmp_path: Path):
    half = helper.make_node('Cast', ['positions'], ['local'], to=10)
    output = helper.make_tensor_value_info('local', 10, ['batch', 8, 3])
    line = refusal(odd(tmp_path / 'odd.onnx', ending(half), output))
    assert 'it is tensor(float16)' in line


SOUND = helper.make_node('LpNormalization', ['positions'], ['unit'], axis=2, p=2)
UNSOUND = {
    'not of length 1': (ending(helper.make_node('Identity', ['positions'], ['local'])), 'length'),
    'nearly': (
        ending(SOUND, constant('m', [1.01]), helper.make_node('Mul', ['unit', 'm'], ['local'])),
        'length 1.01, not 1, at position 0',
    ),
    'NaN': (
        ending(SOUND, constant('m', [np.nan]), helper.make_node('Mul', ['unit', 'm'], ['local'])),
        'length nan',
    ),
    'infinite': (
        ending(SOUND, constant('m', [3e38]), helper.make_node('Mul', ['unit', 'm'], ['local'])),
        'length inf',
    ),
    'twice as many': (
        ending(SOUND, helper.make_node('Concat', ['unit', 'unit'], ['local'], axis=0)),
        'gives as "local" (2, 8, 3) and not (1, 8, 3)',
    ),
    'always the same': (
        [constant('c', unit_rows(8, 3)[None]), helper.make_node('Identity', ['c'], ['local'])],
        'the same local features',
    ),
}


@pytest.mark.parametrize('case', UNSOUND)
def test_unsound_features_are_refused_at_load(tmp_path: Path, case: str):
    nodes, expected = UNSOUND[case]
    output = value('local', ['batch', 8, 3])
    assert expected in refusal(odd(tmp_path / 'odd.onnx', nodes, output))


def test_what_only_some_pictures_bring_out_is_an_error_of_those(tmp_path: Path):
    plain = {'size': [6, 8], 'mean': [0.0] * 3, 'std': [1.0] * 3, 'colour_order': 'RGB'}
    path = odd(tmp_path / 'odd.onnx', local_nodes(GRID), preprocessing=json.dumps(plain))
    network, half_black = Embedder(path, num_threads=1), PICTURE.copy()
    half_black[:, :16] = 0
    assert network.embed(half_black).shape == (3,)
    with pytest.raises(VprError) as error:
        network.describe(half_black)
    assert 'odd.onnx: gives as "local" a vector of length 0' in line_of(error)


def test_rows_of_int8_are_of_length_one_but_for_rounding():
    for length in (2, 3, 64, 128):
        rows = np.rint(127 * unit_rows(500, length)).astype(np.int8)
        assert first_not_unit_int8(rows) is None
        rows[7] //= 2
        assert first_not_unit_int8(rows) == 7

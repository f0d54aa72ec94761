# SPDX-License-Identifier: Apache-2.0
"""Models as somebody else may have made them: refused in one line, or sound in every answer."""

from __future__ import annotations

import json
import math
import os
import random
from pathlib import Path

import numpy as np
import pytest
from conftest import TINY_PREPROCESSING, line_of, write_tiny_model

from ashtkd_ros.errors import VprError
from ashtkd_ros.network.embedder import Embedder

onnx = pytest.importorskip('onnx', reason='onnx is not installed: no model can be made')
helper, FLOAT = onnx.helper, onnx.TensorProto.FLOAT
METADATA = {'name': 'odd', 'preprocessing': json.dumps(TINY_PREPROCESSING)}
PICTURE = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)
POOLED = [
    helper.make_node('GlobalAveragePool', ['image'], ['pooled']),
    helper.make_node('Flatten', ['pooled'], ['flat']),
]
UNIT = helper.make_node('LpNormalization', ['flat'], ['descriptor'], axis=1, p=2)


def value(name: str, shape: list | None, kind: int = FLOAT):
    return helper.make_tensor_value_info(name, kind, shape)


def save(path: Path, nodes=None, inputs=None, outputs=None, metadata=None, **more) -> Path:
    """A model of nodes, with the inputs and outputs of the tiny one unless others are given."""
    graph = helper.make_graph(
        nodes or [*POOLED, UNIT],
        'odd',
        [value('image', ['batch', 3, 6, 8])] if inputs is None else inputs,
        [value('descriptor', ['batch', 3])] if outputs is None else outputs,
        initializer=more.pop('initializer', []),
    )
    imports = [helper.make_opsetid('', 17), *more.pop('imports', [])]
    model = helper.make_model(graph, opset_imports=imports, ir_version=8, **more)
    helper.set_model_props(model, METADATA if metadata is None else metadata)
    path.write_bytes(model.SerializeToString())
    return path


def refusal(path: Path) -> str:
    with pytest.raises(VprError) as error:
        Embedder(path, num_threads=1)
    line = line_of(error)
    assert line.startswith(f'{path}: ')
    return line


def constant(name: str, array) -> onnx.NodeProto:
    tensor = onnx.numpy_helper.from_array(np.asarray(array, np.float32), name)
    return helper.make_node('Constant', [], [name], value=tensor)


def after(last: str, *arguments: str, **attributes) -> list:
    """The tiny network with another last step."""
    return [*POOLED, helper.make_node(last, ['flat', *arguments], ['descriptor'], **attributes)]


SCALAR = [*POOLED, helper.make_node('ReduceMean', ['flat'], ['descriptor'], keepdims=0)]
SHAPES = {
    'no input': ({'nodes': [constant('descriptor', [[1, 0, 0]])], 'inputs': []}, '0 inputs'),
    'scalar output': ({'nodes': SCALAR, 'outputs': [value('descriptor', [])]}, 'its output is []'),
    'two inputs': (
        {'inputs': [value('image', ['batch', 3, 6, 8]), value('mask', ['batch', 1])]},
        '2 inputs',
    ),
    'three dimensions': (
        {
            'nodes': [helper.make_node('ReduceMean', ['image'], ['descriptor'], axes=[2])],
            'inputs': [value('image', ['batch', 3, 6])],
            'outputs': [value('descriptor', ['batch', 3, 1])],
        },
        'its input is',
    ),
    'picture of another size': ({'inputs': [value('image', ['batch', 3, 8, 8])]}, 'its input is'),
    'one colour': ({'inputs': [value('image', ['batch', 1, 6, 8])]}, 'its input is'),
    'maps, no row': (
        {
            'nodes': [helper.make_node('Relu', ['image'], ['descriptor'])],
            'outputs': [value('descriptor', ['batch', 3, 6, 8])],
        },
        'its output is',
    ),
    'four pictures at a time': (
        {
            'inputs': [value('image', [4, 3, 6, 8])],
            'outputs': [value('descriptor', [4, 3])],
        },
        '4 pictures at a time',
    ),
    'bytes': (
        {
            'nodes': [
                helper.make_node('Cast', ['image'], ['numbers'], to=FLOAT),
                helper.make_node('GlobalAveragePool', ['numbers'], ['pooled']),
                *POOLED[1:],
                UNIT,
            ],
            'inputs': [value('image', ['batch', 3, 6, 8], onnx.TensorProto.UINT8)],
        },
        'tensor(uint8)',
    ),
}


@pytest.mark.parametrize('case', SHAPES)
def test_a_network_of_another_shape_is_refused(tmp_path: Path, case: str):
    parts, expected = SHAPES[case]
    assert expected in refusal(save(tmp_path / 'odd.onnx', **parts))


UNSOUND = {
    'NaN': [constant('zero', [0]), constant('none', [[0, 0, 0]])]
    + [*POOLED, helper.make_node('Div', ['none', 'zero'], ['nan'])]
    + [helper.make_node('Add', ['flat', 'nan'], ['descriptor'])],
    'infinite': [constant('huge', [3e38]), *after('Mul', 'huge')],
    'not of length 1': after('Identity'),
    'nothing': [constant('zero', [0]), *after('Mul', 'zero')],
    'nearly': [
        constant('most', [1.01]),
        *POOLED,
        helper.make_node('LpNormalization', ['flat'], ['unit'], axis=1, p=2),
        helper.make_node('Mul', ['unit', 'most'], ['descriptor']),
    ],
}


@pytest.mark.parametrize('case', UNSOUND)
def test_a_network_without_descriptors_of_length_one_is_refused_at_load(tmp_path: Path, case: str):
    line = refusal(save(tmp_path / 'odd.onnx', UNSOUND[case]))
    assert 'gives a descriptor of length' in line and 'not 1' in line


def test_what_only_some_pictures_bring_out_is_an_error_of_those(tmp_path: Path):
    plain = {**TINY_PREPROCESSING, 'mean': [0.0] * 3, 'std': [1.0] * 3}
    metadata = {**METADATA, 'preprocessing': json.dumps(plain)}
    network = Embedder(save(tmp_path / 'odd.onnx', metadata=metadata), num_threads=1)
    assert np.linalg.norm(network.embed(PICTURE)) == pytest.approx(1.0, abs=1e-3)
    black = np.zeros_like(PICTURE)
    for ask in (lambda: network.embed(black), lambda: network.embed_batch([PICTURE, black])):
        with pytest.raises(VprError) as error:
            ask()
        assert 'odd.onnx: gives a descriptor of length' in line_of(error)


def test_another_number_of_rows_than_of_pictures_is_refused(tmp_path: Path):
    twice = [
        *POOLED,
        helper.make_node('LpNormalization', ['flat'], ['unit'], axis=1, p=2),
        helper.make_node('Concat', ['unit', 'unit'], ['descriptor'], axis=0),
    ]
    assert 'gives (2, 3) and not (1, 3)' in refusal(save(tmp_path / 'odd.onnx', twice))


BAD_METADATA = {
    'bad UTF-8': (None, ''),
    'infinite std': ({'std': [0.1, math.inf, 1]}, 'Infinity is not a number'),
    'NaN mean': ({'mean': [0.1, math.nan, 1]}, 'NaN is not a number'),
    'std of 0': ({'std': [1, 0, 1]}, 'std is not above 0'),
    'huge size': ({'size': [10**9, 10**9]}, 'size is not'),
    'size of 0': ({'size': [0, 8]}, 'size is not'),
    'size in parts': ({'size': [6.5, 8]}, 'size is not'),
    'true': ({'size': [True, 8]}, 'size is not'),
    'text': ({'mean': ['0.1', 0, 0]}, 'mean is not 3 numbers'),
    'letters': ({'mean': 'abc'}, 'mean is not 3 numbers'),
    'whole numbers without end': ({'mean': [10**400, 0, 0]}, 'is not a number that can be used'),
    'list as order': ({'colour_order': ['RGB']}, 'colour_order'),
    'huge mean': ({'mean': [1e9, 0, 0]}, 'mean is not within'),
    'other resize': ({'resize': 'bicubic'}, 'resize'),
}


@pytest.mark.parametrize('case', BAD_METADATA)
def test_metadata_are_checked_by_type_and_range(tmp_path: Path, case: str):
    change, expected = BAD_METADATA[case]
    text = json.dumps({**TINY_PREPROCESSING, **(change or {})})
    path = save(tmp_path / 'odd.onnx', metadata={**METADATA, 'preprocessing': text})
    if change is None:
        path.write_bytes(path.read_bytes().replace(b'colour_order', b'colour_\xff\xfeder'))
    assert expected in refusal(path)


@pytest.mark.parametrize(
    'text',
    [
        '[1, 2]',
        'no JSON',
        '"text"',
        '[' * 100_000,
        '{"similarity": NaN, "margin": 1, "offset": 1}',
        '{"similarity": 1, "margin": 1, "offset": 9000}',
        '{"similarity": 1, "margin": 1, "offset": 5}',
        '{"similarity": "1", "margin": 1, "offset": -5}',
        '{"similarity": 1, "margin": 1}',
        '{"similarity": 1, "margin": 1, "offset": -5, "offset": -9}',
        f'{{"similarity": 1{"0" * 500}, "margin": 1, "offset": 1}}',
    ],
    ids=lambda text: text[:24],
)
def test_a_confidence_that_no_fit_gives_is_refused(tmp_path: Path, text: str):
    path = save(tmp_path / 'odd.onnx', metadata={**METADATA, 'confidence': text})
    assert 'the confidence in the metadata of the model cannot be used' in refusal(path)


def test_a_name_with_escapes_is_harmless(tmp_path: Path):
    metadata = {**METADATA, 'name': 'a\x1b[2Jb\nc'}
    name = Embedder(save(tmp_path / 'odd.onnx', metadata=metadata), num_threads=1).name
    assert name.isprintable() and name.startswith('a\\x1b[2Jb')


def external(name: str = 'weights') -> onnx.TensorProto:
    tensor = onnx.numpy_helper.from_array(np.ones((1, 3), np.float32), name)
    onnx.external_data_helper.set_external_data(tensor, 'weights.bin')
    tensor.ClearField('raw_data')
    return tensor


def with_branch() -> list:
    branches = {}
    for name in ('then_branch', 'else_branch'):
        node = helper.make_node('Constant', [], [name], value=external(name))
        branches[name] = helper.make_graph([node], name, [], [value(name, [1, 3])])
    condition = onnx.numpy_helper.from_array(np.array(True), 'yes')
    return [
        helper.make_node('Constant', [], ['yes'], value=condition),
        helper.make_node('If', ['yes'], ['weights'], **branches),
        *after('Mul', 'weights'),
    ]


def with_function() -> dict:
    node = helper.make_node('Constant', [], ['w'], value=external())
    function = helper.make_function('own', 'W', [], ['w'], [node], [helper.make_opsetid('', 17)])
    nodes = [helper.make_node('W', [], ['weights'], domain='own'), *after('Mul', 'weights')]
    return {
        'nodes': nodes,
        'functions': [function],
        'imports': [helper.make_opsetid('own', 1)],
    }


def compiled_elsewhere() -> dict:
    node = helper.make_node(
        'EPContext', ['image'], ['descriptor'], domain='com.microsoft', ep_cache_context='x.bin'
    )
    return {'nodes': [node], 'imports': [helper.make_opsetid('com.microsoft', 1)]}


OUTSIDE = {
    'weights': lambda: {'nodes': after('Mul', 'weights'), 'initializer': [external()]},
    'constant': lambda: {
        'nodes': [
            helper.make_node('Constant', [], ['weights'], value=external()),
            *after('Mul', 'weights'),
        ]
    },
    'branch': lambda: {'nodes': with_branch()},
    'function': with_function,
    'compiled': compiled_elsewhere,
}


@pytest.mark.parametrize('case', OUTSIDE)
def test_weights_in_other_files_are_refused_wherever_those_lie(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
):
    path = save(tmp_path / 'odd.onnx', **OUTSIDE[case]())
    for folder in (tmp_path, tmp_path / 'elsewhere'):
        folder.mkdir(exist_ok=True)
        (folder / 'weights.bin').write_bytes(np.ones(3, np.float32).tobytes())
        monkeypatch.chdir(folder)
        line = refusal(path)
        assert 'in other files' in line and 'as one file' in line


def test_only_a_regular_file_is_a_model(tmp_path: Path):
    os.mkfifo(tmp_path / 'pipe.onnx')
    (tmp_path / 'loop.onnx').symlink_to('loop.onnx')
    for path in (tmp_path / 'pipe.onnx', tmp_path / 'loop.onnx', tmp_path / ('n' * 300)):
        assert 'cannot be read' in refusal(path)
    for path in (Path('/dev/zero'), Path('/dev/null'), Path('a\0b')):
        with pytest.raises(VprError) as error:
            Embedder(path)
        assert 'the model cannot be read' in line_of(error)


def sound_or_refused(path: Path) -> bool:
    """Whether it was refused; what is not gives descriptors of length 1 or one-line errors."""
    try:
        network = Embedder(path, num_threads=1)
        rows = network.embed_batch([PICTURE, PICTURE[::-1]])
    except VprError as error:
        assert '\n' not in str(error)
        return True
    assert rows.shape == (2, network.dimensions) and rows.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1.0, atol=2e-3)
    return False


def test_random_values_in_the_metadata(tmp_path: Path):
    rng = random.Random(9)
    odd = [None, True, '', 'x', [], {}, -1, 0, 1e308, -1e9, math.nan, math.inf, 10**400, [[1]], 6]
    refused = 0
    for _ in range(150):
        values = json.loads(json.dumps(TINY_PREPROCESSING))
        key = rng.choice([*values, 'resize'])
        if isinstance(values.get(key), list) and rng.random() < 0.7:
            values[key][rng.randrange(len(values[key]))] = rng.choice(odd)
        else:
            values[key] = rng.choice(odd)
        numbers = {name: rng.choice([*odd, 5.0]) for name in ('similarity', 'margin', 'offset')}
        metadata = {'preprocessing': json.dumps(values)}
        if rng.random() < 0.5:
            metadata = {**METADATA, 'confidence': json.dumps(numbers)}
        refused += sound_or_refused(save(tmp_path / 'odd.onnx', metadata=metadata))
    assert refused > 100


def test_random_damage_of_a_model(tmp_path: Path):
    rng = random.Random(9)
    data = write_tiny_model(tmp_path / 'tiny.onnx').read_bytes()
    refused = 0
    for _ in range(400):
        damaged = bytearray(data)
        kind = rng.random()
        if kind < 0.7:
            damaged[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        elif kind < 0.85:
            del damaged[rng.randrange(len(data)) :]
        else:
            at = rng.randrange(len(data))
            damaged[at : at + 4] = rng.randbytes(4)
        (tmp_path / 'bad.onnx').write_bytes(damaged)
        refused += sound_or_refused(tmp_path / 'bad.onnx')
    assert refused > 150


def test_onnx_runtime_prints_no_names_of_a_model(tmp_path: Path, capfd: pytest.CaptureFixture):
    name = 'a\x1b[2J\nb'
    wrong = helper.make_node('MatMul', ['flat', 'w'], ['descriptor'], name=name)
    sizes = onnx.numpy_helper.from_array(np.ones((7, 3), np.float32), 'w')
    shape = onnx.numpy_helper.from_array(np.array([-1, 7]), name)
    reshaped = [*POOLED[:1], helper.make_node('Reshape', ['pooled', name], ['flat'], name=name)]
    unknown = helper.make_node(name, ['flat'], ['descriptor'], name=name)
    for nodes, initializer in (
        ([*POOLED, wrong], [sizes]),
        ([*reshaped, wrong], [sizes, shape]),
        ([*POOLED, unknown], []),
    ):
        line = refusal(save(tmp_path / 'odd.onnx', nodes, initializer=initializer))
        assert '\x1b' not in line
    printed = capfd.readouterr()
    assert printed.out == printed.err == ''


def test_a_network_that_tells_no_pictures_apart_is_refused_at_load(tmp_path: Path):
    one = [constant('one', [[1, 0, 0]]), constant('zero', [0]), *after('Mul', 'zero')[:-1]]
    one += [helper.make_node('Mul', ['flat', 'zero'], ['none'])]
    one += [helper.make_node('Add', ['none', 'one'], ['descriptor'])]
    assert 'the same descriptor' in refusal(save(tmp_path / 'constant.onnx', one))


@pytest.mark.parametrize('share', [0.001, 0.5, 0.999])
def test_a_model_that_was_cut_off_says_what_to_do(tmp_path: Path, student: Path, share: float):
    data = student.read_bytes()
    (tmp_path / 'cut.onnx').write_bytes(data[: int(share * len(data))])
    line = refusal(tmp_path / 'cut.onnx')
    assert 'not a model' in line and line.endswith('; copy it again, or name another')

# SPDX-License-Identifier: Apache-2.0
"""Frozen teachers against ONNX Runtime, pooling over regions."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import pytest
from conftest import line_of
from small_student import torch

from ashtkd_ros.errors import VprError
from ashtkd_ros.network.embedder import Embedder
from tools.training.networks.trunk import FrozenTrunk, regional_gem

F = torch.nn.functional


@pytest.mark.parametrize('name', ['mobilenetv2', 'resnet50v2', 'resnet101v2'])
def test_teacher_agrees_with_onnxruntime(shared: Path, name: str, town: Path):
    path = shared / 'teachers' / f'{name}_imagenet.onnx'
    image = cv2.imread(str(town / 'day' / 'images' / '0000.jpg'))[..., ::-1]
    pixels = cv2.resize(image, (96, 96), interpolation=cv2.INTER_AREA)
    x = pixels.transpose(2, 0, 1)[None].astype(np.float32) / 255
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        path.read_bytes(), options, providers=['CPUExecutionProvider']
    )
    theirs, their_map = session.run(['descriptor', 'map'], {'image': x})
    ours = FrozenTrunk(path, torch.float32).feature_map(torch.from_numpy(x))
    assert ours.shape == their_map.shape
    np.testing.assert_allclose(ours.numpy(), their_map, atol=2e-3 * np.abs(their_map).max())
    whole = regional_gem(ours)[:, : ours.shape[1]]
    whole = F.normalize(whole, dim=1).numpy()
    assert (whole * theirs).sum() > 0.9999


def test_bfloat16_teacher_says_nearly_the_same(shared: Path):
    path, x = shared / 'teachers' / 'mobilenetv2_imagenet.onnx', torch.rand(1, 3, 96, 96)
    exact = regional_gem(FrozenTrunk(path, torch.float32).feature_map(x))
    coarse = regional_gem(FrozenTrunk(path, torch.bfloat16).feature_map(x))
    default = regional_gem(FrozenTrunk(path).feature_map(x))
    assert F.cosine_similarity(exact, coarse).item() > 0.995
    assert F.cosine_similarity(exact, default).item() > 0.995


def test_regions_are_the_whole_and_the_quarters():
    x = torch.zeros(1, 2, 4, 4)
    x[0, 0, :2, :2] = 2.0  # channel 0: upper left only; channel 1: nothing
    parts = regional_gem(x, p=1.0)
    assert parts.shape == (1, 10)
    whole, quarters = parts[0, :2], parts[0, 2:].view(2, 2, 2)
    torch.testing.assert_close(whole, torch.tensor([1.0, 0.0]), atol=1e-4, rtol=0)
    expected = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    torch.testing.assert_close(quarters[0], expected, atol=1e-4, rtol=0)


def test_bad_teachers_are_one_line(tmp_path: Path):
    garbage, pipe = tmp_path / 'garbage.onnx', tmp_path / 'pipe.onnx'
    garbage.write_bytes(b'\xff' * 100)
    os.mkfifo(pipe)
    missing = (tmp_path / 'gone.onnx', pipe)
    for path, expected in (*((p, 'no such file') for p in missing), (garbage, 'not a model that')):
        with pytest.raises(VprError) as error:
            FrozenTrunk(path)
        assert expected in line_of(error)


@pytest.mark.parametrize('case', ['claims', 'outside'])
def test_weights_that_are_not_in_the_file_are_one_line(tmp_path: Path, case: str):
    """A tensor that claims more numbers than it has, and one that lies in another file."""
    import onnx

    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    weights = onnx.numpy_helper.from_array(np.zeros((1, 3, 4, 4), np.float32), 'w')
    if case == 'claims':
        weights.dims[1] = 2**40
    else:
        onnx.external_data_helper.set_external_data(weights, 'gone.bin')
        weights.ClearField('raw_data')
    ends = (helper.make_tensor_value_info(name, kind, [1, 3, 4, 4]) for name in ('image', 'map'))
    graph = helper.make_graph(
        [helper.make_node('Add', ['image', 'w'], ['map'])], 'g', *([e] for e in ends), [weights]
    )
    opset = [helper.make_opsetid('', 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=8)
    (tmp_path / 'm.onnx').write_bytes(model.SerializeToString())
    with pytest.raises(VprError) as error:
        FrozenTrunk(tmp_path / 'm.onnx', torch.float32)
    assert line_of(error).startswith(f'{tmp_path / "m.onnx"}: ')


def test_a_network_without_a_map_serves_by_its_descriptor(student: Path):
    trunk, images = FrozenTrunk(student), torch.rand(2, 3, 96, 120)
    feature_map, vectors = trunk.features(images)
    assert feature_map is None and vectors.shape == (2, 320)
    sized = F.interpolate(images, (224, 224), mode='bilinear', antialias=True)
    torch.testing.assert_close(vectors, torch.from_numpy(Embedder(student).run(sized.numpy())))


@pytest.mark.parametrize('size', [11, 12, 13, 14])
@pytest.mark.parametrize('padding', ['SAME_UPPER', 'SAME_LOWER', 'VALID', 'NOTSET'])
def test_padding_is_that_of_onnx(tmp_path: Path, size: int, padding: str):
    import onnx

    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    rng = np.random.default_rng(0)
    weights = onnx.numpy_helper.from_array(rng.normal(size=(4, 3, 3, 3)).astype(np.float32), 'w')
    how = {'auto_pad': padding} if padding != 'NOTSET' else {'pads': [1, 0, 2, 1]}
    step = {'kernel_shape': [3, 3], 'strides': [2, 2], **how}
    nodes = [
        helper.make_node('Conv', ['image', 'w'], ['c'], **step),
        helper.make_node('MaxPool', ['c'], ['map'], **step),
    ]
    shape = helper.make_tensor_value_info('image', kind, [1, 3, size, size + 3])
    output = helper.make_tensor_value_info('map', kind, [1, 4, None, None])
    graph = helper.make_graph(nodes, 'g', [shape], [output], [weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=8)
    onnx.save(model, str(tmp_path / 'm.onnx'))
    x = rng.normal(size=(1, 3, size, size + 3)).astype(np.float32)
    session = onnxruntime.InferenceSession(str(tmp_path / 'm.onnx'))
    theirs = session.run(['map'], {'image': x})[0]
    ours = FrozenTrunk(tmp_path / 'm.onnx', torch.float32).feature_map(torch.from_numpy(x))
    np.testing.assert_allclose(ours.numpy(), theirs, atol=1e-5)


@pytest.mark.parametrize('dtype', [torch.float32, None])
def test_a_trunks_input_may_have_any_name_but_must_be_one(tmp_path: Path, dtype):
    import onnx

    helper, kind = onnx.helper, onnx.TensorProto.FLOAT

    def trunk(names: list[str]) -> FrozenTrunk:
        nodes = [helper.make_node('Add', [names[0], names[-1]], ['map'])]
        inputs = [helper.make_tensor_value_info(n, kind, [1, 3, 4, 4]) for n in names]
        outputs = [helper.make_tensor_value_info('map', kind, [1, 3, 4, 4])]
        graph = helper.make_graph(nodes, 'g', inputs, outputs)
        opset = [helper.make_opsetid('', 17)]
        model = helper.make_model(graph, opset_imports=opset, ir_version=8)
        onnx.save(model, str(tmp_path / 'm.onnx'))
        return FrozenTrunk(tmp_path / 'm.onnx', dtype)

    x = torch.rand(1, 3, 4, 4)
    torch.testing.assert_close(trunk(['pixels']).feature_map(x), 2 * x)
    with pytest.raises(VprError) as error:
        trunk(['pixels', 'mask'])
    assert 'has 2 inputs; a teacher needs one' in line_of(error)

# SPDX-License-Identifier: Apache-2.0
"""A frozen network from an ONNX file as the trunk of teachers, run by torch in bf16 or on a GPU.

onnxruntime's CPU wheel computes convolutions in fp32 only; torch in bf16 on the same two cores
serves ResNet-50 about twice as fast, and the same code runs on a GPU.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
import torch.nn.functional as F
from onnx import numpy_helper

from ashtkd_ros.errors import VprError
from ashtkd_ros.network.model_file import not_a_model
from tools.training.onnx_file import read_graph

# The descriptor's own tail (GeM, L2); pooling is done here instead, over several regions.
_TAIL = {'Max', 'Pow', 'GlobalAveragePool', 'Flatten', 'LpNormalization'}


class FrozenTrunk:
    """A frozen ONNX network: input RGB in [0, 1], output `map` or `descriptor` or both.

    The `map` of a network is pooled here over regions, its weights are expanded and cast to
    `dtype`; of a network without one the `descriptor` is taken. ONNX Runtime computes networks
    without a map, and all where neither GPU nor processor has bf16: there it is twice as fast as
    torch.
    """

    def __init__(self, path: Path, dtype: torch.dtype | None = None, device: str | None = None):
        self._device = device or ('cuda' if torch.cuda.is_available() else 'cpu')
        if not Path(path).is_file():
            raise VprError(f'{path}: no such file; correct `trunk`, the path of an ONNX file')
        graph = read_graph(path)
        outputs = {output.name for output in graph.output} & {'map', 'descriptor'}
        if not outputs:
            raise VprError(f'{path}: has no output "map" or "descriptor"; a teacher needs one')
        initialised = {i.name for i in graph.initializer}
        inputs = [i.name for i in graph.input if i.name not in initialised]
        if len(inputs) != 1:
            raise VprError(f'{path}: has {len(inputs)} inputs; a teacher needs one, the image')
        self.has_map, self._image = 'map' in outputs, inputs[0]
        self._session = _open(path)  # what it refuses, torch could not compute either
        if not self.has_map or (dtype is None and not fast_bf16(self._device)):
            return
        self._session = None
        constants = {i.name: numpy_helper.to_array(i) for i in graph.initializer}
        self.dtype, self._nodes = dtype or torch.bfloat16, []
        for node in graph.node:
            if all(name in constants for name in node.input):  # weights stored as int8 or fp16
                values = [constants[name] for name in node.input]
                product = values[0].astype(np.float32) * (values[1] if len(values) > 1 else 1)
                constants[node.output[0]] = product
            elif node.op_type not in _TAIL:
                self._nodes.append(node)
        self._attributes = [
            {a.name: onnx.helper.get_attribute_value(a) for a in n.attribute} for n in self._nodes
        ]
        used = {name for node in self._nodes for name in node.input}
        self._weights = {
            name: torch.tensor(np.array(value, np.float32), device=self._device)
            for name, value in constants.items()
            if name in used
        }
        self._last_use = {name: i for i, n in enumerate(self._nodes) for name in n.input}

    @torch.no_grad()
    def features(self, images: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor]:
        """float32 (B, 3, H, W) RGB in [0, 1] → map (B, C, h, w) or None, vectors (B, V).

        The vectors are `regional_gem` of the map, or the network's own descriptor.
        """
        if self.has_map:
            feature_map = self.feature_map(images)
            return feature_map, regional_gem(feature_map)
        shape = self._session.get_inputs()[0].shape
        size = [s for s in shape[2:] if isinstance(s, int)]
        if size and list(images.shape[2:]) != size:
            images = F.interpolate(images, size, mode='bilinear', antialias=True)
        inputs = {self._image: images.cpu().numpy()}
        outputs = torch.from_numpy(self._session.run(['descriptor'], inputs)[0])
        return None, F.normalize(outputs.to(self._device), dim=1)

    @torch.no_grad()
    def feature_map(self, images: torch.Tensor) -> torch.Tensor:
        """float32 (B, 3, H, W) RGB in [0, 1] → float32 (B, C, h, w), on the teacher's device."""
        if self._session is not None:
            inputs = {self._image: images.cpu().numpy()}
            return torch.from_numpy(self._session.run(['map'], inputs)[0])
        images = images.to(self._device)
        values = {self._image: images.contiguous(memory_format=torch.channels_last)}
        for i, (node, attributes) in enumerate(zip(self._nodes, self._attributes, strict=True)):
            inputs = [values.get(n, self._weights.get(n)) for n in node.input]
            values[node.output[0]] = self._apply(node.op_type, inputs, attributes)
            if node.output[0] == 'map':
                return values['map'].float()
            for name in node.input:
                if self._last_use[name] == i:
                    values.pop(name, None)
        raise VprError('the trunk never computes its output "map"; use another')

    def _apply(self, op: str, x: list[torch.Tensor], a: dict) -> torch.Tensor:
        simple = {
            'Relu': lambda: F.relu(x[0]),
            'Clip': lambda: (
                x[0].clamp(x[1], x[2]) if len(x) == 3 else x[0].clamp(a['min'], a['max'])
            ),
            'Add': lambda: x[0] + x[1],
            'Sub': lambda: x[0] - x[1],
            'Mul': lambda: x[0] * x[1],
            'Div': lambda: x[0] / x[1],
            'Identity': lambda: x[0],
        }
        if op in simple:
            return simple[op]()
        if a.get('ceil_mode') or set(a.get('dilations', ())) - {1}:
            raise VprError(
                f'the trunk has a {op} with dilation or ceil_mode, which is not supported; use '
                'another'
            )
        if op == 'Conv':
            y, padding = _pad(x[0].to(self.dtype), a, x[1].shape[2:], 0.0)
            bias = x[2].to(self.dtype) if len(x) > 2 else None
            stride = a.get('strides', 1)
            return F.conv2d(y, x[1].to(self.dtype), bias, stride, padding, 1, a.get('group', 1))
        if op == 'MaxPool':
            y, padding = _pad(x[0], a, a['kernel_shape'], float('-inf'))
            return F.max_pool2d(y, a['kernel_shape'], a['strides'], padding)
        if op == 'BatchNormalization':
            scale = x[1] / (x[4] + a.get('epsilon', 1e-5)).sqrt()
            shift = (x[2] - x[3] * scale).view(1, -1, 1, 1)
            return torch.addcmul(
                shift.to(self.dtype), x[0], scale.view(1, -1, 1, 1).to(self.dtype)
            )
        raise VprError(f'the trunk has the operator {op}, which is not supported; use another')


def _open(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(path), options)
    except Exception as error:  # onnxruntime's own exceptions share no public base
        reason = str(error).splitlines()[0]
        raise not_a_model(path, reason) from error


def _pad(x: torch.Tensor, a: dict, kernel, value: float) -> tuple[torch.Tensor, list[int]]:
    """Apply a node's padding to (B, C, H, W); symmetric padding is left to the operator."""
    top, left, bottom, right = a.get('pads', [0, 0, 0, 0])
    same = a.get('auto_pad', b'NOTSET')
    if same in (b'SAME_UPPER', b'SAME_LOWER'):  # as many outputs as strides fit, odd pixel aside
        sizes = zip(x.shape[2:], kernel, a.get('strides', [1, 1]), strict=True)
        total = [max(0, (-(-size // step) - 1) * step + k - size) for size, k, step in sizes]
        less, more = [t // 2 for t in total], [t - t // 2 for t in total]
        top, left, bottom, right = less + more if same == b'SAME_UPPER' else more + less
    if (top, left) == (bottom, right):
        return x, [top, left]
    return F.pad(x, (left, right, top, bottom), value=value), [0, 0]


def fast_bf16(device: str) -> bool:
    """Whether bf16 is faster than fp32, as on GPUs and on processors with instructions for it."""
    return device != 'cpu' or torch.cpu._is_avx512_bf16_supported()


def regional_gem(feature_map: torch.Tensor, p: float = 3.0) -> torch.Tensor:
    """Generalised mean over the whole map and over its 2 x 2 quarters: (B, C, h, w) → (B, 10C/2).

    GeM: Radenović et al., TPAMI 2019. The whole and the quarters are each brought to length 1;
    the quarters keep where in the picture a thing stands, which one global mean throws away.
    """
    powered = feature_map.clamp(min=1e-6).pow(p)
    parts = [F.adaptive_avg_pool2d(powered, n).pow(1.0 / p).flatten(1) for n in (1, 2)]
    return torch.cat([F.normalize(part, dim=1) for part in parts], dim=1)

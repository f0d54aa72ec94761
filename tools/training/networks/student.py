# SPDX-License-Identifier: Apache-2.0
"""DSFormer, the student: a pyramid that only samples down, one salient attention head a level.

The paper's part: down-sampling pyramid transformer; level → attention head → salient map (softmax
over positions) → weighted sum over positions; concat of all levels → linear → L2 norm.
This project's choices: the two lowest levels are MobileNetV2's inverted residuals, so that they
can start from pretrained weights; a head draws several salient maps, the first over the whole
picture, the others starting on its quarters, so that the descriptor keeps where a thing stands.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from onnx import numpy_helper
from torch import nn

from ashtkd_ros.errors import VprError
from ashtkd_ros.text import reason_of
from tools.training.networks.layers import (
    InvertedResidual,
    NetworkOutput,
    SalientHead,
    VitLevel,
    conv,
    full,
    resampled,
    unit,
)
from tools.training.networks.local import LayoutFree, LocalHead
from tools.training.numpy_file import named_arrays
from tools.training.onnx_file import read_graph
from tools.training.setting_types import NonNegativeInt, PositiveInt, SettingError

# MobileNetV2 1.0 (Sandler et al., CVPR 2018), blocks 0 to 12: channels out, stride, expansion.
_BLOCKS = [(16, 1, 1), (24, 2, 6), (24, 1, 6), (32, 2, 6), (32, 1, 6), (32, 1, 6)]
_BLOCKS += [(64, 2, 6)] + [(64, 1, 6)] * 3 + [(96, 1, 6)] * 3
_LOCAL_LEVELS = 3  # later ones are coarser than the grid of local features


@dataclass(frozen=True)
class StudentConfig:
    """Widths and depths of the network; all sizes in pixels or channels.

    `dimensions`: of the descriptor's layout-bound half; `local`: channels of the local features,
    0: none. With them the descriptor gains a layout-free half of `free_dimensions`, and both
    together have `combined` numbers. `local_grid`: rows and columns of the local features, 0: as
    many as the coarsest of their maps has.
    """

    __pydantic_config__ = {'extra': 'forbid'}

    image_size: PositiveInt = 224
    dimensions: PositiveInt = 256
    vit_widths: tuple[PositiveInt, ...] = (160,)
    vit_depths: tuple[NonNegativeInt, ...] = (2,)
    head_channels: PositiveInt = 32
    mlp_ratio: PositiveInt = 3
    maps: PositiveInt = 5
    local: NonNegativeInt = 64
    local_grid: NonNegativeInt = 0
    free_dimensions: PositiveInt = 256
    combined: PositiveInt = 320

    def __post_init__(self):
        most = self.dimensions + self.free_dimensions
        if self.local and self.combined > most:
            text = f'{self.combined}, but both halves have {most} numbers; give so many at most'
            raise SettingError('combined', text)
        widths, depths = self.vit_widths, self.vit_depths
        if len(widths) != len(depths):
            text = f'{len(depths)} for {len(widths)} vit_widths; give as many'
            raise SettingError('vit_depths', text)
        least = 16 * 2 ** max(0, len(widths) - 1)  # the top level has a position
        if self.image_size % 16 or self.image_size < least:
            text = f'{self.image_size}, must be a multiple of 16 from {least} on'
            raise SettingError('image_size', text)
        if any(width % self.head_channels for width in widths):
            text = f'must be multiples of head_channels {self.head_channels}'
            raise SettingError('vit_widths', text)


class DSFormer(nn.Module):
    """Image (B, 3, S, S) float32 RGB in [0, 1] → descriptor (B, D) of length 1.

    D is `dimensions`, with local features `combined`. S is the config's size; a training may also
    show smaller multiples of 16. The layers above the levels and heads start in closed form
    (`whitening.start_layers`) and are fitted again in the end (`whitening.finish`).
    """

    def __init__(self, config: StudentConfig | None = None):
        super().__init__()
        self.config, self.frozen = config or StudentConfig(), 0
        config = self.config
        self.register_buffer('mean', torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1))
        self.register_buffer('std', torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1))
        channels = [32] + [c for c, _, _ in _BLOCKS]
        blocks = [InvertedResidual(channels[i], *block) for i, block in enumerate(_BLOCKS)]
        self.stem = nn.Sequential(conv(3, 32, 3, 2), *blocks[:6])
        levels: list[nn.Module] = [nn.Sequential(*blocks[6:])]
        width, side = 96, config.image_size // 16
        heads = [SalientHead(32, 2 * side, config.maps), SalientHead(96, side, config.maps)]
        for i, (wide, deep) in enumerate(zip(config.vit_widths, config.vit_depths, strict=True)):
            factor = 1 if i == 0 else 2
            side //= factor
            levels.append(VitLevel(width, wide, deep, side, factor, config))
            heads.append(SalientHead(wide, side, config.maps))
            width = wide
        self.levels, self.heads = nn.ModuleList(levels), nn.ModuleList(heads)
        total = config.maps * (32 + 96 + sum(config.vit_widths))
        self.project = nn.Linear(total, config.dimensions)
        self.local, self.combine = None, None
        if config.local:
            widths, side = (4 * 32, 96, *config.vit_widths[:1]), config.image_size // 16
            self.local = LocalHead(widths, side, config.local, config.local_grid)
            sizes = config.dimensions, config.local, config.free_dimensions, config.combined
            self.combine = LayoutFree(*sizes)

    def describe(self, images: torch.Tensor) -> NetworkOutput:
        """All outputs for B images; without local features the descriptor has any length."""
        sums, maps, levels = [], [], []
        x = (images - self.mean) / self.std
        for i, head in enumerate(self.heads):
            with torch.set_grad_enabled(torch.is_grad_enabled() and i >= self.frozen):
                x = self.levels[i - 1](x) if i else self.stem(x)
            level_sum, salient = head(x)
            sums.append(level_sum)
            maps.append(salient)
            levels.append(x)
        with torch.autocast(images.device.type, enabled=False):  # small layers, in float32
            return self._layers([full(s) for s in sums], maps, levels[:_LOCAL_LEVELS])

    def _layers(
        self, sums: list[torch.Tensor], maps: list[torch.Tensor], levels: list[torch.Tensor]
    ) -> NetworkOutput:
        """The layers that are fitted: on the levels' sums and on the maps of some levels."""
        bound = self.project(torch.cat(sums, dim=1))
        if self.local is None:
            return NetworkOutput(bound, sums, maps)
        stacked = self.local.stacked([full(level) for level in levels])
        local = self.local(stacked)
        residuals = self.combine.residuals(local)
        descriptor = self.combine(unit(bound), residuals)
        return NetworkOutput(descriptor, sums, maps, local, stacked, residuals)

    def forward(
        self, images: torch.Tensor, with_maps: bool = False
    ) -> torch.Tensor | tuple[torch.Tensor, ...]:
        outputs = self.describe(images)
        descriptor = outputs.descriptor if self.local else unit(outputs.descriptor)
        if not with_maps:
            return descriptor
        local = () if outputs.local is None else (outputs.local,)
        return (descriptor, *local, *outputs.maps)

    def smaller(
        self, levels: int, image_size: int, blocks: int = 0, local_grid: int | None = None
    ) -> DSFormer:
        """The same network with its lowest levels alone (2 or more), or of another image size.

        `blocks`: of each transformer level, the first ones, that stay; 0: all. `local_grid`: see
        `StudentConfig`; None: as it is.

        Its last layers must be fitted (`whitening.finish`). With two levels it has no local
        features, as these need a third one.
        """
        vit = slice(0, levels - 2)
        depths = self.config.vit_depths[vit]
        try:
            config = replace(
                self.config,
                image_size=image_size,
                vit_widths=self.config.vit_widths[vit],
                vit_depths=tuple(min(depth, blocks or depth) for depth in depths),
                local=self.config.local if levels >= _LOCAL_LEVELS else 0,
                local_grid=self.config.local_grid if local_grid is None else local_grid,
            )
        except ValueError as error:
            raise VprError(f'no student of {levels} levels: {error}') from error
        other, ours = DSFormer(config), self.state_dict()
        for name, value in other.state_dict().items():
            if not name.startswith('project.'):
                value.copy_(_of_positions(ours[name], value.shape))
        return other.eval()

    def restart_heads(self) -> None:
        """Salient heads as those of a new network: what they looked at is forgotten."""
        for head, new in zip(self.heads, DSFormer(self.config).heads, strict=True):
            head.load_state_dict(new.state_dict())

    def train(self, mode: bool = True):
        """Batch statistics stay those of ImageNet, since batches here are small and degraded."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self

    def freeze(self, levels: int) -> None:
        """Leave the lowest `levels` levels as they are, but not their heads; 2 is the most."""
        self.frozen = levels
        for i, level in enumerate([self.stem, self.levels[0]]):
            level.requires_grad_(i >= levels)

    def load_mobilenetv2(self, path: Path) -> None:
        """Start stem and first level from a MobileNetV2 .npz (names: see the teachers' README)."""
        try:
            arrays = named_arrays(path)
            with torch.no_grad():
                _copy(self.stem[0], arrays, 'conv0', 'batchnorm0')
                for i, block in enumerate([*self.stem[1:], *self.levels[0]]):
                    for j, layer in enumerate(block.layers):
                        name = f'linearbottleneck{i}_'
                        _copy(layer, arrays, f'{name}conv{j}', f'{name}batchnorm{j}')
        except (OSError, ValueError, TypeError, KeyError, RuntimeError) as error:
            raise VprError(
                f'{path}: not weights of a MobileNetV2 ({reason_of(error)}); correct `start`, the '
                'path of its .npz'
            ) from error

    def load_exported(self, path: Path) -> bool:
        """Start from an exported student of the same shape; whether it had the local features.

        Batch normalisation, which the export folds into the convolutions, starts as identity.
        """
        before = self.local.project.bias.clone() if self.local else None
        try:
            self.load_state_dict(_exported_state(self, path))
        except (KeyError, RuntimeError, ValueError) as error:
            reason = str(error).strip().splitlines()[0]
            if isinstance(error, RuntimeError):  # torch lists every weight
                reason = 'its weights have other names or sizes'
            raise VprError(
                f'{path}: not an exported student of this shape ({reason}); name one that '
                'tools.training.export wrote, not its int8 variant'
            ) from error
        return self.local is not None and not torch.equal(before, self.local.project.bias)


def _exported_state(network: DSFormer, path: Path) -> dict[str, torch.Tensor]:
    """State dict of an exported network: most weights keep their names, the rest the order."""
    graph = read_graph(path)
    arrays = {i.name: torch.tensor(numpy_helper.to_array(i)) for i in graph.initializer}
    state = {k: v.clone() for k, v in network.state_dict().items()}
    theirs = sum(node.name.endswith('/qkv/MatMul') for node in graph.node)
    if sum(name.endswith('.qkv.weight') for name in state) != theirs:
        raise ValueError('it has more or fewer transformer blocks')
    state |= {name: value for name, value in arrays.items() if name in state}
    convolutions = []
    for node, after in zip(graph.node, [*graph.node[1:], None], strict=True):
        if node.op_type == 'Conv' and node.input[1] not in state:
            convolutions.append([arrays[name] for name in node.input[1:]])
        if node.op_type == 'MatMul' and node.input[1] in arrays:  # weight, transposed; then bias
            bias = next((name for name in after.input if name.endswith('.bias')), '')
            layer = bias.removesuffix('.bias') or '.'.join(node.name.split('/')[1:-1])
            if f'{layer}.weight' in state:
                state[f'{layer}.weight'] = arrays[node.input[1]].T.contiguous()
    names = [n.removesuffix('.1.running_var') for n in state if n.endswith('.running_var')]
    for name, (weight, bias) in zip(names, convolutions, strict=True):
        norm = network.get_submodule(f'{name}.1')
        state[f'{name}.0.weight'], state[f'{name}.1.bias'] = weight, bias
        state[f'{name}.1.weight'] = torch.ones_like(bias)
        state[f'{name}.1.running_mean'] = torch.zeros_like(bias)
        state[f'{name}.1.running_var'] = torch.ones_like(bias) - norm.eps
    return state


def _of_positions(x: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """Weights of positions for another number of positions: (K, N) maps or (1, N, C) tokens."""
    if x.shape == shape:
        return x
    side = round(shape[1] ** 0.5)
    if x.dim() == 3:
        return resampled(x.transpose(1, 2), side).transpose(1, 2)
    return resampled(x, side)


def _copy(layer: nn.Sequential, arrays, conv: str, norm: str) -> None:
    layer[0].weight.copy_(torch.from_numpy(arrays[conv + '_weight'].astype(np.float32)))
    pairs = [('weight', 'gamma'), ('bias', 'beta')]
    pairs += [('running_mean', 'running_mean'), ('running_var', 'running_var')]
    for ours, theirs in pairs:
        getattr(layer[1], ours).copy_(torch.from_numpy(arrays[f'{norm}_{theirs}']))

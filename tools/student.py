# SPDX-License-Identifier: Apache-2.0
"""DSFormer, the student: a pyramid that only samples down, one salient attention head a level.

The paper's part: down-sampling pyramid transformer; level → attention head → salient map (softmax
over positions) → weighted sum over positions; concat of all levels → linear → L2 norm.
This project's choices: the two lowest levels are MobileNetV2's inverted residuals, so that they
can start from pretrained weights; a head draws several salient maps, the first over the whole
picture, the others starting on its quarters, so that the descriptor keeps where a thing stands.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from ashtkd_ros.errors import VprError

# MobileNetV2 1.0 (Sandler et al., CVPR 2018), blocks 0 to 12: channels out, stride, expansion.
_BLOCKS = [(16, 1, 1), (24, 2, 6), (24, 1, 6), (32, 2, 6), (32, 1, 6), (32, 1, 6)]
_BLOCKS += [(64, 2, 6)] + [(64, 1, 6)] * 3 + [(96, 1, 6)] * 3


@dataclass(frozen=True)
class StudentConfig:
    """Widths and depths of the network; all sizes in pixels or channels."""

    image_size: int = 224
    dimensions: int = 256
    vit_widths: tuple[int, ...] = (160, 256)
    vit_depths: tuple[int, ...] = (2, 2)
    head_channels: int = 32
    mlp_ratio: int = 3
    maps: int = 5


def _conv(c_in: int, c_out: int, size: int, stride: int = 1, groups: int = 1, act: bool = True):
    layers = [nn.Conv2d(c_in, c_out, size, stride, size // 2, groups=groups, bias=False)]
    layers += [nn.BatchNorm2d(c_out)] + ([nn.ReLU6()] if act else [])
    return nn.Sequential(*layers)


class InvertedResidual(nn.Module):
    """Expand 1x1, depthwise 3x3, project 1x1."""

    def __init__(self, c_in: int, c_out: int, stride: int, expansion: int):
        super().__init__()
        hidden = c_in * expansion
        self.layers = nn.Sequential(
            _conv(c_in, hidden, 1),
            _conv(hidden, hidden, 3, stride, groups=hidden),
            _conv(hidden, c_out, 1, act=False),
        )
        self.residual = stride == 1 and c_in == c_out

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.layers(x) if self.residual else self.layers(x)


class TransformerBlock(nn.Module):
    """Pre-norm self-attention and MLP over tokens (B, N, C)."""

    def __init__(self, tokens: int, width: int, head_channels: int, mlp_ratio: int):
        super().__init__()
        self.split = (-1, tokens, 3, width // head_channels, head_channels)
        self.norm_a, self.norm_b = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.Linear(width, mlp_ratio * width), nn.GELU(), nn.Linear(mlp_ratio * width, width)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.qkv(self.norm_a(x)).reshape(self.split).permute(2, 0, 3, 1, 4).unbind(0)
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = x + self.out(y)
        return x + self.mlp(self.norm_b(x))


class VitLevel(nn.Module):
    """Merge `factor` x `factor` positions into one token, then transformer blocks.

    (B, c_in, factor * side, factor * side) → (B, width, side, side).
    """

    def __init__(self, c_in: int, width: int, depth: int, side: int, factor: int, config):
        super().__init__()
        self.merge = nn.Conv2d(c_in, width, factor, factor)
        self.position = nn.Parameter(torch.zeros(1, side * side, width))
        block = (side * side, width, config.head_channels, config.mlp_ratio)
        self.blocks = nn.Sequential(*[TransformerBlock(*block) for _ in range(depth)])
        self.shape = (-1, width, side, side)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = self.blocks(self.merge(x).flatten(2).transpose(1, 2) + self.position)
        return tokens.transpose(1, 2).reshape(self.shape)


class SalientHead(nn.Module):
    """Feature map (B, C, h, w) → salient maps (B, K, h, w), each summing to 1, → sums (B, K*C)."""

    def __init__(self, channels: int, side: int, maps: int):
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.attention = nn.Linear(channels, maps)
        self.place = nn.Parameter(_quarters(side, maps))
        nn.init.normal_(self.attention.weight, std=0.01)
        nn.init.zeros_(self.attention.bias)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        tokens = self.norm(x.flatten(2).transpose(1, 2))
        logits = self.attention(tokens).transpose(1, 2) + self.place
        salient = logits.softmax(dim=-1)
        sums = F.normalize((salient @ tokens).flatten(1), dim=1)
        return sums, salient.unflatten(2, x.shape[2:])


def _quarters(side: int, maps: int) -> torch.Tensor:
    """Starting logits (maps, side*side): flat for the first map, a quarter for each other."""
    low = torch.arange(side) < side / 2
    rows, columns = [low, low, ~low, ~low], [low, ~low, low, ~low]
    inside = [torch.ones(side, side, dtype=torch.bool)]
    inside += [rows[i % 4][:, None] & columns[i % 4][None] for i in range(maps - 1)]
    return torch.stack([i.flatten().float() * 3.0 for i in inside])


class DSFormer(nn.Module):
    """Image (B, 3, S, S) float32 RGB in [0, 1] → descriptor (B, dimensions) of length 1."""

    def __init__(self, config: StudentConfig | None = None):
        super().__init__()
        self.config = config = config or StudentConfig()
        self.register_buffer('mean', torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1))
        self.register_buffer('std', torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1))
        channels = [32] + [c for c, _, _ in _BLOCKS]
        blocks = [InvertedResidual(channels[i], *block) for i, block in enumerate(_BLOCKS)]
        self.stem = nn.Sequential(_conv(3, 32, 3, 2), *blocks[:6])
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

    def describe(self, images: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Descriptor before the L2 norm (B, dimensions) and each level's salient maps."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.stem.training):
            x = self.stem((images - self.mean) / self.std)
        sums, maps = [], []
        for i, head in enumerate(self.heads):
            x = self.levels[i - 1](x) if i else x
            level_sum, salient = head(x)
            sums.append(level_sum)
            maps.append(salient)
        return self.project(torch.cat(sums, dim=1)), maps

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return F.normalize(self.describe(images)[0], dim=1)

    def train(self, mode: bool = True):
        """Batch statistics stay those of ImageNet: the batches here are small and degraded."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        self.stem.training = mode and any(p.requires_grad for p in self.stem.parameters())
        return self

    def load_mobilenetv2(self, path: Path) -> None:
        """Start stem and first level from a MobileNetV2 .npz (names: see the teachers' README)."""
        try:
            with np.load(path) as arrays, torch.no_grad():
                _copy(self.stem[0], arrays, 'conv0', 'batchnorm0')
                for i, block in enumerate([*self.stem[1:], *self.levels[0]]):
                    for j, layer in enumerate(block.layers):
                        name = f'linearbottleneck{i}_'
                        _copy(layer, arrays, f'{name}conv{j}', f'{name}batchnorm{j}')
        except (OSError, ValueError, KeyError, RuntimeError, BadZipFile) as error:
            reason = str(error).splitlines()[0]
            raise VprError(f'{path}: not weights of a MobileNetV2 ({reason})') from error


def _copy(layer: nn.Sequential, arrays, conv: str, norm: str) -> None:
    layer[0].weight.copy_(torch.from_numpy(arrays[conv + '_weight'].astype(np.float32)))
    pairs = [('weight', 'gamma'), ('bias', 'beta')]
    pairs += [('running_mean', 'running_mean'), ('running_var', 'running_var')]
    for ours, theirs in pairs:
        getattr(layer[1], ours).copy_(torch.from_numpy(arrays[f'{norm}_{theirs}']))


def count(network: DSFormer) -> tuple[float, float]:
    """Millions of parameters and billions of multiply-adds for one image."""
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    size = network.config.image_size
    # The counter does not know the CPU's fused attention; as plain products it is counted.
    plain = sdpa_kernel(SDPBackend.MATH)
    with FlopCounterMode(display=False) as counter, torch.no_grad(), plain:
        network.eval()(torch.zeros(1, 3, size, size))
    parameters = sum(p.numel() for p in network.parameters())
    return parameters / 1e6, counter.get_total_flops() / 2e9

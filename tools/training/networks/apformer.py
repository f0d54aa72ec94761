# SPDX-License-Identifier: Apache-2.0
"""APFormer, the teacher: a pyramid that samples down and up again over a frozen trunk's map.

The paper's part: an hourglass of transformer levels with lateral links; each level → attention
head → salient map → weighted sum over positions; concat of all levels → linear → L2 norm.
This project's choices: the lowest level is a frozen ImageNet trunk's whitened map
(`trunk_features`), so that it is computed once and a teacher trains in minutes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from tools.training.networks.layers import NetworkOutput, SalientHead, TransformerBlock, VitLevel
from tools.training.setting_types import NonNegativeInt, PositiveInt, SettingError


@dataclass(frozen=True)
class APFormerConfig:
    """Widths of the upper (full size) and the lower (half size) levels; depths in blocks."""

    __pydantic_config__ = {'extra': 'forbid'}

    dimensions: PositiveInt = 256
    widths: tuple[PositiveInt, PositiveInt] = (160, 256)
    depths: tuple[NonNegativeInt, NonNegativeInt] = (1, 2)
    up_depth: NonNegativeInt = 1
    head_channels: PositiveInt = 32
    mlp_ratio: PositiveInt = 3
    maps: PositiveInt = 5

    def __post_init__(self):
        if any(width % self.head_channels for width in self.widths):
            text = f'must be multiples of head_channels {self.head_channels}'
            raise SettingError('widths', text)


class UpLevel(nn.Module):
    """Back to twice the size, the level of that size added by a lateral link, then blocks.

    (B, c_low, side / 2, side / 2) and (B, width, side, side) → (B, width, side, side).
    """

    def __init__(self, c_low: int, width: int, config: APFormerConfig):
        super().__init__()
        self.merge = nn.Conv2d(c_low, width, 1)
        self.lateral = nn.Conv2d(width, width, 1)
        block = (width, config.head_channels, config.mlp_ratio)
        self.blocks = nn.Sequential(*[TransformerBlock(*block) for _ in range(config.up_depth)])

    def forward(self, low: torch.Tensor, same: torch.Tensor) -> torch.Tensor:
        size = same.shape[2:]
        x = F.interpolate(self.merge(low), size, mode='bilinear') + self.lateral(same)
        return self.blocks(x.flatten(2).transpose(1, 2)).transpose(1, 2).unflatten(2, size)


LEVELS = 4  # of an APFormer: trunk, down, lower, up


class APFormer(nn.Module):
    """Trunk map (B, channels, side, side) float32 → descriptor (B, dimensions) of length 1.

    `side` must be even. Levels, in order: trunk, down (side), down (side / 2), up (side).
    """

    def __init__(self, channels: int, side: int, config: APFormerConfig | None = None):
        super().__init__()
        self.config = config = config or APFormerConfig()
        wide, low = config.widths
        self.down = VitLevel(channels, wide, config.depths[0], side, 1, config)
        self.lower = VitLevel(wide, low, config.depths[1], side // 2, 2, config)
        self.up = UpLevel(low, wide, config)
        shapes = [(channels, side), (wide, side), (low, side // 2), (wide, side)]
        self.heads = nn.ModuleList(SalientHead(c, s, config.maps) for c, s in shapes)
        self.project = nn.Linear(config.maps * sum(c for c, _ in shapes), config.dimensions)

    def describe(self, trunk: torch.Tensor) -> NetworkOutput:
        """Descriptor, salient sums and salient maps of a batch of trunk maps."""
        # A position's channels to length sqrt(C): trunks differ in scale by orders of magnitude.
        trunk = F.normalize(trunk, dim=1) * trunk.shape[1] ** 0.5
        down = self.down(trunk)
        low = self.lower(down)
        levels = [trunk, down, low, self.up(low, down)]
        pairs = [head(level) for head, level in zip(self.heads, levels, strict=True)]
        sums, maps = [s for s, _ in pairs], [m for _, m in pairs]
        return NetworkOutput(self.project(torch.cat(sums, dim=1)), sums, maps)

    def forward(self, trunk: torch.Tensor) -> torch.Tensor:
        return F.normalize(self.describe(trunk).descriptor, dim=1)

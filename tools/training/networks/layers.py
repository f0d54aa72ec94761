# SPDX-License-Identifier: Apache-2.0
"""What teacher and student are made of: convolutions, transformer levels, salient heads."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn


class NetworkOutput(NamedTuple):
    """The outputs of a network for a batch.

    `descriptor`: (B, D), of any length; `sums`: each level's salient sums (B, K*C), length 1;
    `maps`: each level's salient maps (B, K, h, w), each summing to 1. With a local head also
    `local`: local features (B, P, L), each of length 1; `stacked`: what they are made of
    (B, P, C); `residuals`: what the layout-free half is made of (B, R), length 1.
    """

    descriptor: torch.Tensor
    sums: list[torch.Tensor]
    maps: list[torch.Tensor]
    local: torch.Tensor | None = None
    stacked: torch.Tensor | None = None
    residuals: torch.Tensor | None = None


def conv(c_in: int, c_out: int, size: int, stride: int = 1, groups: int = 1, act: bool = True):
    """Convolution, batch normalisation and, with `act`, ReLU6."""
    layers = [nn.Conv2d(c_in, c_out, size, stride, size // 2, groups=groups, bias=False)]
    layers += [nn.BatchNorm2d(c_out)] + ([nn.ReLU6()] if act else [])
    return nn.Sequential(*layers)


class InvertedResidual(nn.Module):
    """Expand 1x1, depthwise 3x3, project 1x1."""

    def __init__(self, c_in: int, c_out: int, stride: int, expansion: int):
        super().__init__()
        hidden = c_in * expansion
        self.layers = nn.Sequential(
            conv(c_in, hidden, 1),
            conv(hidden, hidden, 3, stride, groups=hidden),
            conv(hidden, c_out, 1, act=False),
        )
        self.residual = stride == 1 and c_in == c_out

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.layers(x) if self.residual else self.layers(x)


class TransformerBlock(nn.Module):
    """Pre-norm self-attention and MLP over tokens (B, N, C), of any number."""

    def __init__(self, width: int, head_channels: int, mlp_ratio: int):
        super().__init__()
        self.width, self.heads = width, (width // head_channels, head_channels)
        self.norm_a, self.norm_b = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.Linear(width, mlp_ratio * width), nn.GELU(), nn.Linear(mlp_ratio * width, width)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = int(x.shape[1])  # a number, also while the exporter traces
        parts = self.qkv(self.norm_a(x)).split(self.width, dim=2)
        q, k, v = (part.reshape(-1, tokens, *self.heads).transpose(1, 2) for part in parts)
        x = x + self.out(_attention(q, k, v).transpose(1, 2).reshape(-1, tokens, self.width))
        return x + self.mlp(self.norm_b(x))


def _attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """softmax(q k^T / sqrt(c)) v of (B, heads, N, c)."""
    if torch.onnx.is_in_onnx_export():  # the exporter writes the fused one with shapes and roots
        return ((q * float(q.shape[-1]) ** -0.5) @ k.transpose(-2, -1)).softmax(dim=-1) @ v
    return F.scaled_dot_product_attention(q, k, v)


def unit(x: torch.Tensor) -> torch.Tensor:
    """Rows (B, C) brought to length 1; the export of F.normalize would compute shapes."""
    return x / x.norm(dim=1, keepdim=True).clamp(min=1e-12)


def resampled(x: torch.Tensor, side: int) -> torch.Tensor:
    """Numbers of positions (..., P), a square row by row, for a square of another side."""
    own = round(int(x.shape[-1]) ** 0.5)
    if own == side:
        return x
    squares = x.reshape(1, -1, own, own)
    squares = F.interpolate(squares, (side, side), mode='bilinear', antialias=side < own)
    return squares.reshape(*x.shape[:-1], side * side)


def full(x: torch.Tensor) -> torch.Tensor:
    """As float32; the export of `float()` alone would write a cast that does nothing."""
    return x if x.dtype == torch.float32 else x.float()


class VitLevel(nn.Module):
    """Merge `factor` x `factor` positions into one token, then transformer blocks.

    (B, c_in, factor * side, factor * side) → (B, width, side, side). `side`: of the largest maps;
    for smaller ones the tokens' positions are resampled.
    """

    def __init__(self, c_in: int, width: int, depth: int, side: int, factor: int, config):
        super().__init__()
        self.width = width
        self.merge = nn.Conv2d(c_in, width, factor, factor)
        self.position = nn.Parameter(torch.zeros(1, side * side, width))
        block = (width, config.head_channels, config.mlp_ratio)
        self.blocks = nn.Sequential(*[TransformerBlock(*block) for _ in range(depth)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.merge(x)
        side = int(x.shape[2])
        position = resampled(self.position.transpose(1, 2), side).transpose(1, 2)
        tokens = x.reshape(-1, self.width, side * side).transpose(1, 2)
        return self.blocks(tokens + position).transpose(1, 2).reshape(-1, self.width, side, side)


class SalientHead(nn.Module):
    """Feature map (B, C, h, w) → salient maps (B, K, h, w), each summing to 1, → sums (B, K*C).

    A logit is the content's plus the position's. Both start so that neither rules: the content's
    have a deviation of about 1 (tokens are normalised), a map's own quarter has about half of the
    mass. `side`: of the largest maps; for smaller ones the positions' logits are resampled.
    """

    def __init__(self, channels: int, side: int, maps: int):
        super().__init__()
        self.channels, self.maps = channels, maps
        self.norm = nn.LayerNorm(channels)
        self.attention = nn.Linear(channels, maps)
        self.place = nn.Parameter(_quarters(side, maps))
        nn.init.normal_(self.attention.weight, std=channels**-0.5)
        nn.init.zeros_(self.attention.bias)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        side = int(x.shape[2])
        tokens = self.norm(x.reshape(-1, self.channels, side * side).transpose(1, 2))
        logits = self.attention(tokens).transpose(1, 2) + resampled(self.place, side)
        salient = logits.softmax(dim=-1)
        sums = (salient @ tokens).reshape(-1, self.maps * self.channels)
        return unit(sums), salient.reshape(-1, self.maps, side, side)


def _quarters(side: int, maps: int) -> torch.Tensor:
    """Starting logits (maps, side*side): flat for the first map, a quarter for each other."""
    low = torch.arange(side) < side / 2
    rows, columns = [low, low, ~low, ~low], [low, ~low, low, ~low]
    inside = [torch.ones(side, side, dtype=torch.bool)]
    inside += [rows[i % 4][:, None] & columns[i % 4][None] for i in range(maps - 1)]
    return torch.stack([i.flatten().float() for i in inside])


def count(network: nn.Module, example: torch.Tensor) -> tuple[float, float]:
    """Millions of parameters and billions of multiply-adds for `example`, a batch of one."""
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    # The counter does not know the CPU's fused attention; as plain products it is counted.
    plain = sdpa_kernel(SDPBackend.MATH)
    with FlopCounterMode(display=False) as counter, torch.no_grad(), plain:
        network.eval()(example)
    parameters = sum(p.numel() for p in network.parameters())
    return parameters / 1e6, counter.get_total_flops() / 2e9

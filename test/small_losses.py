# SPDX-License-Identifier: Apache-2.0
"""Unit rows, places of four queries and six database views, plain sums: for tests of losses."""

from __future__ import annotations

import math

from small_student import torch

F = torch.nn.functional
Q_PLACE = torch.tensor([0, 1, 2, 3])
D_PLACE = torch.tensor([0, 0, 1, 2, 9, 2])


def unit(rows: int, size: int = 8, seed: int = 0) -> torch.Tensor:
    """Random rows of length 1, float64, that want a gradient."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, size, generator=generator, dtype=torch.float64)
    return F.normalize(x, dim=1).requires_grad_()


def softmax(values: list[float]) -> list[float]:
    top = max(values)
    powers = [math.exp(v - top) for v in values]
    return [p / sum(powers) for p in powers]


def dot(a: torch.Tensor, b: torch.Tensor) -> float:
    return (a * b).sum().item()


def salient_maps(logits: torch.Tensor, side: int) -> torch.Tensor:
    """(B, M * side * side) → maps (B, M, side, side) that sum to 1."""
    shape = (len(logits), -1, side, side)
    return logits.reshape(shape).flatten(2).softmax(2).reshape(shape)

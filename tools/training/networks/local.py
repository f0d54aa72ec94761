# SPDX-License-Identifier: Apache-2.0
"""Local features of the student's own maps, and the half of the descriptor that has no layout."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from tools.training.networks.layers import unit

CENTRES = 32
_SHARPNESS = 15.0  # of the assignment to centres: exp(15 * cosine)
_FREE_SHARE = 0.4  # of the squared length of the descriptor


class LocalHead(nn.Module):
    """Maps of the levels → local features (B, P, L), each of length 1, one for each position.

    At each position of stride 16 the maps of all levels stand side by side, finer ones folded
    (2 x 2 positions of stride 8 become channels), each of length 1; then one linear layer.
    `side`: of the coarsest map of the largest pictures; with a `grid` all maps are first resampled
    so that it has as many rows and columns.
    """

    def __init__(self, widths: Sequence[int], side: int, channels: int, grid: int = 0):
        super().__init__()
        self.side, self.channels, self.grid = grid or side, channels, grid
        self.project = nn.Linear(sum(widths), channels)

    def stacked(self, levels: Sequence[torch.Tensor]) -> torch.Tensor:
        """Maps (B, C, h, w) → (B, P, sum of C), what the linear layer sees.

        The last map is the coarsest and has the P positions.
        """
        side = int(levels[-1].shape[2])
        if self.grid not in (0, side):
            sizes = (self.grid * int(x.shape[2]) // side for x in levels)
            pairs = zip(levels, sizes, strict=True)
            levels = [F.interpolate(x, (n, n), mode='bilinear') for x, n in pairs]
            side = self.grid
        parts = []
        for x in levels:
            channels, factor = x.shape[1], int(x.shape[2]) // side
            if factor > 1:
                split = (-1, channels, side, factor, side, factor)
                x = x.reshape(split).permute(0, 2, 4, 1, 3, 5)
                x = x.reshape(-1, side**2, channels * factor**2)
            else:
                x = x.reshape(-1, channels, side**2).transpose(1, 2)
            parts.append(_unit_rows(x))
        return torch.cat(parts, dim=2)

    def forward(self, stacked: torch.Tensor) -> torch.Tensor:
        """(B, P, C) → (B, P, L)."""
        return _unit_rows(self.project(stacked))


class LayoutFree(nn.Module):
    """Layout-bound half (B, A) and residuals (B, R) → whole descriptor (B, D), length 1.

    The layout-free half is a VLAD (Jégou et al., CVPR 2010) with soft assignment: residuals of
    local features to the centres, summed over all positions, each sum of length 1, whitened to
    `free` numbers. Both halves have length
    1, are weighted, put side by side and turned to their principal axes, so that the first numbers
    alone are a shorter descriptor.
    """

    def __init__(self, bound: int, channels: int, free: int, dimensions: int):
        super().__init__()
        self.flat = (-1, CENTRES * channels)
        self.centres = nn.Parameter(torch.zeros(CENTRES, channels))
        self.whiten = nn.Linear(CENTRES * channels, free)
        self.turn = nn.Linear(bound + free, dimensions, bias=False)

    def residuals(self, local: torch.Tensor) -> torch.Tensor:
        """Local features (B, P, L) → sums of residuals (B, centres * L), length 1."""
        shares = (local @ self.centres.T * _SHARPNESS).softmax(dim=2).transpose(1, 2)
        sums = shares @ local - shares.sum(dim=2, keepdim=True) * self.centres
        return unit(_unit_rows(sums).reshape(self.flat))

    def halves(self, bound: torch.Tensor, residuals: torch.Tensor) -> torch.Tensor:
        """Both halves side by side (B, A + free), before they are turned."""
        free = unit(self.whiten(residuals))
        return torch.cat([bound * (1 - _FREE_SHARE) ** 0.5, free * _FREE_SHARE**0.5], dim=1)

    def forward(self, bound: torch.Tensor, residuals: torch.Tensor) -> torch.Tensor:
        return unit(self.turn(self.halves(bound, residuals)))


def _unit_rows(x: torch.Tensor) -> torch.Tensor:
    """The last axis brought to length 1."""
    return x / x.norm(dim=-1, keepdim=True).clamp(min=1e-6)

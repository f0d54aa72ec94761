# SPDX-License-Identifier: Apache-2.0
"""A memory of views of earlier steps: cross-batch memory (Wang et al., CVPR 2020).

See doc/method.md, "Teaching".
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from tools.training.losses.relations import KnownViews


class MemoryBank(nn.Module):
    """The last `size` views that were added; they are saved with a checkpoint.

    `dimensions`: of the student's descriptor; `teachers`: of each teacher's.
    """

    def __init__(self, size: int, dimensions: int, teachers: Sequence[int] = ()):
        super().__init__()
        self.register_buffer('filled', torch.tensor(0))
        self.register_buffer('descriptor', torch.zeros(size, dimensions))
        for k, wide in enumerate(teachers):
            self.register_buffer(f'target{k}', torch.zeros(size, wide))
        self.register_buffer('numbers', torch.full((3, size), -1))
        self._names = ['descriptor', *(f'target{k}' for k in range(len(teachers)))]

    @torch.no_grad()
    def add(self, views: KnownViews) -> None:
        """Remember views; the oldest are forgotten."""
        for name, new in zip(self._names, [views.descriptor, *views.targets], strict=True):
            kept = getattr(self, name)
            kept.copy_(torch.cat([new.detach().to(kept.dtype), kept])[: len(kept)])
        new = torch.stack([views.places, views.pictures, views.groups])
        self.numbers.copy_(torch.cat([new, self.numbers], dim=1)[:, : self.numbers.shape[1]])
        self.filled.add_(new.shape[1]).clamp_(max=self.numbers.shape[1])

    def views(self) -> KnownViews:
        """What is remembered, the newest first."""
        count = int(self.filled)
        kept = [getattr(self, name)[:count].clone() for name in self._names]
        return KnownViews(kept[0], kept[1:], *self.numbers[:, :count].clone())

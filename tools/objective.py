# SPDX-License-Identifier: Apache-2.0
"""The loss of ASHT-KD: the steps of `teaching` put together for one batch.

L = soft*L_soft + hard*L_hard + descriptor*L_desc + levels*L_levels + salient*L_salient
  + ranking*L_ce + metric*L_ms          (method.md; the weights stand in config.Lesson)
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from tools import teaching
from tools.config import Lesson
from tools.layers import Described


@dataclass(frozen=True)
class Taught:
    """What one teacher says of every view: rows as in `Views`.

    `descriptors`: float16 (n, D) of length 1; `sums`: float16 (n, .) a level and `maps`: float16
    (n, K, h, w) a level, both empty for a frozen trunk, which has no salient heads.
    """

    descriptors: torch.Tensor
    sums: list[torch.Tensor]
    maps: list[torch.Tensor]

    def rows(self, rows: torch.Tensor, device: torch.device) -> Taught:
        """The given rows, as float32 on `device`."""

        def take(x: torch.Tensor) -> torch.Tensor:
            return x[rows].to(device, torch.float32)

        return Taught(
            take(self.descriptors), [take(s) for s in self.sums], [take(m) for m in self.maps]
        )


class Objective(nn.Module):
    """Losses of a batch, and the parts that are trained with the network and then thrown away.

    `sums`: sizes of the network's level sums; `teachers`: in the lesson's order.
    """

    def __init__(self, lesson: Lesson, dimensions: int, sums: list[int], teachers: list[Taught]):
        super().__init__()
        self.lesson, self.teachers = lesson, teachers
        self.projections = nn.ModuleList(
            _identity(dimensions, t.descriptors.shape[1]) for t in teachers
        )
        self.levels = nn.ModuleList(
            nn.ModuleList(
                nn.Linear(mine, theirs.shape[1])
                for mine, theirs in zip(sums, t.sums, strict=False)
            )
            for t in teachers
            if lesson.levels
        )
        self.gate = None
        if lesson.adaptive == 'gate' and teachers:
            self.gate = teaching.LearnedGate(dimensions, len(teachers))
        self.ranker = None
        if lesson.ranking:
            self.ranker = teaching.LossNetwork(dimensions, lesson.hidden)

    def forward(
        self, described: Described, rows: torch.Tensor, places: torch.Tensor, query: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """Weighted losses by name. `rows`, `places` int64 (B,), `query` bool (B,)."""
        lesson = self.lesson
        unit = F.normalize(described.descriptor.float(), dim=1)
        q, d = unit[query], unit[~query]
        positive = teaching.same_place(places[query], places[~query])
        losses = {}
        if lesson.metric:
            losses['metric'] = teaching.multi_similarity(unit, places)
        if self.ranker is not None:
            losses['ranking'] = teaching.ranking_network_loss(
                self.ranker, q, d, positive, lesson.top
            )
        if self.teachers:
            taught = [t.rows(rows, unit.device) for t in self.teachers]
            similarity = torch.stack(
                [t.descriptors[query] @ t.descriptors[~query].T for t in taught]
            )
            weights = self._weights(similarity, positive, q)
            if lesson.soft:
                losses['soft'] = teaching.soft_loss(q, d, similarity, weights, lesson.tau_t)
            if lesson.hard:
                labels = teaching.hard_labels(similarity, weights, places[query], places[~query])
                losses['hard'] = teaching.hard_loss(q, d, labels, places[query], lesson.tau)
            losses |= self._guidance(described, taught, weights, query)
        return {name: getattr(lesson, name) * loss for name, loss in losses.items()}

    def _weights(self, similarity, positive, q) -> torch.Tensor:
        lesson = self.lesson
        if self.gate is not None:
            return self.gate(q.detach())
        if lesson.adaptive == 'mean':
            return teaching.mean_weights(similarity)
        return teaching.adaptive_weights(similarity, positive, lesson.tau, lesson.tau_w)

    def _guidance(self, described, taught, weights, query) -> dict[str, torch.Tensor]:
        """Step 4. Weights are a query's; a database view has the mean of its batch."""
        lesson = self.lesson
        spread = weights.mean(0).detach().repeat(len(query), 1)
        spread[query] = weights.detach()
        losses = {}
        if lesson.descriptor:
            mine = [p(described.descriptor.float()) for p in self.projections]
            losses['descriptor'] = teaching.descriptor_guidance(
                mine, [t.descriptors for t in taught], spread
            )
        if lesson.levels:
            parts = []
            for level in range(max((len(t.sums) for t in taught), default=0)):
                with_it = [k for k, t in enumerate(taught) if len(t.sums) > level]
                mine = [self.levels[k][level](described.sums[level].float()) for k in with_it]
                theirs = [taught[k].sums[level] for k in with_it]
                parts.append(teaching.descriptor_guidance(mine, theirs, spread[:, with_it]))
            if parts:
                losses['levels'] = torch.stack(parts).mean()
        if lesson.salient:
            parts = [
                teaching.salient_guidance(mine.float(), theirs, spread[:, k])
                for k, t in enumerate(taught)
                for mine, theirs in zip(described.maps, t.maps, strict=False)
            ]
            if parts:
                losses['salient'] = torch.stack(parts).mean()
        return losses


def _identity(size_in: int, size_out: int) -> nn.Linear:
    """Linear layer that starts as the identity, cut or padded."""
    layer = nn.Linear(size_in, size_out)
    with torch.no_grad():
        layer.weight.copy_(torch.eye(size_out, size_in))
        layer.bias.zero_()
    return layer

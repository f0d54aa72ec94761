# SPDX-License-Identifier: Apache-2.0
"""The loss of ASHT-KD: the steps of `teaching` put together for one batch.

L = soft*L_soft + hard*L_hard + descriptor*L_desc + levels*L_levels + salient*L_salient
  + ranking*L_ce + metric*L_ms          (method.md; the weights stand in config.Lesson)
and, where the teachers' weights come from a learned gate, L_gate, which trains nothing else.
"""

from __future__ import annotations

from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import nn

from tools.training.config import Lesson
from tools.training.losses import teaching
from tools.training.networks.layers import Described

T = TypeVar('T')
# Small: AdamW does not care, but the gradient is clipped together with the network's.
_GATE_WEIGHT = 0.01


class Objective(nn.Module):
    """Losses of a batch, and the parts that are trained with the network and then thrown away.

    `dimensions`, `sums`: sizes of the network's descriptor and level sums; `teachers`: the same of
    each teacher, in the lesson's order. A teacher's descriptor guides all levels' sums together,
    before the last layer makes them small: that layer is fitted to them afterwards
    (`whitening.fit_projection`).
    """

    def __init__(
        self,
        lesson: Lesson,
        dimensions: int,
        sums: list[int],
        teachers: list[tuple[int, list[int]]] = (),
    ):
        super().__init__()
        self.lesson = lesson
        self.projections = nn.ModuleList(
            nn.Linear(sum(sums), theirs) for theirs, _ in teachers if lesson.descriptor
        )
        self.levels = nn.ModuleList(
            nn.ModuleList(nn.Linear(*pair) for pair in _partners(sums, theirs))
            for _, theirs in teachers
            if lesson.levels
        )
        self.gate = None
        if lesson.adaptive == 'gate' and teachers:
            self.gate = teaching.LearnedGate(dimensions, len(teachers))
        self.ranker = None
        if lesson.ranking:
            self.ranker = teaching.LossNetwork(dimensions, lesson.hidden)

    @torch.no_grad()
    def fit_guidance(self, sums: torch.Tensor, taught: list[Described]) -> None:
        """Start the projections of descriptor guidance as ridge regressions from sums (N, C).

        Random ones would pull the levels anywhere until they have learned themselves.
        """
        mean = sums.mean(0)
        centred = sums - mean
        covariance = centred.T @ centred / len(sums)
        covariance.diagonal().add_(covariance.diagonal().mean())
        for layer, teacher in zip(self.projections, taught, strict=True):
            theirs = teacher.descriptor.float()
            middle = theirs.mean(0)
            cross = centred.T @ (theirs - middle) / len(sums)
            layer.weight.copy_(torch.linalg.solve(covariance, cross).T)
            layer.bias.copy_(middle - layer.weight @ mean)

    def forward(
        self,
        described: Described,
        taught: list[Described],
        places: torch.Tensor,
        query: torch.Tensor,
    ) -> dict[str, torch.Tensor]:
        """Weighted losses by name. `places` int64 (B,), `query` bool (B,).

        `taught`: what each teacher says of the same images, its descriptors of length 1.
        """
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
        gate = {}
        if taught:
            taught = [t.to(unit.device) for t in taught]
            pairs = [(t.descriptor[query], t.descriptor[~query]) for t in taught]
            similarity = torch.stack([a @ b.T for a, b in pairs])
            weights = self._weights(similarity, positive, q)
            if self.gate is not None:
                loss = teaching.gate_loss(weights, similarity, positive, lesson.tau)
                gate['gate'] = _GATE_WEIGHT * loss
                weights = weights.detach()
            if lesson.soft:
                losses['soft'] = teaching.soft_loss(q, d, similarity, weights, lesson.tau_t)
            if lesson.hard:
                labels = teaching.hard_labels(similarity, weights, places[query], places[~query])
                losses['hard'] = teaching.hard_loss(q, d, labels, places[query], lesson.tau)
            losses |= self._guidance(described, taught, weights, query)
        return {name: getattr(lesson, name) * loss for name, loss in losses.items()} | gate

    def _weights(self, similarity, positive, q) -> torch.Tensor:
        lesson = self.lesson
        if self.gate is not None:
            return self.gate(q.detach())
        if lesson.adaptive == 'mean':
            return teaching.mean_weights(similarity)
        return teaching.adaptive_weights(similarity, positive, lesson.tau, lesson.tau_w)

    def _guidance(self, described, taught, weights, query) -> dict[str, torch.Tensor]:
        """Step 4. Weights are a query's; a database view has the mean of its batch.

        Teachers without a level leave their weight to those that have it; mean over the levels.
        """
        lesson = self.lesson
        spread = weights.mean(0).repeat(len(query), 1)
        spread[query] = weights
        losses = {}
        if lesson.descriptor:
            whole = torch.cat(described.sums, dim=1).float()
            mine = [project(whole) for project in self.projections]
            losses['descriptor'] = teaching.descriptor_guidance(
                mine, [t.descriptor for t in taught], spread
            )
        parts = {'levels': [], 'salient': []}
        shared = [len(_partners(described.sums, t.sums)) for t in taught]
        for level in range(-1, -1 - max(shared), -1):
            with_it = [k for k, count in enumerate(shared) if count >= -level]
            share = spread[:, with_it]
            share = share / share.sum(1, keepdim=True).clamp(min=1e-6)
            if lesson.levels:
                sums = described.sums[level].float()
                mine = [self.levels[k][level](sums) for k in with_it]
                theirs = [taught[k].sums[level] for k in with_it]
                parts['levels'].append(teaching.descriptor_guidance(mine, theirs, share))
            if lesson.salient:
                maps = described.maps[level].float()
                gaps = [
                    teaching.salient_guidance(maps, taught[k].maps[level], weight)
                    for k, weight in zip(with_it, share.T, strict=True)
                ]
                parts['salient'].append(sum(gaps))
        return losses | {name: torch.stack(p).mean() for name, p in parts.items() if p}


def _partners(mine: list[T], theirs: list[T]) -> list[tuple[T, T]]:
    """Levels of student and teacher that belong together, the topmost with the topmost.

    The lowest ones of the deeper network have none.
    """
    count = min(len(mine), len(theirs))
    return list(zip(mine[len(mine) - count :], theirs[len(theirs) - count :], strict=True))

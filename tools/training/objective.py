# SPDX-License-Identifier: Apache-2.0
"""The loss of ASHT-KD for one batch: the steps in `losses`, weighted as the lesson says.

L = soft*L_soft + hard*L_hard + descriptor*L_desc + levels*L_levels + salient*L_salient
  + ranking*L_ce + metric*L_ms          (doc/method.md; the weights are those of config.Lesson)
and, where the teachers' weights come from a learned gate, L_gate, which trains the gate alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import nn

from tools.training.config import Lesson
from tools.training.losses.adaptive_weights import (
    LearnedGate,
    adaptive_weights,
    gate_loss,
    mean_weights,
)
from tools.training.losses.guidance import descriptor_guidance, salient_guidance
from tools.training.losses.hard_labels import hard_labels, hard_loss
from tools.training.losses.loss_network import LossNetwork, ranking_network_loss
from tools.training.losses.metric import multi_similarity
from tools.training.losses.ranking import same_place
from tools.training.losses.soft_labels import soft_loss
from tools.training.networks.layers import NetworkOutput

T = TypeVar('T')
# Small: AdamW does not care, but the gradient is clipped together with the network's.
_GATE_WEIGHT = 0.01


def objective_for(
    lesson: Lesson, network: nn.Module, example: torch.Tensor, teachers: Sequence
) -> Objective:
    """The loss for a network of `describe` and `project`.

    `example`: an input of the network, a batch of one; `targets`: some outputs of each teacher.
    """
    with torch.no_grad():
        sums = [s.shape[1] for s in network.eval().describe(example).sums]
    targets = [t.outputs([0]) for t in teachers]
    sizes = [(t.descriptor.shape[1], [s.shape[1] for s in t.sums]) for t in targets]
    return Objective(lesson, network.project.out_features, sums, sizes)


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
        teachers: Sequence[tuple[int, list[int]]] = (),
    ):
        super().__init__()
        self.lesson = lesson
        self.projections = nn.ModuleList(
            nn.Linear(sum(sums), size) for size, _ in teachers if lesson.descriptor
        )
        self.levels = nn.ModuleList(
            nn.ModuleList(nn.Linear(*pair) for pair in _shared_levels(sums, sizes))
            for _, sizes in teachers
            if lesson.levels
        )
        self.gate = None
        if lesson.adaptive == 'gate' and teachers:
            self.gate = LearnedGate(dimensions, len(teachers))
        self.ranker = None
        if lesson.ranking:
            self.ranker = LossNetwork(dimensions, lesson.hidden)

    @torch.no_grad()
    def fit_guidance(self, sums: torch.Tensor, targets: Sequence[NetworkOutput]) -> None:
        """Start the projections of descriptor guidance as ridge regressions from sums (N, C).

        `targets`: each teacher's outputs for the same N pictures. Projections that start at random
        would pull the levels anywhere until they have learned themselves.
        """
        mean = sums.mean(0)
        centred = sums - mean
        covariance = centred.T @ centred / len(sums)
        covariance.diagonal().add_(covariance.diagonal().mean())
        for layer, target in zip(self.projections, targets, strict=True):
            descriptor = target.descriptor.float()
            middle = descriptor.mean(0)
            cross = centred.T @ (descriptor - middle) / len(sums)
            layer.weight.copy_(torch.linalg.solve(covariance, cross).T)
            layer.bias.copy_(middle - layer.weight @ mean)

    def forward(
        self,
        outputs: NetworkOutput,
        targets: Sequence[NetworkOutput],
        places: torch.Tensor,
        query: torch.Tensor,
    ) -> dict[str, torch.Tensor]:
        """Weighted losses by name; `places` int64 (B,), `query` bool (B,).

        `targets`: each teacher's outputs for the same images, descriptors of length 1.
        """
        lesson = self.lesson
        unit = F.normalize(outputs.descriptor.float(), dim=1)
        q, d = unit[query], unit[~query]
        positive = same_place(places[query], places[~query])
        losses = {}
        if lesson.metric:
            losses['metric'] = multi_similarity(unit, places)
        if self.ranker is not None:
            losses['ranking'] = ranking_network_loss(self.ranker, q, d, positive, lesson.top)
        gate = {}
        if targets:
            targets = [t.to(unit.device) for t in targets]
            pairs = [(t.descriptor[query], t.descriptor[~query]) for t in targets]
            similarity = torch.stack([a @ b.T for a, b in pairs])
            weights = self._weights(similarity, positive, q)
            if self.gate is not None:
                loss = gate_loss(weights, similarity, positive, lesson.tau)
                gate['gate'] = _GATE_WEIGHT * loss
                weights = weights.detach()
            if lesson.soft:
                losses['soft'] = soft_loss(q, d, similarity, weights, lesson.tau_t)
            if lesson.hard:
                labels = hard_labels(similarity, weights, places[query], places[~query])
                losses['hard'] = hard_loss(q, d, labels, places[query], lesson.tau)
            losses |= self._guidance(outputs, targets, _of_all_views(weights, query))
        return {name: getattr(lesson, name) * loss for name, loss in losses.items()} | gate

    def _weights(
        self, similarity: torch.Tensor, positive: torch.Tensor, query: torch.Tensor
    ) -> torch.Tensor:
        """Step 1: (K, Q, D), bool (Q, D), (Q, C) → (Q, K)."""
        lesson = self.lesson
        if self.gate is not None:
            return self.gate(query.detach())
        if lesson.adaptive == 'mean':
            return mean_weights(similarity)
        return adaptive_weights(similarity, positive, lesson.tau, lesson.tau_w)

    def _guidance(
        self, outputs: NetworkOutput, targets: list[NetworkOutput], weights: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """Step 4, `weights` (B, K); of levels and salient maps the mean over the levels."""
        losses = {}
        if self.lesson.descriptor:
            sums = torch.cat(outputs.sums, dim=1).float()
            projected = [project(sums) for project in self.projections]
            losses['descriptor'] = descriptor_guidance(
                projected, [t.descriptor for t in targets], weights
            )
        parts = {'levels': [], 'salient': []}
        shared = [len(_shared_levels(outputs.sums, t.sums)) for t in targets]
        for level in range(-1, -1 - max(shared), -1):
            having = [k for k, count in enumerate(shared) if count >= -level]
            # Teachers without the level leave their weight to those that have it.
            share = weights[:, having]
            share = share / share.sum(1, keepdim=True).clamp(min=1e-6)
            if self.lesson.levels:
                sums = outputs.sums[level].float()
                projected = [self.levels[k][level](sums) for k in having]
                wanted = [targets[k].sums[level] for k in having]
                parts['levels'].append(descriptor_guidance(projected, wanted, share))
            if self.lesson.salient:
                maps = outputs.maps[level].float()
                gaps = [
                    salient_guidance(maps, targets[k].salient[level], weight)
                    for k, weight in zip(having, share.T, strict=True)
                ]
                parts['salient'].append(sum(gaps))
        return losses | {name: torch.stack(p).mean() for name, p in parts.items() if p}


def _of_all_views(weights: torch.Tensor, query: torch.Tensor) -> torch.Tensor:
    """Weights (Q, K) of the queries → (B, K); a database view has the mean of its batch."""
    spread = weights.mean(0).repeat(len(query), 1)
    spread[query] = weights
    return spread


def _shared_levels(ours: list[T], theirs: list[T]) -> list[tuple[T, T]]:
    """Levels of student and teacher that belong together, the topmost with the topmost.

    The lowest ones of the deeper network have none.
    """
    count = min(len(ours), len(theirs))
    return list(zip(ours[len(ours) - count :], theirs[len(theirs) - count :], strict=True))

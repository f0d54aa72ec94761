# SPDX-License-Identifier: Apache-2.0
"""Step 4 of the teaching with its projections, which are trained along and then thrown away.

Two targets for two halves: teachers of whole pictures guide the layout-free half of the student's
descriptor by what they say of another view; those that know where things stand guide the
layout-bound half by what they say of the very part that it sees, since of another view other
things would stand elsewhere. Every teacher that has a map guides every position.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import nn

from ashtkd_ros.errors import VprError
from tools.training.config import Lesson
from tools.training.data.batch import Batch, Targets
from tools.training.losses.guidance import descriptor_guidance, map_guidance, salient_guidance
from tools.training.networks.layers import NetworkOutput

T = TypeVar('T')


class Guidance(nn.Module):
    """What K teachers say of other views, as losses of what the student sees.

    `example`, `targets`: any outputs of the network and of each teacher; they tell the sizes.
    `kinds`: each teacher's, `whole` or another.
    """

    def __init__(
        self,
        lesson: Lesson,
        example: NetworkOutput,
        targets: Sequence[Targets] = (),
        kinds: Sequence[str] = (),
    ):
        super().__init__()
        self.lesson = lesson
        has_half = example.residuals is not None
        self.free = [kind == 'whole' and has_half for kind in kinds]
        self.with_map = [k for k, t in enumerate(targets) if t.maps is not None]
        if lesson.maps and not self.with_map:
            raise VprError(
                f'lesson.maps: none of the teachers {", ".join(lesson.teachers)} has a map; set '
                'it to 0, or name a teacher whose trunk has the output "map"'
            )
        sums = [s.shape[1] for s in example.sums]
        wide = {True: example.residuals.shape[1] if has_half else 0, False: sum(sums)}
        self.vectors = nn.ModuleList(
            nn.Linear(wide[free], t.descriptor.shape[1])
            for free, t in zip(self.free, targets, strict=True)
            if lesson.descriptor
        )
        self.levels = nn.ModuleList(
            nn.ModuleList(
                nn.Linear(s, wanted.shape[1]) for s, wanted in _shared_levels(sums, t.sums)
            )
            for t in targets
            if lesson.levels
        )
        self.maps = nn.ModuleList(
            nn.Linear(example.stacked.shape[2], targets[k].maps.shape[2])
            for k in self.with_map
            if lesson.maps
        )

    def fit_vectors(self, outputs: NetworkOutput, targets: Sequence[Targets]) -> None:
        """Start the projections as ridge regressions, from outputs for views that all have seen.

        Those that start at random would pull the network anywhere until they have learned
        themselves.
        """
        for k, (layer, target) in enumerate(zip(self.vectors, targets, strict=False)):
            _fit_ridge(layer, self._half(outputs, k), target.descriptor)

    def fit_maps(self, stacked: torch.Tensor, targets: Sequence[Targets]) -> None:
        """The same for the projections of `stacked` (N, P, C), see `NetworkOutput`."""
        for layer, k in zip(self.maps, self.with_map, strict=False):
            wanted = _on_grid(targets[k].maps.float(), stacked.shape[1])
            _fit_ridge(layer, stacked.flatten(0, 1), wanted.flatten(0, 1))

    def of_vectors(
        self,
        outputs: NetworkOutput,
        batch: Batch,
        weights: torch.Tensor,
    ) -> dict[str, torch.Tensor]:
        """Losses of descriptors, levels and salient maps, not weighted by the lesson.

        `weights`: float (B, K).
        """
        losses, targets, partners = {}, batch.targets, batch.target_partners
        if self.lesson.descriptor:
            losses['descriptor'] = self._of_descriptors(outputs, batch, weights)
        shared = [len(_shared_levels(outputs.sums, t.sums)) for t in targets]
        for level in range(-1, -1 - max(shared), -1):
            having = [k for k, count in enumerate(shared) if count >= -level]
            # Teachers without the level leave their weight to those that have it.
            share = _shares(weights, having)
            if self.lesson.levels:
                seen = batch.has_as_seen
                sums = outputs.sums[level][seen].float()
                projected = [self.levels[k][level](sums) for k in having]
                wanted = [batch.as_seen[k].sums[level][seen] for k in having]
                loss = descriptor_guidance(projected, wanted, share[seen])
                losses.setdefault('levels', []).append(loss)
            if self.lesson.salient:
                maps = outputs.maps[level].float()
                gaps = [
                    salient_guidance(maps, targets[k].salient[level], partners, weight)
                    for k, weight in zip(having, share.T, strict=True)
                ]
                losses.setdefault('salient', []).append(sum(gaps))
        return {n: torch.stack(v).mean() if n != 'descriptor' else v for n, v in losses.items()}

    def _of_descriptors(
        self, outputs: NetworkOutput, batch: Batch, weights: torch.Tensor
    ) -> torch.Tensor:
        """The mean over the halves that have teachers."""
        losses = []
        for half in sorted(set(self.free)):
            having = [k for k, free in enumerate(self.free) if free == half]
            projected = [self.vectors[k](self._half(outputs, k)) for k in having]
            said = batch.targets if half else batch.as_seen
            wanted = [said[k].descriptor for k in having]
            known = slice(None) if half else batch.has_as_seen
            pairs = ([x[known] for x in rows] for rows in (projected, wanted))
            losses.append(descriptor_guidance(*pairs, _shares(weights, having)[known]))
        return torch.stack(losses).mean()

    def _half(self, outputs: NetworkOutput, k: int) -> torch.Tensor:
        """What teacher k guides, before a layer of the network makes it small."""
        return outputs.residuals if self.free[k] else torch.cat(outputs.sums, dim=1).float()

    def of_maps(
        self,
        outputs: NetworkOutput,
        targets: Sequence[Targets],
        partners: torch.Tensor,
        weights: torch.Tensor,
    ) -> torch.Tensor:
        """Loss of all positions; `weights`: (B, K') of the teachers with a map."""
        projected = [layer(outputs.stacked) for layer in self.maps]
        return map_guidance(projected, [targets[k].maps for k in self.with_map], partners, weights)


def _shares(weights: torch.Tensor, having: list[int]) -> torch.Tensor:
    """The weights (B, K) of some teachers, again with the sum 1."""
    share = weights[:, having]
    return share / share.sum(1, keepdim=True).clamp(min=1e-6)


def _on_grid(maps: torch.Tensor, positions: int) -> torch.Tensor:
    """Maps (N, R, C) of a square grid on another one: (N, P, C), rows of length 1."""
    own, side = (round(n**0.5) for n in (maps.shape[1], positions))
    squares = maps.transpose(1, 2).unflatten(2, (own, own))
    pooled = F.adaptive_avg_pool2d(squares, side).flatten(2).transpose(1, 2)
    return F.normalize(pooled, dim=2)


@torch.no_grad()
def _fit_ridge(layer: nn.Linear, x: torch.Tensor, y: torch.Tensor) -> None:
    """Make a layer the ridge regression of float (N, D) on float (N, C)."""
    x, y = x.float(), y.float()
    mean, middle = x.mean(0), y.mean(0)
    covariance = (x - mean).T @ (x - mean) / len(x)
    covariance.diagonal().add_(covariance.diagonal().mean())
    cross = (x - mean).T @ (y - middle) / len(x)
    layer.weight.copy_(torch.linalg.solve(covariance, cross).T)
    layer.bias.copy_(middle - layer.weight @ mean)


def _shared_levels(ours: Sequence[T], theirs: Sequence[T]) -> list[tuple[T, T]]:
    """Levels of student and teacher that belong together, the topmost with the topmost.

    The lowest ones of the deeper network have none.
    """
    count = min(len(ours), len(theirs))
    return list(zip(ours[len(ours) - count :], theirs[len(theirs) - count :], strict=True))

# SPDX-License-Identifier: Apache-2.0
"""The loss of ASHT-KD for one batch: the steps in `losses`, weighted as the lesson says.

L = match*L_match + vote*L_vote + maps*L_maps + descriptor*L_desc + levels*L_levels
  + salient*L_salient + soft*L_soft + hard*L_hard + metric*L_ms
(doc/method.md; the weights: config.Lesson)
and, where the teachers' weights come from a learned gate, L_gate, which trains the gate alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import nn

from tools.training.config import Lesson
from tools.training.data.batch import Batch, Targets
from tools.training.guidance import Guidance
from tools.training.losses.adaptive_weights import (
    LearnedGate,
    adaptive_weights,
    gate_loss,
    mean_weights,
    standardised,
)
from tools.training.losses.hard_labels import hard_labels, hard_loss, labels_of
from tools.training.losses.matches import known_points, map_weights, match_loss, same_scene
from tools.training.losses.memory import MemoryBank
from tools.training.losses.metric import multi_similarity
from tools.training.losses.relations import KnownViews, Relations, relations
from tools.training.losses.soft_labels import soft_loss
from tools.training.losses.votes import SHARPNESS, vote_loss
from tools.training.networks.layers import NetworkOutput

# Small: AdamW does not care, but the gradient is clipped together with the others'.
_GATE_WEIGHT = 0.01


class FinishedTeacher(Protocol):
    """`kind`: `whole` guides the layout-free half, others the layout-bound one.

    `scale`: mean and deviation of its similarities between different places.
    """

    kind: str
    scale: tuple[float, float]

    def outputs(self, rows: Sequence[int]) -> Targets:
        """What it says of fixed views, by their rows."""

    def vectors(self, rows: Sequence[int]) -> Targets:
        """The same without anything that has positions."""


def objective_for(
    lesson: Lesson,
    network: nn.Module,
    example: torch.Tensor,
    teachers: Sequence[FinishedTeacher] = (),
) -> Objective:
    """The loss for a network that can `describe`, and finished teachers, the lesson's in order.

    `example`: an input of the network, a batch of one.
    """
    with torch.no_grad():
        return Objective(lesson, network.eval().describe(example), teachers)


class _Seen(NamedTuple):
    """A batch with the memory: what is known, and the similarities of its B views to all V.

    `ours`: (B, V), through the first view alone; `theirs`: standardised (K, B, V);
    `weights`: (B, K); both None without teachers.
    """

    views: KnownViews
    every: KnownViews
    known: Relations
    ours: torch.Tensor
    theirs: torch.Tensor | None = None
    weights: torch.Tensor | None = None


class Objective(nn.Module):
    """Losses of a batch, and the parts that are trained with the network and then thrown away.

    `example`: what the network says of an input; `teachers`: finished ones, the lesson's in order.
    """

    def __init__(
        self, lesson: Lesson, example: NetworkOutput, teachers: Sequence[FinishedTeacher] = ()
    ):
        super().__init__()
        self.lesson = lesson
        targets = [t.outputs([0]) for t in teachers]
        dimensions = example.descriptor.shape[1]
        self.bank = MemoryBank(lesson.bank, dimensions, [t.descriptor.shape[1] for t in targets])
        scales = torch.tensor([[*t.scale] for t in teachers], dtype=torch.float32)
        self.register_buffer('scales', scales.reshape(-1, 2, 1, 1))
        self.guidance = Guidance(lesson, example, targets, [t.kind for t in teachers])
        if lesson.vote:
            self.sharpness = nn.Parameter(torch.tensor(SHARPNESS).log())
        self.gate = None
        if lesson.adaptive == 'gate' and teachers:
            self.gate = LearnedGate(dimensions, len(teachers))

    def forward(self, outputs: NetworkOutput, batch: Batch) -> dict[str, torch.Tensor]:
        """Weighted losses by name. The views of the database branch are remembered."""
        device, lesson = outputs.descriptor.device, self.lesson
        batch = batch.to(device)
        seen = self._seen(outputs, batch)
        losses = {}
        if lesson.match:
            losses['match'] = self._match(outputs, batch)
        if lesson.vote:
            losses['vote'] = self._vote(outputs, seen, batch.query)
        if lesson.metric:
            unit = seen.views.descriptor
            similarity = unit @ torch.cat([unit, seen.every.descriptor[len(unit) :]]).T
            own = torch.eye(*similarity.shape, dtype=torch.bool, device=device)
            positive, negative = seen.known.positive & ~own, seen.known.negative
            known = (seen.views.places >= 0)[:, None]
            losses['metric'] = multi_similarity(similarity, positive & known, negative)
        gate = {}
        if batch.targets:
            losses |= self._labels(seen, batch.query)
            losses |= self._guidance(outputs, batch, seen.weights.detach())
            if self.gate is not None:
                loss = gate_loss(
                    seen.weights,
                    seen.theirs,
                    seen.known.positive,
                    seen.known.certain(seen.views.places),
                    lesson.tau_t,
                )
                gate['gate'] = _GATE_WEIGHT * loss
        self.bank.add(seen.views.rows(~batch.query))
        return {name: getattr(lesson, name) * loss for name, loss in losses.items()} | gate

    def _seen(self, outputs: NetworkOutput, batch: Batch) -> _Seen:
        groups = torch.full_like(batch.places, -1) if batch.groups is None else batch.groups
        views = KnownViews(
            F.normalize(outputs.descriptor.float(), dim=1),
            [t.descriptor for t in batch.targets],
            batch.places,
            batch.pictures,
            groups,
        )
        memory = self.bank.views()
        every, known = views.joined(memory), relations(views, memory, batch.query)
        seen = _Seen(views, every, known, views.descriptor @ every.descriptor.detach().T)
        if not batch.targets:
            return seen
        pairs = zip(views.targets, every.targets, strict=True)
        theirs = torch.stack([a @ b.T for a, b in pairs])
        theirs = standardised(theirs, self.scales[:, 0], self.scales[:, 1])
        return seen._replace(theirs=theirs, weights=self._weights(theirs, seen))

    def _weights(self, theirs: torch.Tensor, seen: _Seen) -> torch.Tensor:
        """Step 1: standardised similarities (K, B, V) → (B, K)."""
        lesson, known = self.lesson, seen.known
        if self.gate is not None:
            return self.gate(seen.views.descriptor.detach())
        if lesson.adaptive == 'mean':
            return mean_weights(theirs)
        return adaptive_weights(
            theirs, known.positive, known.certain(seen.views.places), lesson.tau_t, lesson.tau_w
        )

    def _labels(self, seen: _Seen, query: torch.Tensor) -> dict[str, torch.Tensor]:
        """Steps 2 and 3: what the teachers' similarities say of both branches."""
        lesson, losses, known = self.lesson, {}, seen.known
        mixed = torch.einsum('bk,kbv->bv', seen.weights.detach(), seen.theirs)
        if lesson.soft:
            candidates, positive = known.candidates[query], known.positive[query]
            losses['soft'] = soft_loss(
                seen.ours[query], mixed[query], candidates, positive, lesson.tau_t
            )
        if lesson.hard:
            places = seen.views.places[~query]
            of_all = labels_of(seen.every.places, seen.every.pictures)
            # Another view of the very picture would win each vote, and needs no teacher.
            own = seen.views.pictures[~query, None] == seen.every.pictures
            candidates = known.certain(seen.views.places)[~query]
            candidates &= ~own | (places >= 0)[:, None]
            labels = hard_labels(mixed[~query], candidates, places, of_all)
            losses['hard'] = hard_loss(seen.ours[~query], candidates, labels, of_all, lesson.tau)
        return losses

    def _match(self, outputs: NetworkOutput, batch: Batch) -> torch.Tensor:
        points = known_points(*batch.matches[:3])
        scenes = same_scene(batch.places, batch.pictures)
        return match_loss(outputs.local, *points, scenes, self.lesson.tau_match)

    def _vote(self, outputs: NetworkOutput, seen: _Seen, query: torch.Tensor) -> torch.Tensor:
        unit = seen.views.descriptor
        return vote_loss(outputs.local, unit @ unit.T, seen.known, query, self.sharpness.exp())

    def _guidance(
        self, outputs: NetworkOutput, batch: Batch, weights: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """Step 4; at feature level the teachers are weighted by how well they match."""
        lesson, guidance, targets = self.lesson, self.guidance, batch.targets
        losses = guidance.of_vectors(outputs, batch, weights)
        if not lesson.maps or not guidance.with_map:
            return losses
        maps = [targets[k].maps for k in guidance.with_map]
        if lesson.adaptive == 'mean':
            shares = maps[0].new_full((len(weights), len(maps)), 1.0 / len(maps))
        else:
            matches = batch.matches
            points = known_points(matches.first, matches.second, matches.of_targets)
            scenes = same_scene(batch.places, batch.pictures)
            shares = map_weights(maps, *points, scenes, lesson.tau_match, lesson.tau_w)
        partners = batch.target_partners
        return losses | {'maps': guidance.of_maps(outputs, targets, partners, shares)}

# SPDX-License-Identifier: Apache-2.0
"""Step 1 of the teaching: how much each teacher counts for each view.

See doc/method.md, "Teaching"; the symbols are those of this package's docstring.
"""

from __future__ import annotations

import torch
from torch import nn

from tools.training.losses.ranking import NEVER, ranking_loss


def standardised(
    similarity: torch.Tensor, mean: torch.Tensor | float, deviation: torch.Tensor | float
) -> torch.Tensor:
    """Similarities in deviations from the mean of those between different places.

    Networks differ in the scale of their similarities; without this, one would drown the others.
    """
    return (similarity - mean) / deviation


@torch.no_grad()
def adaptive_weights(
    teacher_similarity: torch.Tensor,
    positive: torch.Tensor,
    candidates: torch.Tensor,
    tau_t: float,
    tau_w: float,
) -> torch.Tensor:
    """Step 1: standardised similarities (K, B, V), bool (B, V) twice → (B, K), rows sum to 1.

    w_ik = softmax over k of (-l_ik / tau_w), l_ik the ranking loss of teacher k alone among the
    candidates: confidence weighting of CA-MKD (Zhang et al., ICASSP 2022). Equal weights where no
    candidate is positive.
    """
    logits = teacher_similarity.masked_fill(~candidates, NEVER)
    losses = [ranking_loss(row, positive & candidates, tau_t) for row in logits]
    return (-torch.stack(losses, dim=1) / tau_w).softmax(dim=1)


def mean_weights(teacher_similarity: torch.Tensor) -> torch.Tensor:
    """The ablation of step 1: (K, B, V) → (B, K), all 1/K."""
    count, views = teacher_similarity.shape[:2]
    return teacher_similarity.new_full((views, count), 1.0 / count)


class LearnedGate(nn.Module):
    """Step 1 by a learned gate: the student's descriptors (B, C) → weights (B, K).

    After AMTML-KD (Liu et al., arXiv 2103.04062): one latent vector a teacher, softmax of its
    product with the student's descriptor. Theirs sits on a feature map; here on the descriptor,
    with a bias a teacher, since descriptors may point anywhere. Trained by `gate_loss`.
    """

    def __init__(self, dimensions: int, teachers: int):
        super().__init__()
        self.latent = nn.Linear(dimensions, teachers)
        nn.init.zeros_(self.latent.weight)
        nn.init.zeros_(self.latent.bias)
        self.size = dimensions**0.5  # without it, a training of some hundred steps moves little

    def forward(self, descriptors: torch.Tensor) -> torch.Tensor:
        return (self.size * self.latent(descriptors)).softmax(dim=1)


def gate_loss(
    weights: torch.Tensor,
    teacher_similarity: torch.Tensor,
    positive: torch.Tensor,
    candidates: torch.Tensor,
    tau_t: float,
) -> torch.Tensor:
    """(B, K), (K, B, V), bool (B, V) twice → ranking loss of the mixture sum_k w_ik sim_k.

    Mean over the views with a positive candidate, 0 where there is none. This project's choice:
    the soft labels would favour the teacher that is nearest to the student, right or wrong.
    """
    mixed = torch.einsum('bk,kbv->bv', weights, teacher_similarity)
    positive = positive & candidates
    losses = ranking_loss(mixed.masked_fill(~candidates, NEVER), positive, tau_t)
    return losses.sum() / positive.any(1).sum().clamp(min=1)

# SPDX-License-Identifier: Apache-2.0
"""Step 1 of the teaching: how much each teacher counts for each query.

See doc/method.md, "Teaching"; the symbols are those of this package's docstring.
"""

from __future__ import annotations

import torch
from torch import nn

from tools.training.losses.ranking import ranking_loss


@torch.no_grad()
def adaptive_weights(
    teacher_similarity: torch.Tensor, positive: torch.Tensor, tau: float, tau_w: float
) -> torch.Tensor:
    """Step 1: (K, Q, D), bool (Q, D) → (Q, K), rows sum to 1.

    w_ik = softmax over k of (-l_ik / tau_w), l_ik the ranking loss of teacher k alone: confidence
    weighting of CA-MKD (Zhang et al., ICASSP 2022). Equal weights where there is no positive.
    """
    losses = torch.stack([ranking_loss(s, positive, tau) for s in teacher_similarity], dim=1)
    return (-losses / tau_w).softmax(dim=1)


def mean_weights(teacher_similarity: torch.Tensor) -> torch.Tensor:
    """The ablation of step 1: (K, Q, D) → (Q, K), all 1/K."""
    count, queries = teacher_similarity.shape[:2]
    return teacher_similarity.new_full((queries, count), 1.0 / count)


class LearnedGate(nn.Module):
    """Step 1 by a learned gate: query descriptors (Q, C) → weights (Q, K).

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

    def forward(self, query: torch.Tensor) -> torch.Tensor:
        return (self.size * self.latent(query)).softmax(dim=1)


def gate_loss(
    weights: torch.Tensor, teacher_similarity: torch.Tensor, positive: torch.Tensor, tau: float
) -> torch.Tensor:
    """(Q, K), (K, Q, D), bool (Q, D) → ranking loss of the mixed teacher sum_k w_ik sim_k.

    Mean over the queries with a positive, 0 where there is none. This project's choice: the soft
    labels would favour the teacher that is nearest to the student, right or wrong.
    """
    mixed = torch.einsum('qk,kqd->qd', weights, teacher_similarity)
    losses = ranking_loss(mixed, positive, tau)
    return losses.sum() / positive.any(1).sum().clamp(min=1)

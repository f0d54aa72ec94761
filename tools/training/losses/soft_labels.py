# SPDX-License-Identifier: Apache-2.0
"""Step 2 of the teaching, query branch: the teachers' similarities are soft labels.

See doc/method.md, "Teaching"; the symbols are those of this package's docstring.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F


def soft_loss(
    query: torch.Tensor,
    database: torch.Tensor,
    teacher_similarity: torch.Tensor,
    weights: torch.Tensor,
    tau_t: float,
) -> torch.Tensor:
    """Step 2, query branch: (Q, C), (D, C), (K, Q, D), (Q, K) → mean over the queries.

    tau_t^2 * KL(p_i || softmax_j(sim_S / tau_t)), p_i = softmax_j(sum_k w_ik sim_k / tau_t)
    (Hinton et al., 2015, with several teachers). No gradient reaches the database views.
    """
    mixed = torch.einsum('qk,kqd->qd', weights, teacher_similarity.detach())
    target = (mixed / tau_t).log_softmax(dim=1)
    ours = (query @ database.detach().T / tau_t).log_softmax(dim=1)
    return tau_t**2 * F.kl_div(ours, target, reduction='batchmean', log_target=True)

# SPDX-License-Identifier: Apache-2.0
"""Step 3 of the teaching, database branch: the teachers' vote is a hard label.

See doc/method.md, "Teaching"; the symbols are those of this package's docstring.
"""

from __future__ import annotations

import torch

from tools.training.losses.ranking import NEVER, ranking_loss, same_place


@torch.no_grad()
def hard_labels(
    teacher_similarity: torch.Tensor,
    weights: torch.Tensor,
    query_place: torch.Tensor,
    database_place: torch.Tensor,
) -> torch.Tensor:
    """Step 3's labels: the teachers' weighted vote for each database view, int64 (D,).

    The place of the query view with the highest sum_k w_ik sim_k(q_i, d_j), among queries whose
    place is known; -1 where none is. A database view's own place, where known, stands.
    """
    votes = torch.einsum('qk,kqd->qd', weights, teacher_similarity)
    votes = votes.masked_fill((query_place < 0)[:, None], NEVER)
    return torch.where(database_place >= 0, database_place, query_place[votes.argmax(dim=0)])


def hard_loss(
    query: torch.Tensor,
    database: torch.Tensor,
    labels: torch.Tensor,
    query_place: torch.Tensor,
    tau: float,
) -> torch.Tensor:
    """Step 3, database branch: cross-entropy of softmax_i(sim_S(d_j, q_i) / tau) to the label.

    Mean over the database views (D, C) whose label (D,) is among the queries' places; 0 where
    there is none. No gradient reaches the query views.
    """
    positive = same_place(labels, query_place)
    losses = ranking_loss(database @ query.detach().T, positive, tau)
    return losses.sum() / positive.any(1).sum().clamp(min=1)

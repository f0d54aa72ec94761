# SPDX-License-Identifier: Apache-2.0
"""Step 3 of the teaching, database branch: the teachers' vote is a hard label.

See doc/method.md, "Teaching"; the symbols are those of this package's docstring.
"""

from __future__ import annotations

import torch

from tools.training.losses.ranking import NEVER, ranking_loss


@torch.no_grad()
def hard_labels(
    mixed: torch.Tensor,
    candidates: torch.Tensor,
    places: torch.Tensor,
    candidate_labels: torch.Tensor,
) -> torch.Tensor:
    """Step 3's labels of D database views, int64 (D,): their places, or else the teachers' vote.

    The vote is the label of the candidate that the teachers find most similar. `mixed`: (D, V)
    their weighted similarities; `candidates`: bool (D, V); `places`: int64 (D,), -1 = unknown;
    `candidate_labels`: int64 (V,), see `labels_of`. Without a candidate the label is -1, nobody's.
    """
    vote = mixed.masked_fill(~candidates, NEVER).argmax(dim=1)
    voted = torch.where(candidates.any(dim=1), candidate_labels[vote], -1)
    return torch.where(places >= 0, places, voted)


def labels_of(places: torch.Tensor, pictures: torch.Tensor) -> torch.Tensor:
    """int64 (V,): the place of each view; where it is unknown, a number of its picture alone."""
    return torch.where(places >= 0, places, -2 - pictures)


def hard_loss(
    similarity: torch.Tensor,
    candidates: torch.Tensor,
    labels: torch.Tensor,
    candidate_labels: torch.Tensor,
    tau: float,
) -> torch.Tensor:
    """Step 3, database branch: cross-entropy of softmax_i(sim_S(d_j, q_i) / tau) to the label.

    `similarity`: the student's (D, V), through the database branch alone. Mean over the database
    views whose label (D,) is among the candidates'; 0 where there is none.
    """
    positive = (labels[:, None] == candidate_labels) & candidates
    losses = ranking_loss(similarity.masked_fill(~candidates, NEVER), positive, tau)
    return losses.sum() / positive.any(1).sum().clamp(min=1)

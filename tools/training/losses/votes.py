# SPDX-License-Identifier: Apache-2.0
"""Step 5 through the body: the score by which the robot ranks candidates learns to be right.

Cross-entropy of the right candidate's score among those of other places. The paper's part: the
ranking score and its cross-entropy; this project's: the score is the vote that the robot takes,
which has no weights, so that all of it is learned by what the local features are of.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from tools.training.losses.ranking import NEVER
from tools.training.losses.relations import Relations
from tools.training.networks.vote import positions, vote

CANDIDATES = 12  # wrong ones of a list, the most similar of the batch
SHARPNESS = 2.0  # of the scores, where it starts
_FEWEST = 2


def vote_loss(
    local: torch.Tensor,
    similarity: torch.Tensor,
    known: Relations,
    query: torch.Tensor,
    sharpness: torch.Tensor,
) -> torch.Tensor:
    """Local features (B, P, L) of a batch → mean over its queries; 0 without a list.

    `similarity`: of the descriptors, (B, B); `known`: of the batch (and a memory, which is not
    asked); `query`: bool (B,). A query's list: the least similar right view of the database
    branch, so that no easy one hides it, and the most similar wrong ones. `sharpness`: of the
    scores. Queries with fewer than two wrong views have no list.
    """
    count = len(query)
    from_database = ~query[None, :]
    right = known.positive[:, :count] & from_database
    wrong = known.negative[:, :count] & from_database
    asked = query & right.any(1) & (wrong.sum(1) >= _FEWEST)
    if not asked.any():
        return local.sum() * 0.0
    right, wrong, similarity = right[asked], wrong[asked], similarity[asked]
    with torch.no_grad():
        most = min(CANDIDATES, int(wrong.sum(1).min()))
        first = similarity.masked_fill(~right, -NEVER).argmin(dim=1, keepdim=True)
        others = similarity.masked_fill(~wrong, NEVER).topk(most, dim=1).indices
        chosen = torch.cat([first, others], dim=1)
    side = round(local.shape[1] ** 0.5)
    at = positions((side, side)).to(local.device)
    scores = vote(local[asked], local[chosen], similarity.gather(1, chosen), at)
    return F.cross_entropy(sharpness * scores, torch.zeros_like(first[:, 0]))

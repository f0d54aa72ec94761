# SPDX-License-Identifier: Apache-2.0
"""Step 5 of the teaching: a small network ranks the most similar pairs.

See doc/method.md, "Teaching"; the symbols are those of this package's docstring.
"""

from __future__ import annotations

import torch
from torch import nn

from tools.training.losses.ranking import ranking_loss


def top_pairs(similarity: torch.Tensor, positive: torch.Tensor, x: int) -> torch.Tensor:
    """Step 5: the x most similar database views of each query, the positives always among them.

    (Q, D), bool (Q, D) → int64 (Q, min(x, D)), most similar first. Similarities in [-1, 1].
    """
    chosen = (similarity + 4.0 * positive).topk(min(x, similarity.shape[1]), dim=1).indices
    order = similarity.gather(1, chosen).argsort(dim=1, descending=True)
    return chosen.gather(1, order)


class LossNetwork(nn.Module):
    """Step 5: query (Q, C), candidates (Q, X, C) → ranking score of each pair (Q, X).

    A pair is the correlation of its descriptors kept a dimension, their distance a dimension, and
    the similarity; linear → small network → linear. The last layer starts at zero: at first the
    score is the similarity times a learned scale, so that training can only add to it.
    """

    def __init__(self, dimensions: int, hidden: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(2 * dimensions + 1, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, 1),
        )
        nn.init.zeros_(self.layers[-1].weight)
        nn.init.zeros_(self.layers[-1].bias)
        self.scale = nn.Parameter(torch.tensor(10.0))
        self.size = dimensions**0.5  # a dimension of a unit vector is about 1 / size

    def forward(self, query: torch.Tensor, candidates: torch.Tensor) -> torch.Tensor:
        product = query[:, None] * candidates
        similarity = product.sum(dim=2, keepdim=True)
        pair = torch.cat(
            [self.size**2 * product, self.size * (query[:, None] - candidates).abs(), similarity],
            dim=2,
        )
        return self.scale * similarity[..., 0] + self.layers(pair)[..., 0]


def ranking_network_loss(
    network: LossNetwork,
    query: torch.Tensor,
    database: torch.Tensor,
    positive: torch.Tensor,
    x: int,
    unsure: torch.Tensor | None = None,
) -> torch.Tensor:
    """Step 5: cross-entropy of the network's scores over the top-x pairs; through both branches.

    Mean over the queries with a positive, 0 where there is none. `unsure`: bool (Q, D), pairs that
    are not candidates as long as there are others.
    """
    similarity = (query @ database.T).detach()
    if unsure is not None:
        similarity = similarity.masked_fill(unsure, -1.0)
    pairs = top_pairs(similarity, positive, x)
    losses = ranking_loss(network(query, database[pairs]), positive.gather(1, pairs), 1.0)
    return losses.sum() / positive.any(1).sum().clamp(min=1)

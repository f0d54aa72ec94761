# SPDX-License-Identifier: Apache-2.0
"""The ranking network: candidates are ranked by the best pairs of a correlation matrix.

The paper's figure has a correlation matrix, its top-x pairs, Linear, a small network, Linear, a
ranking score and cross-entropy. Which numbers describe a pair, and that the network only changes
the weights of the vote's pairs, within bounds, is this project's choice.
"""

from __future__ import annotations

import torch
from torch import nn

from tools.training.networks.vote import matches, positions, stillness, vote_score

_LEAST = 1e-6
PAIRS = 32
NUMBERS = 6
_BOUND = 1.0  # a weight is changed by a factor of e at most


class Ranker(nn.Module):
    """Scores of K candidates; untrained, they are those of the vote's best pairs.

    score = log sum(w a) + log(sum(w a' still)) / 5 + similarity: w and still are the vote's weight
    of a pair and its Gaussian of the displacement; a and a' are factors of the small network.
    """

    def __init__(self, grid: tuple[int, int], hidden: int = 16):
        super().__init__()
        self.grid = grid
        self.layers = nn.Sequential(
            nn.Linear(NUMBERS, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU()
        )
        self.last = nn.Linear(hidden, 2)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)
        self.sharpness = nn.Parameter(torch.tensor(3.0))
        self.register_buffer('at', positions(grid), persistent=False)

    def pairs(self, query: torch.Tensor, candidates: torch.Tensor) -> torch.Tensor:
        """Features (P, L) and (K, P, L), rows of length 1 → numbers of the best pairs (K, X, 6).

        Numbers: weight in the vote, similarity, lead over the other candidates, whether it is the
        best of them, squared displacement in cells, share of the pairs' weight that moves alike.
        """
        best, weight, moved = matches(query, candidates, self.at)
        weight, chosen = weight.topk(min(PAIRS, weight.shape[1]), dim=1)
        lead = best - best.amax(dim=0)
        moved = moved.gather(1, chosen[..., None].expand(-1, -1, 2))
        apart = (moved[:, :, None] - moved[:, None]).square().sum(dim=3)
        alike = torch.matmul(torch.exp(-apart / 2), weight[..., None])[..., 0] - weight
        alike = alike / weight.sum(dim=1, keepdim=True).clamp(min=_LEAST)
        lead = lead.gather(1, chosen)
        numbers = [weight, best.gather(1, chosen), lead, (lead >= -_LEAST).float()]
        return torch.stack([*numbers, moved.square().sum(dim=2), alike], dim=2)

    def score(self, pairs: torch.Tensor, similarity: torch.Tensor) -> torch.Tensor:
        """(..., K, X, 6) and (..., K) → scores (..., K), higher is better."""
        weight, moved = pairs[..., 0], pairs[..., 4]
        scaled = torch.cat(
            [
                weight[..., None].clamp(max=20) / 5,
                pairs[..., 1:4] * pairs.new_tensor([1.0, 4.0, 1.0]),
                torch.exp(-moved / 24)[..., None],
                pairs[..., 5:],
            ],
            dim=-1,
        )
        factors = torch.exp(_BOUND * torch.tanh(self.last(self.layers(scaled)) / _BOUND))
        all_, still = factors.unbind(dim=-1)
        unmoved = (weight * still * stillness(moved)).sum(dim=-1)
        return vote_score((weight * all_).sum(dim=-1), unmoved, similarity)

    def forward(
        self, query: torch.Tensor, candidates: torch.Tensor, similarity: torch.Tensor
    ) -> torch.Tensor:
        """Local features (P, L), (K, P, L), similarities of descriptors (K,) → scores (K,)."""
        return self.score(self.pairs(query, candidates), similarity)


def list_loss(
    network: Ranker,
    pairs: torch.Tensor,
    similarity: torch.Tensor,
    right: torch.Tensor,
    known: torch.Tensor,
) -> torch.Tensor:
    """Cross-entropy over candidate lists: pairs (B, K, X, 6), the rest (B, K).

    bool `right`, `known`: the right ones, those that are there. Mean over the lists with a
    right and a wrong candidate, 0 where there is none: no right answer teaches nothing.
    """
    scores = network.sharpness * network.score(pairs, similarity)
    scores, right = scores.masked_fill(~known, -1e4), right & known
    losses = scores.logsumexp(1) - scores.masked_fill(~right, -1e4).logsumexp(1)
    teaches = right.any(1) & (known & ~right).any(1)
    return (losses * teaches).sum() / teaches.sum().clamp(min=1)

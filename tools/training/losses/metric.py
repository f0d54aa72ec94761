# SPDX-License-Identifier: Apache-2.0
"""Step 6 of the teaching: the metric term, which is this project's and needs no teacher.

See doc/method.md, "Teaching".
"""

from __future__ import annotations

import torch

from tools.training.losses.ranking import NEVER, same_place


def multi_similarity(
    descriptors: torch.Tensor,
    places: torch.Tensor,
    alpha: float = 1.0,
    beta: float = 50.0,
    base: float = 0.0,
    eps: float = 0.1,
) -> torch.Tensor:
    """Step 6: multi-similarity loss with its miner (Wang et al., CVPR 2019), mean over (N,).

    (N, C) of length 1, int64 (N,). Mined: negatives above the least similar positive - eps,
    positives below the most similar negative + eps; none where there is nothing to compare with,
    as in its public implementations. `base` is the paper's lambda: 1 there
    (so pytorch-metric-learning's pages), 0 here.
    """
    similarity = descriptors @ descriptors.T
    positive = same_place(places, places)
    negative = ~positive
    self_pair = torch.eye(len(places), dtype=torch.bool, device=places.device)
    positive, negative = positive & ~self_pair, negative & ~self_pair
    with torch.no_grad():
        hardest = similarity.masked_fill(~negative, NEVER).amax(dim=1, keepdim=True)
        weakest = similarity.masked_fill(~positive, -NEVER).amin(dim=1, keepdim=True)
        kept_positive = positive & (similarity < hardest + eps)
        kept_negative = negative & (similarity > weakest - eps)
    zero = torch.zeros(len(places), 1, device=places.device, dtype=similarity.dtype)

    def term(scale: float, kept: torch.Tensor) -> torch.Tensor:
        logits = (scale * (similarity - base)).masked_fill(~kept, NEVER)
        return torch.cat([zero, logits], dim=1).logsumexp(dim=1) / abs(scale)

    return (term(-alpha, kept_positive) + term(beta, kept_negative)).mean()

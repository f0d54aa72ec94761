# SPDX-License-Identifier: Apache-2.0
"""Step 6 of the teaching: the metric term, which is this project's and needs no teacher.

See doc/method.md, "Teaching".
"""

from __future__ import annotations

import torch

from tools.training.losses.ranking import NEVER


def multi_similarity(
    similarity: torch.Tensor,
    positive: torch.Tensor,
    negative: torch.Tensor,
    alpha: float = 1.0,
    beta: float = 50.0,
    base: float = 0.0,
    eps: float = 0.1,
) -> torch.Tensor:
    """Step 6: multi-similarity loss with its miner (Wang et al., CVPR 2019), mean over (B,).

    `similarity`: (B, V), of a batch with itself and with a memory; `positive`, `negative`: bool
    (B, V), a pair may be neither. Views without any pair are left out of the mean.
    Mined: negatives above the least similar positive - eps, positives below the most similar
    negative + eps; none where there is nothing to compare with, as in its public implementations.
    `base` is the paper's lambda: 1 there (so pytorch-metric-learning's pages), 0 here.
    """
    with torch.no_grad():
        hardest = similarity.masked_fill(~negative, NEVER).amax(dim=1, keepdim=True)
        weakest = similarity.masked_fill(~positive, -NEVER).amin(dim=1, keepdim=True)
        kept_positive = positive & (similarity < hardest + eps)
        kept_negative = negative & (similarity > weakest - eps)
    zero = torch.zeros(len(similarity), 1, device=similarity.device, dtype=similarity.dtype)

    def term(scale: float, kept: torch.Tensor) -> torch.Tensor:
        logits = (scale * (similarity - base)).masked_fill(~kept, NEVER)
        return torch.cat([zero, logits], dim=1).logsumexp(dim=1) / abs(scale)

    losses = term(-alpha, kept_positive) + term(beta, kept_negative)
    return losses.sum() / (positive | negative).any(1).sum().clamp(min=1)

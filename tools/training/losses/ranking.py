# SPDX-License-Identifier: Apache-2.0
"""The ranking cross-entropy that several steps of the teaching share.

Places are int64, -1 where the place is unknown. See doc/method.md, "Teaching".
"""

from __future__ import annotations

import torch

NEVER = -1e4  # a logit that takes no mass, and gives no NaN as -inf would


def same_place(query_place: torch.Tensor, database_place: torch.Tensor) -> torch.Tensor:
    """int64 (Q,) and (D,) → bool (Q, D): both known and equal."""
    return (query_place[:, None] == database_place) & (query_place[:, None] >= 0)


def ranking_loss(similarity: torch.Tensor, positive: torch.Tensor, tau: float) -> torch.Tensor:
    """-log of the softmax mass on the positives: float (Q, D), bool (Q, D) → (Q,).

    0 for a query without a positive.
    """
    logits = similarity / tau
    right = logits.masked_fill(~positive, NEVER).logsumexp(1)
    return torch.where(positive.any(1), logits.logsumexp(1) - right, 0.0)

# SPDX-License-Identifier: Apache-2.0
"""Step 2 of the teaching, query branch: the teachers' similarities are soft labels.

See doc/method.md, "Teaching"; the symbols are those of this package's docstring.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from tools.training.losses.adaptive_weights import standardised
from tools.training.losses.ranking import NEVER

_LEAST_PAIRS = 8  # with fewer pairs of different places there is no scale


def soft_targets(mixed: torch.Tensor, candidates: torch.Tensor, tau_t: float) -> torch.Tensor:
    """Step 2's labels: softmax of the teachers' mixed similarities (Q, V) over the candidates.

    With `tau_t` 1, in deviations, a candidate counts by how unlikely its similarity is among
    those of different places.
    """
    return (mixed / tau_t).masked_fill(~candidates, NEVER).softmax(dim=1)


def soft_loss(
    similarity: torch.Tensor,
    mixed: torch.Tensor,
    candidates: torch.Tensor,
    positive: torch.Tensor,
    tau_t: float,
) -> torch.Tensor:
    """Step 2, query branch: mean over the queries of tau_t^2 KL(teachers || student).

    `similarity`: (Q, V), the student's, through the query branch alone; `mixed`: (Q, V), the
    teachers' standardised ones, weighted; `candidates`, `positive`: bool (Q, V). The student's are
    measured in their own deviations, too. Hinton et al., 2015, between views as in relational
    distillation (Park et al., CVPR 2019), with a memory's views as further candidates.
    """
    others = similarity.detach()[candidates & ~positive]
    if len(others) < _LEAST_PAIRS:
        return similarity.sum() * 0.0
    own = standardised(similarity, others.mean(), others.std().clamp(min=1e-3))
    ours = (own / tau_t).masked_fill(~candidates, NEVER).log_softmax(dim=1)
    target = soft_targets(mixed, candidates, tau_t)
    return tau_t**2 * F.kl_div(ours, target, reduction='batchmean')

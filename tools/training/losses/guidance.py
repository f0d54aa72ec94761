# SPDX-License-Identifier: Apache-2.0
"""Step 4 of the teaching: what the student sees follows what the teachers see of another view.

See doc/method.md, "Teaching"; the symbols are those of this package's docstring. P: positions of
the student's grid, R: positions of a teacher's grid, both squares row by row.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from tools.training.networks.shared_trunk import SIDE


def descriptor_guidance(
    student: list[torch.Tensor], teacher: list[torch.Tensor], weights: torch.Tensor
) -> torch.Tensor:
    """Step 4: K pairs (B, C_k), weights (B, K) → mean over B of sum_k w_ik (1 - cos(s, t)).

    0 where B is 0.
    """
    pairs = zip(student, teacher, strict=True)
    gaps = torch.stack([1 - F.cosine_similarity(s, t, dim=1) for s, t in pairs], dim=1)
    return (weights * gaps).sum() / max(1, len(weights))


def map_guidance(
    student: list[torch.Tensor],
    teacher: list[torch.Tensor],
    partners: torch.Tensor,
    weights: torch.Tensor,
) -> torch.Tensor:
    """Step 4 at every position: K pairs (B, P, C_k) and (B, R, C_k), weights (B, K).

    Mean over the positions that have a partner in the teacher's view (`partners`: int64 (B, P),
    -1 = none) of sum_k w_ik (1 - cos(s, t)); 0 where none has.
    """
    view, position = (partners >= 0).nonzero(as_tuple=True)
    other = partners[view, position]
    pairs = [(s[view, position], t[view, other]) for s, t in zip(student, teacher, strict=True)]
    gaps = torch.stack([1 - F.cosine_similarity(s, t, dim=1) for s, t in pairs], dim=1)
    return (weights[view] * gaps).sum() / max(1, len(view))


def salient_guidance(
    student: torch.Tensor, teacher: torch.Tensor, partners: torch.Tensor, weight: torch.Tensor
) -> torch.Tensor:
    """Step 4 for salient maps: (B, M, h, w), (B, M, H, W), weight (B,) → KL(teacher || student).

    Both maps are brought to the grids of `partners` (int64 (B, P)), of sides sqrt(P) and sqrt(R),
    and compared at the positions that have a partner, where both sum to 1. Mean over B and M.
    """
    side = round(partners.shape[1] ** 0.5)
    known = (partners >= 0)[:, None].expand(-1, student.shape[1], -1)
    at = partners.clamp(min=0)[:, None].expand_as(known)
    theirs = F.adaptive_avg_pool2d(teacher, SIDE).flatten(2).gather(2, at)
    target = theirs.masked_fill(~known, 0.0)
    target = target / target.sum(dim=2, keepdim=True).clamp(min=1e-9)
    ours = F.adaptive_avg_pool2d(student, side).flatten(2).clamp(min=1e-30).log()
    ours = ours.masked_fill(~known, -1e4).log_softmax(dim=2)
    divergence = F.kl_div(ours, target, reduction='none').sum(dim=2)
    return (weight[:, None] * divergence).mean()

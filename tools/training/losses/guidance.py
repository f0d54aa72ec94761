# SPDX-License-Identifier: Apache-2.0
"""Step 4 of the teaching: descriptors, levels and salient maps follow those of the teachers.

See doc/method.md, "Teaching"; the symbols are those of this package's docstring.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F


def descriptor_guidance(
    student: list[torch.Tensor], teacher: list[torch.Tensor], weights: torch.Tensor
) -> torch.Tensor:
    """Step 4: K pairs (B, C_k), weights (B, K) → mean over B of sum_k w_ik (1 - cos(s, t))."""
    pairs = zip(student, teacher, strict=True)
    gaps = torch.stack([1 - F.cosine_similarity(s, t, dim=1) for s, t in pairs], dim=1)
    return (weights * gaps).sum(dim=1).mean()


def salient_guidance(
    student: torch.Tensor, teacher: torch.Tensor, weight: torch.Tensor
) -> torch.Tensor:
    """Step 4 for salient maps: (B, M, h, w), (B, M, H, W), (B,) → weighted KL(teacher || student).

    The teacher's map is resized to the student's and sums to 1 again; mean over B and M.
    """
    target = F.adaptive_avg_pool2d(teacher, student.shape[2:]).flatten(2)
    target = target / target.sum(dim=2, keepdim=True).clamp(min=1e-9)
    ours = student.flatten(2).clamp(min=1e-30).log()  # higher, it would stop the gradient
    divergence = F.kl_div(ours, target, reduction='none').sum(dim=2)
    return (weight[:, None] * divergence).mean()

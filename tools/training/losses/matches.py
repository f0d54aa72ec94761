# SPDX-License-Identifier: Apache-2.0
"""Feature level: positions of two views that show the same point find each other.

InfoNCE (van den Oord et al., 2018) over local features, by which a teacher is weighted as well.
See doc/method.md, "Teaching"; P: positions of a view.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F

from tools.training.losses.ranking import NEVER


class Points(NamedTuple):
    """N positions, int64 (N,) each: in which view of the batch, and where in it."""

    view: torch.Tensor
    position: torch.Tensor


def known_points(
    first: torch.Tensor, second: torch.Tensor, partners: torch.Tensor
) -> tuple[Points, Points]:
    """What pairs of views (M,) are known to share, from partners (M, P), -1 = no partner."""
    pair, position = (partners >= 0).nonzero(as_tuple=True)
    return Points(first[pair], position), Points(second[pair], partners[pair, position])


def same_scene(places: torch.Tensor, pictures: torch.Tensor) -> torch.Tensor:
    """int64 (B,) twice → bool (B, B): views of the same picture or known place."""
    place = (places[:, None] == places) & (places >= 0)
    return place | (pictures[:, None] == pictures)


def info_nce(
    features: torch.Tensor, here: Points, there: Points, scenes: torch.Tensor, tau: float
) -> torch.Tensor:
    """How badly each of N points is found again: features (B, P, L) of length 1 → (N,).

    Sought among all positions of all views in `there`. Further views of the same scene
    (`scenes`, bool (B, B)) are left out, as they may show the point as well.
    """
    views, column = there.view.unique(return_inverse=True)
    similarity = features[here.view, here.position] @ features[views].flatten(0, 1).T / tau
    further = scenes[here.view][:, views]
    further[torch.arange(len(column), device=column.device), column] = False
    positions = features.shape[1]
    similarity = similarity.masked_fill(further.repeat_interleave(positions, dim=1), NEVER)
    target = column * positions + there.position
    return F.cross_entropy(similarity, target, reduction='none')


def match_loss(
    local: torch.Tensor, here: Points, there: Points, scenes: torch.Tensor, tau: float
) -> torch.Tensor:
    """Local features (B, P, L): mean of both directions; 0 without a known point."""
    if not len(here.view):
        return local.sum() * 0.0
    there_again = info_nce(local, here, there, scenes, tau)
    return (there_again + info_nce(local, there, here, scenes, tau)).mean() / 2


@torch.no_grad()
def map_weights(
    maps: list[torch.Tensor],
    here: Points,
    there: Points,
    scenes: torch.Tensor,
    tau: float,
    tau_w: float,
) -> torch.Tensor:
    """Adaptive weights at feature level: K maps (B, P, C_k) → (B, K), rows sum to 1.

    w_ik = softmax over k of (-l_ik / tau_w), l_ik how badly teacher k finds the points of view i
    again in the other views that it was shown. Equal where no point is known.
    """
    losses = []
    for features in maps:
        total = features.new_zeros(len(features))
        if len(here.view):
            each = info_nce(features, here, there, scenes, tau)
            count = torch.zeros_like(total)
            for view in (here.view, there.view):
                total.index_add_(0, view, each)
                count.index_add_(0, view, torch.ones_like(each))
            total /= count.clamp(min=1)
        losses.append(total)
    return (-torch.stack(losses, dim=1) / tau_w).softmax(dim=1)

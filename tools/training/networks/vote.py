# SPDX-License-Identifier: Apache-2.0
"""The score of `ashtkd_ros.recognition.verification` in torch: what ranks candidates can learn."""

from __future__ import annotations

from typing import NamedTuple

import torch

STILL_WEIGHT = 0.2
_POWER, _STILL = 1.5, 8.0  # of how distinctive a match is; twice the variance of its Gaussian
_TILT, _TURN = 1.0, 4.0  # deviations in cells of how far a camera is turned
_LEAST = 1e-6


class Matches(NamedTuple):
    """Of each position of an image in K candidates, all (..., K, P), the last one (..., K, P, 2).

    `best`: similarity of its partner; `weight`: how distinctive the match is, 0 where it is not
    mutual; `moved`: rows and columns to the partner, less those by which a turned camera shifts
    the whole image, see `turned`.
    """

    best: torch.Tensor
    weight: torch.Tensor
    moved: torch.Tensor


def positions(grid: tuple[int, int]) -> torch.Tensor:
    """Rows and columns of the P positions of a grid, float32 (P, 2)."""
    rows, columns = grid
    at = torch.arange(rows * columns)
    return torch.stack([at // columns, at % columns], dim=1).float()


def matches(query: torch.Tensor, candidates: torch.Tensor, at: torch.Tensor) -> Matches:
    """Features (..., P, L) and (..., K, P, L), rows of length 1; `at`: see `positions`."""
    like = torch.matmul(query.unsqueeze(-3), candidates.transpose(-1, -2))  # (..., K, P, P)
    best, partner = like.max(dim=-1)
    mutual = best >= like.amax(dim=-2).gather(-1, partner) - _LEAST
    lead = best
    if candidates.shape[-3] > 1:  # else there is nothing to stand out from
        mean = best.mean(dim=-2, keepdim=True)
        # Under the root a little more than nothing, for the sake of its derivative.
        spread = (best - mean).square().mean(dim=-2, keepdim=True)
        lead = (best - mean) / (spread + _LEAST**2).sqrt()
    weight, moved = lead.clamp(min=0) ** _POWER * mutual, at[partner] - at
    return Matches(best, weight, moved - turned(weight.detach(), moved, at)[..., None, None, :])


def turned(weight: torch.Tensor, moved: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
    """The displacement (..., 2) that the candidates together have most matches of, small ones
    preferred; `weight`, `moved`: see `Matches`."""
    most = at.amax(dim=0)
    sides = [torch.arange(-int(side), int(side) + 1, device=at.device) for side in most.tolist()]
    cells = ((moved[..., 0] + most[0]) * len(sides[1]) + moved[..., 1] + most[1]).long()
    votes = weight.new_zeros((*weight.shape[:-2], len(sides[0]) * len(sides[1])))
    votes.scatter_add_(-1, cells.flatten(-2), weight.flatten(-2))
    votes = votes.unflatten(-1, (len(sides[0]), len(sides[1])))
    rows, columns = (torch.exp(-(side[:, None] - side).square() / _STILL) for side in sides)
    likely = [torch.exp(-(s / d).square() / 2) for s, d in zip(sides, (_TILT, _TURN), strict=True)]
    votes = rows @ votes @ columns * likely[0][:, None] * likely[1]
    best = votes.flatten(-2).argmax(dim=-1)
    width = len(sides[1])
    return torch.stack([best // width, best % width], dim=-1) - most


def stillness(moved: torch.Tensor) -> torch.Tensor:
    """Squared displacements in cells → how nearly a match is where it was, from 0 to 1."""
    return torch.exp(-moved / _STILL)


def vote_score(
    everything: torch.Tensor, unmoved: torch.Tensor, similarity: torch.Tensor
) -> torch.Tensor:
    """The score of sums of weights, of all and of still matches; all of one shape."""
    logs = (x.clamp(min=_LEAST).log() for x in (everything, unmoved))
    return next(logs) + STILL_WEIGHT * next(logs) + similarity


def vote(
    query: torch.Tensor, candidates: torch.Tensor, similarity: torch.Tensor, at: torch.Tensor
) -> torch.Tensor:
    """Scores (..., K) of candidates, as `verify` gives them; it can be differentiated.

    `query`, `candidates`, `at`: see `matches`; `similarity`: of the descriptors, (..., K).
    """
    found = matches(query, candidates, at)
    unmoved = (found.weight * stillness(found.moved.square().sum(dim=-1))).sum(dim=-1)
    return vote_score(found.weight.sum(dim=-1), unmoved, similarity)

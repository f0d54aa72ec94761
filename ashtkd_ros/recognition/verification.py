# SPDX-License-Identifier: Apache-2.0
"""Local features decide among candidates: how much of the picture matches each of them, and where.

A position counts by how much better it matches one candidate than the others: what matches
everywhere (sky, road, a bare wall) says nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

import numpy as np

from ashtkd_ros.network.local_features import SCALE

AT_ONCE = 6  # candidates that are compared at a time: what they are compared in fits the cache
_ALIGNED_WEIGHT = 0.2
_POWER = 1.5  # of how distinctive a match is
_NEAR = 2.0  # cells: the deviation of votes, and how far a match that agrees may be off
_TILT, _TURN = 1.0, 4.0  # deviations in cells of how far a camera is turned, up and to the side
_LEAST = 1e-6


@dataclass(frozen=True)
class Verified:
    """What local features say of K candidates.

    `scores`: float32 (K,), higher is better; comparable within one image alone. `agreement`:
    float32 (K,), share of the picture's positions with a match that agrees with the displacement.
    `displacement`: int (K, 2), rows and columns of the grid by which most of the picture stands
    lower and further right in the candidate's picture. `partners`: int (P, K), the position in
    each candidate's picture that is most like each position; `agreeing`: bool (P, K).
    """

    scores: np.ndarray
    agreement: np.ndarray
    displacement: np.ndarray
    partners: np.ndarray
    agreeing: np.ndarray

    def matches(self, candidate: int) -> np.ndarray:
        """Agreeing matches of a candidate: int (M, 2), positions in the image and in its
        picture."""
        here = np.flatnonzero(self.agreeing[:, candidate])
        return np.stack([here, self.partners[here, candidate]], axis=1)


def verify(
    query: np.ndarray,
    candidates: np.ndarray | Iterable[np.ndarray],
    similarities: np.ndarray,
    grid: tuple[int, int],
) -> Verified:
    """Score K candidates by their local features, int8 (K, P, L), against the image's, (P, L).

    `candidates`: an array, or some at a time, each compared while the disk still reads the next.
    `similarities`: of the descriptors, float32 (K,); `grid`: rows and columns of the P positions.
    score = log Z + log(S) / 5 + similarity. Z is a sum over the mutual nearest neighbours: how far
    the similarity of a position stands above its mean over the candidates, in deviations, to the
    power of 1.5, if above. S is the same sum of those that are where they were in the map's
    picture, by a Gaussian of 2 cells, once the image is shifted as a whole: a camera that is
    turned sees all places shifted alike, so the shift is the one that the candidates together
    have most matches of, small ones preferred. The numbers were chosen for the mean recall over
    training and validation sets and rendered walks, around which it is flat.
    """
    if isinstance(candidates, np.ndarray):
        candidates = np.split(candidates, range(AT_ONCE, len(candidates), AT_ONCE))
    numbers = query.astype(np.float32)
    compared = zip(*(_compared(numbers, part) for part in candidates), strict=True)
    partners, best, ahead = (np.concatenate(parts, axis=1) for parts in compared)
    positions, count = best.shape
    mutual = best >= np.take_along_axis(ahead, partners, axis=0)
    weights = _distinctiveness(best) * mutual
    moved = _moves(grid)[np.arange(positions)[:, None], partners]  # (P, K, 2)
    votes = _votes(weights, moved, grid)
    aligned = votes[:, (votes.sum(axis=0) * _turns(grid)).argmax()]
    scores = np.log(np.maximum(weights.sum(axis=0), _LEAST))
    scores += _ALIGNED_WEIGHT * np.log(np.maximum(aligned, _LEAST))
    displacement = _shifts(grid)[votes.argmax(axis=1)]
    agreeing = mutual & (np.abs(moved - displacement).max(axis=2) <= _NEAR)
    return Verified(
        (scores + similarities).astype(np.float32),
        agreeing.mean(axis=0, dtype=np.float32),
        displacement,
        partners,
        agreeing,
    )


def _compared(query: np.ndarray, part: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each position and candidate (P, K): its best partner, how similar that is, and how
    similar this position of the candidate is to its own best partner. Sums are exact: they are of
    whole numbers below 2^24."""
    count, positions, channels = part.shape
    table = part.reshape(-1, channels).astype(np.float32)
    like = (query @ table.T).reshape(len(query), count, positions)
    partners = like.argmax(axis=2)
    best = np.take_along_axis(like, partners[..., None], axis=2)[..., 0]
    return partners, best / SCALE**2, like.max(axis=0).T / SCALE**2


def _distinctiveness(best: np.ndarray) -> np.ndarray:
    """float32 (P, K): deviations above the mean over the candidates to _POWER, 0 below it."""
    if best.shape[1] == 1:  # nothing to stand out from
        return np.maximum(best, 0.0)
    above = best - best.mean(axis=1, keepdims=True)
    deviation = np.maximum(best.std(axis=1, keepdims=True), _LEAST)
    return np.maximum(above / deviation, 0.0) ** _POWER


def _votes(weights: np.ndarray, moved: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """float64 (K, displacements): the smoothed histogram of each candidate's displacements."""
    rows, columns = 2 * grid[0] - 1, 2 * grid[1] - 1
    count = weights.shape[1]
    cells = (moved[..., 0] + grid[0] - 1) * columns + moved[..., 1] + grid[1] - 1
    cells = cells + np.arange(count) * (rows * columns)
    votes = np.bincount(cells.ravel(), weights.ravel(), count * rows * columns)
    smooth = _blur(rows) @ votes.reshape(count, rows, columns) @ _blur(columns)
    return smooth.reshape(count, -1)


@cache
def _moves(grid: tuple[int, int]) -> np.ndarray:
    """int (P, P, 2): rows and columns from one position to another."""
    at = np.stack(np.divmod(np.arange(grid[0] * grid[1]), grid[1]), axis=1)
    return at[None] - at[:, None]


@cache
def _blur(size: int) -> np.ndarray:
    """float64 (size, size): a Gaussian of _NEAR cells as a matrix."""
    at = np.arange(size)
    return np.exp(-((at[:, None] - at) ** 2) / (2 * _NEAR**2))


@cache
def _turns(grid: tuple[int, int]) -> np.ndarray:
    """float64 (displacements,): how likely a camera is turned by so much."""
    return np.exp(-((_shifts(grid) / (_TILT, _TURN)) ** 2).sum(axis=1) / 2)


@cache
def _shifts(grid: tuple[int, int]) -> np.ndarray:
    """int (displacements, 2): rows and columns of each, in the order of `_votes`."""
    sides = np.meshgrid(*(np.arange(1 - side, side) for side in grid), indexing='ij')
    return np.stack(sides, axis=-1).reshape(-1, 2)

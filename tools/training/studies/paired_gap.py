# SPDX-License-Identifier: Apache-2.0
"""How much better one row of a table is than another, paired by query and by seed.

Both rows answer the same queries, and their seeds share initial network and batches. What is hard
for both, or good luck of a seed for both, is no difference.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

RESAMPLES = 4000
_LEVEL = (2.5, 97.5)  # percentiles


@dataclass(frozen=True)
class Queries:
    """The queries of a table by group; groups weigh equally.

    `spots`: int (Q,) for each group. Queries of one spot were taken at nearly the same place, so
    they are right or wrong together, and are resampled together.
    """

    spots: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Gap:
    """A difference of two rows in percent points, and its 95 % interval; NaN with one seed."""

    points: float
    low: float
    high: float

    @property
    def resolvable(self) -> float:
        """The smallest gap that such an interval tells from none: half its width."""
        return (self.high - self.low) / 2

    @property
    def verdict(self) -> str:
        """`holds` above 0, `FAILS` below 0, else `not resolved`."""
        if self.low > 0:
            return 'holds'
        return 'FAILS' if self.high < 0 else 'not resolved'


class PairedGaps:
    """Differences of rows of right answers, {group: bool (S, Q)} for S seeds and Q queries.

    The interval is a bootstrap over the spots of each group (Efron & Tibshirani, 1993, ch. 6).
    Resampling five seeds would give too narrow an interval; the mean of the seeds is drawn from
    Student's t instead. The noise of single answers, which both would count, is taken out of the
    first (components of variance of a crossed design; Owen, Ann. Appl. Stat. 2007).
    """

    def __init__(self, queries: Queries, resamples: int = RESAMPLES, seed: int = 0):
        self._rng, self._resamples = np.random.default_rng(seed), resamples
        self._spots, self._drawn = {}, {}
        for group, spots in queries.spots.items():
            names, self._spots[group] = np.unique(spots, return_inverse=True)
            count = len(names)
            drawn = self._rng.multinomial(count, np.full(count, 1 / count), resamples)
            # Of few spots the bootstrap's spread is too small by this much.
            self._drawn[group] = (drawn - 1) * np.sqrt(count / max(count - 1, 1))

    def gap(self, better: Mapping[str, np.ndarray], worse: Mapping[str, np.ndarray]) -> Gap:
        """`better` minus `worse`, mean of the groups; a row of one seed stands for every seed.

        Of rows with different numbers of seeds the first ones that both have are compared.
        """
        seeds, moved = 0.0, np.zeros(self._resamples)
        by_query, by_noise = 0.0, 0.0
        for group in self._spots:
            parts = self._by_spot(group, *_paired(better[group], worse[group]))
            seeds = seeds + parts.sum(axis=1) / len(self._spots)
            off = self._off_mean(group, parts) / len(self._spots)
            mean = off.mean(axis=0)
            moved += self._drawn[group] @ mean
            by_query += (mean**2).sum()
            if len(off) > 1:
                by_noise += off.var(axis=0, ddof=1).sum() / len(off)
        points = 100 * seeds.mean()
        if len(seeds) < 2:
            return Gap(points, np.nan, np.nan)
        moved *= np.sqrt(max(0.0, 1 - by_noise / max(by_query, 1e-12)))
        spread = seeds.std(ddof=1) / np.sqrt(len(seeds))
        moved += spread * self._rng.standard_t(len(seeds) - 1, self._resamples)
        low, high = np.percentile(100 * moved, _LEVEL)
        return Gap(points, points + low, points + high)

    def _by_spot(self, group: str, better: np.ndarray, worse: np.ndarray) -> np.ndarray:
        """Each spot's part of the group's difference of means, float (S, spots)."""
        spots = self._spots[group]
        difference = better.astype(float) - worse
        parts = np.zeros((len(difference), spots.max() + 1))
        np.add.at(parts.T, spots, difference.T)
        return parts / len(spots)

    def _off_mean(self, group: str, parts: np.ndarray) -> np.ndarray:
        """The same less the group's mean for as many queries, so that spots may differ in size."""
        sizes = np.bincount(self._spots[group]) / len(self._spots[group])
        return parts - parts.sum(axis=1, keepdims=True) * sizes


def _paired(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two rows of as many seeds; a row of one seed has it for each of the other's."""
    count = max(len(a), len(b)) if 1 in (len(a), len(b)) else min(len(a), len(b))
    return tuple(np.broadcast_to(x[:count], (count, x.shape[1])) for x in (a, b))

# SPDX-License-Identifier: Apache-2.0
"""The paired test: it finds what is there, only that, and more than an unpaired one would."""

from __future__ import annotations

import time

import numpy as np
import pytest

from tools.training.studies.paired_gap import Gap, PairedGaps, Queries

SIZES = {'streets': 1400, 'indoor': 200, 'walks': 800}  # 2,400 queries


def queries(spot: int = 1) -> Queries:
    """Spots of `spot` queries each."""
    return Queries({name: np.arange(count) // spot for name, count in SIZES.items()})


def answers(
    rng: np.random.Generator, better_by: float = 0.0, of_seed: float = 0.0, taste: float = 0.0
) -> tuple[dict, dict]:
    """Two rows of 5 seeds on queries of every difficulty; all numbers are shares of answers.

    `of_seed`: how far a seed moves all answers of a row; `taste`: how far a row's ease of a query
    differs from the other's.
    """
    rows = ({}, {})
    luck = rng.normal(0, of_seed, (2, 5, 1))
    for name, count in SIZES.items():
        ease = np.clip(rng.normal(0.65, 1.5, count), 0.02, 0.98)  # mostly always or never right
        for row, extra in ((0, better_by), (1, 0.0)):
            own = ease + rng.normal(0, taste, count) + extra
            rows[row][name] = rng.random((5, count)) < own + luck[row]
    return rows


def unpaired_half_width(rows: tuple[dict, dict]) -> float:
    """Of the difference of two means of groups, queries drawn for each row alone, in points."""
    means = [[100 * r[n].mean(axis=0) for n in SIZES] for r in rows]
    return 1.96 * np.sqrt(sum(m.var() / len(m) for row in means for m in row)) / len(SIZES)


def test_two_points_in_2400_queries_are_found_and_an_unpaired_test_misses_them():
    rng, gaps = np.random.default_rng(1), PairedGaps(queries())
    found, missed = 0, 0
    for _ in range(20):
        rows = answers(rng, better_by=0.022)  # 2 points: of what is always right nothing is more
        gap = gaps.gap(*rows)
        found += gap.verdict == 'holds'
        missed += gap.points < unpaired_half_width(rows)
    assert found >= 18 and missed >= 18


@pytest.mark.parametrize('of_seed', [0.0, 0.02])
def test_no_difference_is_seldom_found_whatever_the_seeds_do(of_seed: float):
    rng, gaps = np.random.default_rng(2), PairedGaps(queries(), 1000)
    found = [gaps.gap(*answers(rng, of_seed=of_seed)).verdict for _ in range(200)]
    wrong = sum(word != 'not resolved' for word in found)
    assert 1 <= wrong <= 20  # of 200, 10 are meant to be


def test_seeds_widen_the_interval():
    rng, gaps = np.random.default_rng(3), PairedGaps(queries())
    calm, wild = (gaps.gap(*answers(rng, of_seed=s)).resolvable for s in (0.0, 0.05))
    assert wild > 2 * calm


def test_queries_of_one_spot_are_one_observation():
    rng = np.random.default_rng(4)
    pairs = answers(rng, taste=0.3)
    apart = PairedGaps(queries()).gap(*pairs).resolvable
    doubled = {n: np.repeat(np.arange(count), 4) for n, count in SIZES.items()}
    rows = [{n: np.repeat(r[n], 4, axis=1) for n in SIZES} for r in pairs]
    together = PairedGaps(Queries(doubled), 1000).gap(*rows).resolvable
    assert together == pytest.approx(apart, rel=0.1)
    alone = Queries({n: np.arange(len(spots)) for n, spots in doubled.items()})
    assert PairedGaps(alone, 1000).gap(*rows).resolvable < 0.9 * apart


def test_groups_weigh_equally():
    rows = answers(np.random.default_rng(5))
    rows[0]['indoor'][:], rows[1]['indoor'][:] = True, False
    for name in ('streets', 'walks'):
        rows[0][name][:] = rows[1][name]
    gap = PairedGaps(queries()).gap(*rows)
    assert gap.points == pytest.approx(100 / 3) and gap.resolvable < 1e-9


def test_one_seed_has_no_interval_but_stands_for_all_beside_five():
    several, other = answers(np.random.default_rng(6), better_by=0.2)
    one = {name: rows[:1] for name, rows in other.items()}
    gaps = PairedGaps(queries())
    assert gaps.gap(several, one).verdict == 'holds'
    single = gaps.gap({name: rows[:1] for name, rows in several.items()}, one)
    assert np.isnan(single.low) and single.verdict == 'not resolved'


def test_seeds_that_only_one_row_has_are_left_out():
    a, b = answers(np.random.default_rng(7))
    fewer = {name: rows[:3] for name, rows in b.items()}
    both = [{name: rows[:3] for name, rows in row.items()} for row in (a, b)]
    assert PairedGaps(queries()).gap(a, fewer) == PairedGaps(queries()).gap(*both)


def test_a_table_of_claims_takes_seconds():
    rng = np.random.default_rng(8)
    rows, started = answers(rng), time.perf_counter()
    gaps = PairedGaps(queries())
    for _ in range(20):
        gaps.gap(*rows)
    assert time.perf_counter() - started < 20


def test_verdicts():
    words = [Gap(2, 1, 3).verdict, Gap(-2, -3, -1).verdict, Gap(1, -1, 3).verdict]
    assert words == ['holds', 'FAILS', 'not resolved']

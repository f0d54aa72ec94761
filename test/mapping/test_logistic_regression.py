# SPDX-License-Identifier: Apache-2.0
"""The fit of the confidence is scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from ashtkd_ros.mapping.logistic_regression import logistic_regression


def data(kind: str, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows, what is right, weights."""
    rng = np.random.default_rng(count)
    rows = rng.uniform([-0.15, -1.5, 0], [0.2, 1.2, 0.6], (count, 3))
    chance = 1 / (1 + np.exp(-(rows @ [3, 2, 4] - 1)))
    right = {'noisy': rng.random(count) < chance, 'separable': chance > 0.5}[kind]
    return rows, right, rng.uniform(0, 3, count)


@pytest.mark.parametrize('kind', ['noisy', 'separable'])
@pytest.mark.parametrize('count', [12, 100, 3000])
def test_it_is_scikit_learns(kind: str, count: int):
    rows, right, weights = data(kind, count)
    model = LogisticRegression(C=100.0, tol=1e-12, max_iter=10**5, solver='newton-cg')
    model.fit(rows, right, sample_weight=weights)
    found = logistic_regression(rows, right, weights, 0.01)
    assert found == pytest.approx([*model.coef_[0], *model.intercept_], rel=1e-6, abs=1e-6)


@pytest.mark.parametrize('scale', [1e-9, 1e4])
def test_values_of_any_size_have_a_finite_fit(scale: float):
    rows, right, weights = data('separable', 200)
    found = logistic_regression(rows * scale, right, weights, 0.01)
    chance = 1 / (1 + np.exp(-np.clip(rows * scale @ found[:-1] + found[-1], -500, 500)))
    assert np.isfinite(found).all()
    # What tells nothing leaves the share that is right.
    assert np.mean((chance > 0.5) == right) > (0.95 if scale > 1 else 0.4)


def test_a_column_of_zeros_has_no_slope():
    rows, right, weights = data('noisy', 300)
    rows[:, 1] = 0
    assert logistic_regression(rows, right, weights, 0.01)[1] == pytest.approx(0, abs=1e-12)


def test_sums_that_differ_by_their_rounding_alone_end_it(monkeypatch: pytest.MonkeyPatch):
    given, calls, exact = (*data('noisy', 100), 0.01), [], np.logaddexp
    found = logistic_regression(*given)

    def rising(*numbers: np.ndarray) -> np.ndarray:
        calls.append(numbers)
        assert len(calls) < 10**4
        return exact(*numbers) * (1 + 1e-9 * len(calls))

    monkeypatch.setattr(np, 'logaddexp', rising)
    assert logistic_regression(*given) == pytest.approx(found, rel=1e-2)

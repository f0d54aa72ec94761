# SPDX-License-Identifier: Apache-2.0
"""Logistic regression in a few Newton steps: scikit-learn's fit, of which the import alone takes
longer than a small map does."""

from __future__ import annotations

import numpy as np

_STEPS = 100  # far more than any fit takes
_SMALLEST = 1e-12  # change of the loss, as a share, that ends a fit


def logistic_regression(
    rows: np.ndarray, right: np.ndarray, weights: np.ndarray, penalty: float
) -> np.ndarray:
    """float64 (C + 1,): the slopes and the offset that make `right` the most probable.

    `rows` (N, C), `right` bool (N,), both kinds in it, `weights` (N,) from 0 on; `penalty`, above
    0: half of it times the square of each slope is added to the loss. The offset is free.
    """
    x = np.column_stack([rows, np.ones(len(rows))])
    shrink = np.append(np.full(rows.shape[1], penalty), 0.0)
    sign = np.where(right, 1.0, -1.0)

    def loss(numbers: np.ndarray) -> float:
        misfit = weights @ np.logaddexp(0.0, -sign * (x @ numbers))
        return float(misfit + shrink @ numbers**2 / 2)

    found, before = np.zeros(len(shrink)), loss(np.zeros(len(shrink)))
    for _ in range(_STEPS):
        chance = (1 + np.tanh(x @ found / 2)) / 2
        slope = x.T @ (weights * (chance - right)) + shrink * found
        bend = (x.T * (weights * chance * (1 - chance))) @ x + np.diag(shrink)
        step = np.linalg.lstsq(bend, slope, rcond=None)[0]
        while (after := loss(found - step)) > before and step.any():
            step = step / 2  # at last to 0: sums that differ by their rounding alone end it
        found = found - step
        if before - after <= _SMALLEST * before:
            break
        before = after
    return found

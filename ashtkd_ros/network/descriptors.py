# SPDX-License-Identifier: Apache-2.0
"""Every descriptor must be finite and have length 1."""

from __future__ import annotations

import numpy as np

TOLERANCE = 1e-3  # how far the length of a descriptor may be from 1


def first_not_unit(rows: np.ndarray) -> int | None:
    """The first row of float32 (N, D) that is not finite or not of length 1; None: all are."""
    with np.errstate(over='ignore', invalid='ignore'):
        squares = np.einsum('ij,ij->i', rows, rows)
        bad = np.flatnonzero(~(np.abs(squares - 1.0) <= 2 * TOLERANCE))
    return int(bad[0]) if len(bad) else None

# SPDX-License-Identifier: Apache-2.0
"""A few of many rows, evenly spread."""

from __future__ import annotations

import numpy as np


def thin(count: int, most: int) -> np.ndarray:
    """At most `most` of the rows 0 to count - 1, evenly spread.

    The first is among them, and the last if they are more than one.
    """
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int))

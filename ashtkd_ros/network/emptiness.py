# SPDX-License-Identifier: Apache-2.0
"""Whether an image shows anything: what a network makes of covered, dark and blinded cameras."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

NOT_EMPTY = -1.0  # the least similarity
_LEAST = 0.2  # however unlike each other the pictures of nothing are


class Emptiness:
    """How much an image looks like a picture of nothing, by its descriptor.

    `rows`: float32 (N, D), what the network makes of `pictures_of_nothing`. An image is as near
    to one of them as they mostly are to each other, or it shows something.
    """

    def __init__(self, rows: np.ndarray):
        self._rows = rows
        alike = (rows @ rows.T)[np.triu_indices(len(rows), 1)]
        self._least = float(np.median(alike)) if len(alike) else np.inf

    def of(self, descriptor: np.ndarray) -> float:
        """float32 (D,) → its similarity to the nearest picture of nothing, -1 if that is far."""
        similarity = float((self._rows @ descriptor).max())
        return similarity if similarity >= max(self._least, _LEAST) else NOT_EMPTY


def pictures_of_nothing(height: int, width: int) -> Iterator[np.ndarray]:
    """uint8 (H, W, 3): black, grey and white with and without noise, shades, a finger, a lid."""
    rng = np.random.default_rng(0)
    y, x = (
        a[..., None] for a in np.mgrid[:height, :width] / np.array([height, width])[:, None, None]
    )
    leak = 200 * np.exp(-30 * ((x - 1) ** 2 + (y - 0.2) ** 2))
    finger = np.concatenate([120 + 80 * x, 40 + 30 * y, 30 + 10 * x], axis=2)
    shades = (
        (0, 0), (0, 2), (3, 5), (5, 15), (128, 5), (128, 20), (255, 0), (250, 5),
        (20 * x + 10 * y, 3), (leak, 4), (finger, 4),
    )  # fmt: skip
    for shade, noise in shades:
        picture = shade + rng.normal(0, noise, (height, width, 3))
        yield np.clip(picture, 0, 255).astype(np.uint8)

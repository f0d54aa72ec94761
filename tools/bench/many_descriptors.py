# SPDX-License-Identifier: Apache-2.0
"""A million descriptors that lie as those of real pictures do, and queries with their real noise.

Places: the descriptor of a picture drawn at random plus as much Gaussian noise with the covariance
of all pictures' descriptors, so that two places from one picture are similar by about 0.5.
Queries: a place's descriptor, moved in the direction and by the angle by which the descriptor of a
picture moved when the picture was changed (`images.synthetic_change`: another viewpoint, night,
weather, blur, occlusion). For fewer numbers than the network's, descriptors are projected on their
first principal components; for more, zeros are appended and all is rotated at random.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from ashtkd_ros.errors import VprError
from ashtkd_ros.images.synthetic_change import UNIT, degrade, draw_corners, warped
from ashtkd_ros.network.embedder import Embedder
from ashtkd_ros.sampling import thin

BLOCK = 50_000  # descriptors that are made at a time
_MOST_PICTURES, _MOST_CHANGED = 4000, 1500
_SEEN_FROM_ELSEWHERE, _SIDE = 0.7, 224  # as the calibration of a map changes pictures
_ENDINGS = ('.jpg', '.jpeg', '.png')


def describe(folder: Path, embedder: Embedder) -> dict[str, np.ndarray]:
    """Descriptors of pictures, and of some of them changed; VprError where there are too few.

    `rows` float32 (N, D), `changed` float32 (M, D), `of` int64 (M,): the rows that were changed.
    """
    paths = sorted(p for p in folder.rglob('*') if p.suffix.lower() in _ENDINGS)
    paths = [paths[i] for i in thin(len(paths), _MOST_PICTURES)] if paths else []
    pictures = [p for p in paths if cv2.imread(str(p)) is not None]
    if len(pictures) < 50:
        raise VprError(f'{folder}: holds {len(pictures)} pictures; name a folder with 50 or more')
    chosen = set(thin(len(pictures), _MOST_CHANGED).tolist())
    rows, changed, of = [], [], []
    for i, path in enumerate(pictures):
        image, rng = cv2.imread(str(path))[..., ::-1], np.random.default_rng(i)
        rows.append(embedder.embed(embedder.resize(np.ascontiguousarray(image)), 'RGB'))
        if i in chosen:
            corners = draw_corners(rng) if rng.random() < _SEEN_FROM_ELSEWHERE else UNIT
            view = degrade(warped(np.ascontiguousarray(image), corners, _SIDE), rng)
            changed.append(embedder.embed(view, 'RGB'))
            of.append(i)
    return {'rows': np.array(rows), 'changed': np.array(changed), 'of': np.array(of)}


class ManyDescriptors:
    """Places and queries of `size` numbers, the same each time, from what `describe` gives."""

    def __init__(self, real: dict[str, np.ndarray], size: int):
        change = _change_of_size(real['rows'], size)
        self.size, self._of = size, real['of']
        self._rows, self._changed = unit(real['rows'] @ change), unit(real['changed'] @ change)
        covariance = np.cov(self._rows.T)
        values, vectors = np.linalg.eigh(covariance / np.trace(covariance))
        root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
        self._root = root.astype(np.float32)

    def blocks(self, count: int) -> Iterator[np.ndarray]:
        """`count` places, float32 (`BLOCK` or fewer, size) of length 1 at a time."""
        for number, first in enumerate(range(0, count, BLOCK)):
            rng, many = np.random.default_rng((1, number)), min(BLOCK, count - first)
            drawn = self._rows[rng.integers(0, len(self._rows), many)]
            yield unit(drawn + rng.standard_normal((many, self.size), np.float32) @ self._root)

    def noisy(self, places: np.ndarray) -> np.ndarray:
        """Queries float32 (Q, size) of length 1 of as many places."""
        drawn = np.random.default_rng(2).integers(0, len(self._of), len(places))
        before, after = self._rows[self._of[drawn]], self._changed[drawn]
        kept = np.clip((before * after).sum(axis=1, keepdims=True), -1, 1)
        away = after - kept * before
        away = unit(away - (away * places).sum(axis=1, keepdims=True) * places)
        return unit(kept * places + np.sqrt(1 - kept**2) * away)

    def similarities(self) -> np.ndarray:
        """float32 (M,): how similar a changed picture is to the picture."""
        return (self._rows[self._of] * self._changed).sum(axis=1)


def unit(rows: Sequence | np.ndarray) -> np.ndarray:
    """Rows float32 (N, D), made as long as 1."""
    rows = np.asarray(rows, np.float32)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)


def _change_of_size(rows: np.ndarray, size: int) -> np.ndarray:
    own = rows.shape[1]
    if size < own:
        _, vectors = np.linalg.eigh(np.cov(rows.T))
        return vectors[:, ::-1][:, :size].astype(np.float32)
    if size == own:
        return np.eye(own, dtype=np.float32)
    square = np.random.default_rng(3).standard_normal((size, size))
    return np.linalg.qr(square)[0][:own].astype(np.float32)

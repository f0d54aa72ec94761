# SPDX-License-Identifier: Apache-2.0
"""Points that two photographs share: SIFT matches that one epipolar geometry agrees with.

D. Lowe, Distinctive image features from scale-invariant keypoints, IJCV 2004 (matches, ratio
test); D. Barath et al., MAGSAC++, CVPR 2020, as in OpenCV (fundamental matrix). The agreement of
neighbouring matches beside it is this project's: a wrong match may lie on the right line.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from ashtkd_ros.errors import VprError
from ashtkd_ros.images.image_file import read_image
from tools.training.data.views import load_arrays, save_arrays

Pair = tuple[str, str]
LEAST = 12  # matches that agree
_FEATURES, _RATIO, _LINE_PX = 1500, 0.85, 1.5
_LONG_SIDE = 400  # pixels, to which pictures are enlarged or reduced
_NEIGHBOURS, _STRAY = 6, 0.06  # a match may stray so many long sides from its neighbours' motion
_LEAST_SHARE = 0.3  # of the mutual matches
_CHUNK = 500  # pairs, after which what is known is written


def checked_pairs(pairs: Iterable[Pair], cache: Path) -> dict[Pair, np.ndarray]:
    """Pairs of pictures (paths) → float32 (n, 4), points of the first and second that match.

    Points are (x, y) as shares of the pictures' sides; pairs with fewer than `LEAST` are left out.
    `cache`: an .npz that is written; only pairs that it lacks are computed. VprError if damaged.
    """
    known = _read(cache)
    wanted = [(a, b) if a < b else (b, a) for a, b in pairs if a != b]
    wanted = sorted(set(wanted))
    todo = [pair for pair in wanted if pair not in known]
    with (
        ThreadPoolExecutor(2) as pool,
        tqdm(total=len(todo), desc='pairs', delay=2, disable=None) as bar,
    ):
        for start in range(0, len(todo), _CHUNK):
            some = todo[start : start + _CHUNK]
            for pair, points in zip(some, pool.map(_points_of, some), strict=True):
                known[pair] = points
                bar.update()
            _write(cache, known)
    return {pair: known[pair] for pair in wanted if len(known[pair])}


def matching_points(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Matching points of two images, uint8 (h, w, 3) RGB; float32 (n, 4), n = 0 or >= `LEAST`."""
    return _matched(_features(first), _features(second))


def _points_of(pair: Pair) -> np.ndarray:
    try:
        return _matched(*(_features_of_file(path) for path in pair))
    except VprError:  # a picture that cannot be read has no partners
        return np.zeros((0, 4), np.float32)


@lru_cache(maxsize=200)
def _features_of_file(path: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return _features(read_image(Path(path)))


def _features(image: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points in pixels float32 (n, 2), RootSIFT (n, 128), the picture's sides (2,)."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    scale = _LONG_SIDE / max(grey.shape)
    how = cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA
    grey = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=how)
    sift = cv2.SIFT_create(nfeatures=_FEATURES, contrastThreshold=0.02)
    keypoints, vectors = sift.detectAndCompute(grey, None)
    points = np.float32([k.pt for k in keypoints]).reshape(-1, 2)
    vectors = np.zeros((0, 128), np.float32) if vectors is None else vectors
    vectors = np.sqrt(vectors / np.maximum(vectors.sum(axis=1, keepdims=True), 1e-6))
    return points, vectors, np.float32(grey.shape[::-1])


def _matched(a: tuple[np.ndarray, ...], b: tuple[np.ndarray, ...]) -> np.ndarray:
    """See `matching_points`, of two pictures' `_features`."""
    (points_a, vectors_a, sides_a), (points_b, vectors_b, sides_b) = a, b
    none = np.zeros((0, 4), np.float32)
    if min(len(points_a), len(points_b)) < LEAST:
        return none
    first, second = _mutual(vectors_a @ vectors_b.T)
    p, q = points_a[first], points_b[second]
    # One point may have several orientations; it counts once.
    _, once = np.unique(np.rint(np.hstack([p, q])), axis=0, return_index=True)
    p, q = p[once], q[once]
    if len(p) < LEAST:
        return none
    agree = _epipolar(p, q)
    if agree.sum() >= LEAST:
        agree[agree] = _with_neighbours(p[agree], q[agree])
    if agree.sum() < max(LEAST, _LEAST_SHARE * len(p)):
        return none
    return np.hstack([p[agree] / sides_a, q[agree] / sides_b]).astype(np.float32)


def _mutual(similarity: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Indices of mutual nearest neighbours that pass the ratio test in both directions."""
    rows = np.arange(len(similarity))
    nearest, back = similarity.argmax(axis=1), similarity.argmax(axis=0)
    first = rows[back[nearest] == rows]
    second = nearest[first]
    best = similarity[first, second].copy()
    # Of mutual ones each row and each column holds one, so that none hides another's second best.
    similarity[first, second] = -1
    rival = np.maximum(similarity[first].max(axis=1), similarity[:, second].max(axis=0))
    clear = 1 - best < _RATIO**2 * (1 - rival)  # squares of distances of unit vectors
    return first[clear], second[clear]


def _epipolar(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Which matches (n, 2) of points in pixels agree with one fundamental matrix, bool (n,)."""
    try:
        _, mask = cv2.findFundamentalMat(p, q, cv2.USAC_MAGSAC, _LINE_PX, 0.999, 5000)
    except cv2.error:  # instead of an empty answer, where it finds no matrix in the end
        mask = None
    return np.zeros(len(p), bool) if mask is None else mask.ravel().astype(bool)


def _with_neighbours(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Whether each match moves about as its nearest neighbours do, bool (n,)."""
    gap = np.linalg.norm(p[:, None] - p[None], axis=2)
    np.fill_diagonal(gap, np.inf)
    near = np.argsort(gap, axis=1)[:, :_NEIGHBOURS]
    motion = q - p
    expected = np.median(motion[near], axis=1)
    return np.linalg.norm(motion - expected, axis=1) <= _STRAY * _LONG_SIDE


def _read(cache: Path) -> dict[Pair, np.ndarray]:
    if not cache.exists():
        return {}
    arrays = load_arrays(cache)
    try:
        lengths, points = arrays['lengths'], arrays['points'].reshape(-1, 4)
        inside = (points >= 0) & (points <= 1)  # false for NaN
        if lengths.min(initial=0) < 0 or lengths.sum() != len(points) or not inside.all():
            raise ValueError('points are missing or lie outside of pictures')
        of_pairs = np.split(points, np.cumsum(lengths))[:-1]
        first, second = arrays['first'].tolist(), arrays['second'].tolist()
        return dict(zip(zip(first, second, strict=True), of_pairs, strict=True))
    except (KeyError, ValueError, TypeError) as error:
        raise VprError(f'{cache}: is damaged; remove it; it will be made again') from error


def _write(cache: Path, known: dict[Pair, np.ndarray]) -> None:
    first, second = zip(*known, strict=True) if known else ((), ())
    save_arrays(
        cache,
        first=np.array(first, dtype=str),
        second=np.array(second, dtype=str),
        lengths=np.array([len(points) for points in known.values()], dtype=np.int64),
        points=np.concatenate([np.zeros((0, 4), np.float32), *known.values()]),
    )

# SPDX-License-Identifier: Apache-2.0
"""How far to trust a match: fits the confidence on revisits in the training sets.

A first, simple form: logistic regression of "the best match is right" on its similarity and
margin. Each set is split by turns into a map and queries; the queries are degraded as in training,
and a third of the places is left out of the map, so that unknown places are met too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ashtkd_ros.embedder import Embedder
from ashtkd_ros.errors import VprError
from ashtkd_ros.matcher import COEFFICIENTS, Matcher, MatcherConfig
from ashtkd_ros.place_map import MapInfo, Place, PlaceMap
from ashtkd_ros.sources import Frame, read_source
from tools.augment import degrade

# Sets with places seen again: walks (right = near in order on the same walk) and fixed spots.
WALKS = ('ie_tower', 'multifloor_corridor', 'camvid')
SPOTS = ('uva_buildings', 'amos_daynight', 'tilde_webcam', 'landmarks', 'wxbs')
_ORDER_APART = 2


@dataclass(frozen=True)
class Samples:
    """One row a query: similarity and margin float (N,), right bool (N,)."""

    similarity: np.ndarray
    margin: np.ndarray
    right: np.ndarray


def collect(embedder: Embedder, data: Path, seed: int = 0) -> Samples:
    """Match the queries of every set that is there in its own map."""
    rng = np.random.default_rng(seed)
    rows = []
    for name in (*WALKS, *SPOTS):
        if (data / name / 'index.csv').is_file():
            rows += _match_set(embedder, data / name, name in WALKS, rng)
    if not rows:
        raise VprError(f'{data}: holds none of {", ".join((*WALKS, *SPOTS))} to calibrate on')
    similarity, margin, right = np.array(rows).T
    return Samples(similarity, margin, right.astype(bool))


def _match_set(embedder: Embedder, folder: Path, walk: bool, rng) -> Iterator[tuple]:
    frames = read_source(folder)
    frames = [Frame(f.path, f.stamp, i, None, f.label) for i, f in enumerate(frames)]
    mapped = [f for f in frames if f.order % 2 == 0 and (f.order // 30) % 3 != 2]
    places = [Place(i, f.stamp, f.order, None, f.name, f.label) for i, f in enumerate(mapped)]
    descriptors = np.concatenate([embedder.embed_batch([f.read()]) for f in mapped])
    place_map = PlaceMap.build(descriptors, places, embedder)
    place_map.info = MapInfo('map', place_map.info.model)
    matcher = Matcher(place_map, MatcherConfig(top_k=1))
    for frame in frames[1::2]:
        best = matcher.match(embedder.embed(degrade(frame.read(), rng)))[0]
        near = abs(best.place.order - frame.order) <= _ORDER_APART
        right = (
            near and best.place.label == frame.label if walk else best.place.label == frame.label
        )
        yield best.similarity, best.margin, right


def fit(samples: Samples, ridge: float = 1e-3, steps: int = 50) -> dict[str, float]:
    """Coefficients of `matcher.probability` by Newton's method on the penalised log-likelihood."""
    x = np.column_stack([samples.similarity, samples.margin, np.ones(len(samples.right))])
    weights = np.zeros(3)
    for _ in range(steps):
        p = 1.0 / (1.0 + np.exp(-x @ weights))
        gradient = x.T @ (samples.right - p) - ridge * weights
        hessian = (x * (p * (1 - p))[:, None]).T @ x + ridge * np.eye(3)
        weights = weights + np.linalg.solve(hessian, gradient)
    return dict(zip(COEFFICIENTS, map(float, weights), strict=True))


def expected_calibration_error(confidence: np.ndarray, right: np.ndarray, bins: int = 10) -> float:
    """Mean gap between confidence and share right over equal bins (Guo et al., ICML 2017)."""
    index = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = [
        (index == b).mean() * abs(confidence[index == b].mean() - right[index == b].mean())
        for b in np.unique(index)
    ]
    return float(np.sum(gaps))

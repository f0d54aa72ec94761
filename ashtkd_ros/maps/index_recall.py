# SPDX-License-Identifier: Apache-2.0
"""How often a compressed index finds the place that exact search finds, measured on its own map.

The queries are noisy copies of the map's descriptors. A copy leaves its descriptor into the sum
and difference of many other places' descriptors, so that the noise lies where descriptors lie, by
so much that their similarity is drawn evenly from 0.2 to 0.8: pictures of one place under other
light, from elsewhere or half hidden are about so similar (tools.bench.index_kinds compares).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ashtkd_ros.maps.descriptor_index import CompressedIndex, DescriptorIndex
from ashtkd_ros.maps.index_note import IndexNote

QUERIES = 1000  # at most
SIMILARITIES = 0.2, 0.8  # of a noisy copy and its descriptor
SHORTLISTS = 128, 256, 512, 1024, 2048  # candidates; the first that reaches ENOUGH is taken
ENOUGH = 0.98  # of exact search's recall@1
_MIXED = 32  # places that the noise is mixed of
_SAME = 1e-5  # similarities of places that exact search cannot tell apart
_STEP = 4096  # places that are compared at a time


def noisy_copies(index: DescriptorIndex, count: int = QUERIES) -> tuple[np.ndarray, np.ndarray]:
    """Queries float32 (Q, D) of length 1, at most `count`, and their similarities float32 (Q,)
    with the places that they are copies of; the same ones for the same map."""
    rng, size = np.random.default_rng(0), len(index)
    rows = index.rows(rng.choice(size, min(count, size), replace=False, shuffle=False))
    noise = 1e-6 * rng.standard_normal(rows.shape, np.float32)  # all places may look the same
    for at in range(_MIXED):
        others = index.rows(rng.integers(0, size, len(rows)))
        noise += -others if at % 2 else others
    noise -= (noise * rows).sum(axis=1, keepdims=True) * rows
    noise /= np.maximum(np.linalg.norm(noise, axis=1, keepdims=True), 1e-12)
    own = rng.uniform(*SIMILARITIES, (len(rows), 1)).astype(np.float32)
    queries = own * rows + np.sqrt(1 - own**2) * noise
    return queries, (queries * rows).sum(axis=1)


def best_similarities(index: DescriptorIndex, queries: np.ndarray) -> np.ndarray:
    """float32 (Q,): the similarity of each query's most similar place, by exact search."""
    best = np.full(len(queries), -2.0, np.float32)
    for block in _small(index.blocks()):
        np.maximum(best, (block @ queries.T).max(axis=0), out=best)
    return best


def _small(blocks: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    for block in blocks:
        for first in range(0, len(block), _STEP):
            yield block[first : first + _STEP]


def recall(index: DescriptorIndex, queries: np.ndarray, best: np.ndarray) -> float:
    """Share of the queries for which the index finds a place as similar as the `best`."""
    found, _ = index.search(queries, 1)
    return float(np.mean(found[:, 0] >= best - _SAME))


def fit_shortlist(index: CompressedIndex, why: str) -> None:
    """Take the shortest list of candidates with `ENOUGH` recall, and note down what it reaches.

    Only queries count that exact search answers with the place that they are copies of.
    """
    queries, own = noisy_copies(index)
    best = best_similarities(index, queries)
    answered = own >= best - _SAME
    if answered.any():
        queries, best = queries[answered], best[answered]
    for length in SHORTLISTS:
        index.note = IndexNote(why, 0.0, len(queries), length)
        reached = recall(index, queries, best)
        index.note = IndexNote(why, round(reached, 4), len(queries), length)
        if reached >= ENOUGH:
            break

# SPDX-License-Identifier: Apache-2.0
"""The similarity of queries and places, thinned to the size of a figure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ashtkd_ros.network.embedder import Embedder
from ashtkd_ros.network.parallel_embedding import embed_frames
from ashtkd_ros.sampling import thin
from ashtkd_ros.traverses.frame import Frame

MOST_SIMILARITIES = 400  # rows and columns


def similarity_matrix(
    queries: np.ndarray, places: np.ndarray, most: int = MOST_SIMILARITIES
) -> np.ndarray:
    """Descriptors (Q, D) and (N, D) → inner products float32 (q, n) of evenly spread ones."""
    q, n = (rows[thin(len(rows), most)] for rows in (queries, places))
    return np.asarray(q @ n.T, np.float32)


def embed_sample(embedder: Embedder, frames: Sequence[Frame], workers: int) -> np.ndarray:
    """Descriptors (q, D) of as many evenly spread frames as the matrix has rows."""
    shown = [frames[i] for i in thin(len(frames), MOST_SIMILARITIES)]
    return embed_frames(embedder, shown, 'similarity', workers)

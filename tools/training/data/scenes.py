# SPDX-License-Identifier: Apache-2.0
"""All that is known of matching points in the training pictures, of every kind."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from tools.training.data.checked_pairs import Pair, checked_pairs
from tools.training.data.correspondence import Correspondence, FixedCameras, PointPairs
from tools.training.data.rendered_walks import RenderedWalks

PAIRS = 'pairs.npz'
_MOST_PARTNERS = 12  # that are looked for, of a picture in a place of many


def known_scenes(
    places: Iterable[Sequence[str]], cameras: Iterable[Sequence[str]], folder: Path
) -> Correspondence:
    """What is known of pictures (paths), place by place.

    `cameras`: pictures of cameras that do not move; `places`: pictures that show one place
    otherwise. Those that were rendered with depth match by it; of photographs, pairs are checked
    by SIFT, which takes minutes, once: PAIRS in `folder`, that of the views, keeps what was found.
    VprError for a damaged file or walk.
    """
    groups = [list(place) for place in places]
    still = FixedCameras({path: str(k) for k, of in enumerate(cameras) for path in of})
    walks = RenderedWalks.of(path for group in groups for path in group)
    photographs = [[path for path in group if path not in walks.frames] for group in groups]
    points = checked_pairs(pairs_of(photographs), folder / PAIRS)
    return Correspondence((still, walks, PointPairs(points)))


def pairs_of(groups: Sequence[Sequence[str]]) -> Iterator[Pair]:
    """Pairs of pictures of one place, drawn alike each time."""
    rng = np.random.default_rng(0)
    for group in groups:
        most = len(group) if len(group) <= _MOST_PARTNERS else _MOST_PARTNERS // 2
        for k, path in enumerate(group):
            rest = group[k + 1 :]  # those before have chosen this one
            yield from ((path, rest[i]) for i in rng.permutation(len(rest))[:most])

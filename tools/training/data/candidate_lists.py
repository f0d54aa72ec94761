# SPDX-License-Identifier: Apache-2.0
"""Candidate lists of a frozen student: hard neighbours of the same set, right ones among them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ashtkd_ros.errors import VprError
from ashtkd_ros.images.image_file import read_image
from ashtkd_ros.network.embedder import Embedder
from ashtkd_ros.network.local_features import SCALE, Look
from ashtkd_ros.traverses.image_folder import read_source
from tools.training.config import SetsSource, Source
from tools.training.data.augment import degrade
from tools.training.data.sources import PLACE_RULES, set_members

CANDIDATES = 30
_LEAST = 4  # candidates of a list
_MAP_WALK = 'day'
_METRES = 2.0  # to the right places of a walk
_UNSURE = 3  # radii in order within which a neighbour is neither right nor wrong


@dataclass(frozen=True)
class CandidateList:
    """One query: `local` float32 (P, L); candidates (K, P, L); similarity (K,); right bool (K,).

    `domain`: the set or walk it is from.
    """

    local: np.ndarray
    candidates: np.ndarray
    similarity: np.ndarray
    right: np.ndarray
    domain: str


def set_lists(
    embedder: Embedder, data: Path, sources: Iterable[Source], most: int, seed: int = 0
) -> Iterator[CandidateList]:
    """Lists of every set under `data` whose places `sources` tell, `most` queries of each.

    Half of the queries are degraded as in training. Of the places of one tour ("tour/place") only
    the right one is a candidate: others may show the same.
    """
    rng = np.random.default_rng(seed)
    for source in sources:
        for name, positives in source.positives.items() if isinstance(source, SetsSource) else ():
            if positives not in PLACE_RULES or not (data / name / 'index.csv').is_file():
                continue
            groups = set_members(data / name, positives)
            members = [(g, order, path) for g, m in groups.items() for order, path in m]
            looks = _looks(embedder, (read_image(path) for _, _, path in members), name)
            right, unsure = _relations(members, positives, source.radius)
            np.fill_diagonal(unsure, True)
            for i in rng.permutation(np.flatnonzero(right.any(axis=1)))[:most]:
                look = looks[i]
                if rng.random() < 0.5:
                    look = embedder.describe(degrade(read_image(members[i][2]), rng))
                yield from _list(look, looks, right[i], unsure[i], name)


def walk_lists(
    embedder: Embedder, folder: Path, most: int, seed: int = 0
) -> Iterator[CandidateList]:
    """Lists of rendered walks: WORLD/day is the map, every other WORLD/WALK the queries.

    Right are places within 2 m. VprError where no world has a walk `day`, or a picture no pose.
    """
    rng = np.random.default_rng(seed)
    worlds = sorted(p.parent for p in folder.glob(f'*/{_MAP_WALK}'))
    if not worlds:
        raise VprError(f'{folder}: holds no WORLD/{_MAP_WALK}; render walks with tools.render')
    for world in worlds:
        mapped, places = _walk(embedder, world / _MAP_WALK)
        for walk in sorted(p for p in world.iterdir() if p.is_dir() and p.name != _MAP_WALK):
            looks, at = _walk(embedder, walk)
            near = np.linalg.norm(at[:, None] - places, axis=2) <= _METRES
            for i in rng.permutation(len(looks))[:most]:
                nothing = np.zeros(len(places), bool)
                yield from _list(looks[i], mapped, near[i], nothing, f'walk {walk.name}')


def _walk(embedder: Embedder, folder: Path) -> tuple[list[Look], np.ndarray]:
    frames = read_source(folder)
    if any(frame.pose is None for frame in frames):
        raise VprError(f'{folder}: a picture has no pose; render the walk anew')
    looks = _looks(embedder, (frame.read() for frame in frames), folder.name)
    return looks, np.array([[f.pose.x, f.pose.y] for f in frames])


def _looks(embedder: Embedder, images: Iterable[np.ndarray], name: str) -> list[Look]:
    return [embedder.describe(image) for image in tqdm(images, name, delay=2, disable=None)]


def _relations(members: list, positives: str, radius: float) -> tuple[np.ndarray, np.ndarray]:
    """bool (N, N): right; neither right nor wrong."""
    place = np.array([group for group, _, _ in members])
    same = (place[:, None] == place) & (place != '')[:, None]
    if positives == 'neighbours':
        order = np.array([at for _, at, _ in members])
        apart = np.abs(order[:, None] - order)
        right = same & (apart <= radius)
        unsure = same & ~right & (apart <= _UNSURE * radius)
    else:
        tour = np.array([p.rpartition('/')[0] for p in place])
        right, unsure = same, (tour[:, None] == tour) & (tour != '')[:, None] & ~same
    np.fill_diagonal(right, False)
    return right, unsure


def _list(
    look: Look, looks: list[Look], right: np.ndarray, unsure: np.ndarray, domain: str
) -> list[CandidateList]:
    similarity = np.array([look.descriptor @ other.descriptor for other in looks], np.float32)
    order = np.argsort(-np.where(unsure, -np.inf, similarity), kind='stable')
    chosen = order[: min(CANDIDATES, int((~unsure).sum()))]
    if len(chosen) < _LEAST:
        return []
    local = np.stack([looks[i].local for i in chosen]).astype(np.float32) / SCALE
    query = look.local.astype(np.float32) / SCALE
    return [CandidateList(query, local, similarity[chosen], right[chosen], domain)]

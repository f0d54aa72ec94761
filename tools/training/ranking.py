# SPDX-License-Identifier: Apache-2.0
"""Step 5: local features learn to rank candidates, by cross-entropy through the score itself.

The paper's ranking network is a linear layer on the correlation matrix of two pipelines, trained
by cross-entropy. Here the linear layer stands before the correlation, where it costs the robot
nothing: it is the layer of the local features. Everything else stays as it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from ashtkd_ros.images.synthetic_change import UNIT, degrade, draw_corners, warped
from tools.training.data.candidate_lists import CandidateList, candidate_lists, some_pictures
from tools.training.data.places import TrainingPlaces
from tools.training.data.views import Views
from tools.training.losses.votes import SHARPNESS
from tools.training.networks.student import DSFormer
from tools.training.networks.vote import positions, vote
from tools.training.whitening import describe_images

_PICTURES, _LISTS = 800, 1000  # of a domain, at most
_EACH = 4  # lists of a step
_RATE, _WARM_UP, _AVERAGE = 3e-3, 30, 0.99
_KEEP = 0.3  # weight of 1 - cosine to the features as they were
_TOLD = 10  # lists of each how many-th place only tell whether the rest has taught anything


@dataclass(frozen=True)
class Gallery:
    """What the body sees of N pictures, float16 (N, P, C): as map, and degraded as queries.

    `lists` hold rows of both.
    """

    mapped: torch.Tensor
    queries: torch.Tensor
    lists: list[CandidateList]


def teach_ranking(
    network: DSFormer, views: Views, places: TrainingPlaces, steps: int, seed: int = 0
) -> tuple[float, float] | None:
    """Train the layer of the local features; Recall@1 in % of held-back lists before and after.

    The layer stays as it was where the second is not higher. None without candidate lists.
    """
    pictures = [i for i in some_pictures(places, _PICTURES, seed) if _is_there(views, places, i)]
    gallery = read_gallery(network, views, places, pictures, seed) if pictures else None
    if gallery is None or len(gallery.lists) < _TOLD:
        return None
    told, taught = (
        [row for row in gallery.lists if (row.place % _TOLD == 0) == is_told]
        for is_told in (True, False)
    )
    if not told or not taught:
        return None
    before = recall(network, gallery, told)
    old = deepcopy(network.local.project.state_dict())
    train_layer(network, gallery, taught, steps, seed)
    after = recall(network, gallery, told)
    if after <= before:
        network.local.project.load_state_dict(old)
    return before, after


def _is_there(views: Views, places: TrainingPlaces, picture: int) -> bool:
    return (str(places.pictures[picture].path), 0) in views.rows


def read_gallery(
    network: DSFormer, views: Views, places: TrainingPlaces, pictures: list[int], seed: int = 0
) -> Gallery:
    """What the network sees of pictures, and their candidate lists by its descriptor."""
    paths, names = [places.pictures[i].path for i in pictures], ('descriptor', 'stacked')
    network.eval()
    mapped, of_map = describe_images(network, map(views.picture, paths), names)
    queries, of_queries = describe_images(network, _degraded(views, paths, seed), names)
    descriptors = (x.float().numpy() for x in (mapped, queries))
    lists = candidate_lists(places, pictures, *descriptors, _LISTS, seed)
    rng = np.random.default_rng(seed)
    return Gallery(of_map, of_queries, [lists[i] for i in rng.permutation(len(lists))])


def _degraded(views: Views, paths: Sequence, seed: int) -> Iterator[np.ndarray]:
    """Each picture once: half of them degraded, half of them seen from elsewhere."""
    for number, path in enumerate(paths):
        rng = np.random.default_rng((seed, number))
        corners = draw_corners(rng) if rng.random() < 0.5 else UNIT
        image = warped(views.picture(path), corners, views.size)
        yield degrade(image, rng) if rng.random() < 0.5 else image


def train_layer(
    network: DSFormer, gallery: Gallery, lists: list[CandidateList], steps: int, seed: int = 0
) -> None:
    """Adam, one cosine; the layer becomes the mean of its last steps.

    A domain counts by the root of the number of its lists. Of each list one right candidate by
    chance is ranked among the wrong ones, so that no easy one hides it.
    """
    rng, layer = np.random.default_rng(seed), network.local.project
    start, mean = deepcopy(layer).requires_grad_(False), deepcopy(layer).requires_grad_(False)
    sharpness = nn.Parameter(torch.tensor(SHARPNESS).log())
    layer.requires_grad_(True)
    optimiser = torch.optim.Adam([*layer.parameters(), sharpness], lr=_RATE)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda n: min(1, (n + 1) / _WARM_UP) * (1 + np.cos(np.pi * n / steps)) / 2
    )
    sizes = Counter(x.domain for x in lists)
    shares = np.array([sizes[x.domain] ** -0.5 for x in lists])
    at, shares = positions((network.local.side,) * 2), shares / shares.sum()
    for step in tqdm(range(steps), desc='ranking', delay=2, disable=None):
        losses = [
            _list_loss(network, start, sharpness.exp(), gallery, lists[i], at, rng)
            for i in rng.choice(len(lists), _EACH, p=shares)
        ]
        optimiser.zero_grad()
        torch.stack(losses).mean().backward()
        nn.utils.clip_grad_norm_(layer.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        with torch.no_grad():
            share = 1 - min(_AVERAGE, step / (step + 10))
            for kept, now in zip(mean.parameters(), layer.parameters(), strict=True):
                kept.lerp_(now, share)
    layer.load_state_dict(mean.state_dict())


def _list_loss(
    network: DSFormer,
    start: nn.Linear,
    sharpness: torch.Tensor,
    gallery: Gallery,
    row: CandidateList,
    at: torch.Tensor,
    rng: np.random.Generator,
) -> torch.Tensor:
    """Cross-entropy of one right candidate, and how far its features left the start."""
    chosen = np.append(rng.choice(np.flatnonzero(row.right)), np.flatnonzero(~row.right))
    stacked = _stacked(gallery, row, chosen)
    if rng.random() < 0.5:  # mirrored
        side = network.local.side
        stacked = stacked.unflatten(1, (side, side)).flip(2).flatten(1, 2)
    local = network.local(stacked)
    similarity = torch.from_numpy(row.similarity[chosen])
    scores = sharpness * vote(local[0], local[1:], similarity, at)
    with torch.no_grad():
        was = nn.functional.normalize(start(stacked[:2]), dim=2)
    left = 1 - (local[:2] * was).sum(dim=2).mean()
    return scores.logsumexp(0) - scores[0] + _KEEP * left


def _stacked(gallery: Gallery, row: CandidateList, chosen: np.ndarray) -> torch.Tensor:
    """The query and chosen candidates, float32 (1 + K, P, C)."""
    mapped = gallery.mapped[torch.from_numpy(row.candidates[chosen])]
    return torch.cat([gallery.queries[row.query][None], mapped]).float()


@torch.no_grad()
def recall(network: DSFormer, gallery: Gallery, lists: list[CandidateList]) -> float:
    """Recall@1 in %: how often a right candidate has the highest score, as a mean of domains."""
    at, hits = positions((network.local.side,) * 2), {}
    for row in lists:
        local = network.local(_stacked(gallery, row, np.arange(len(row.candidates))))
        best = vote(local[0], local[1:], torch.from_numpy(row.similarity), at).argmax()
        hits.setdefault(row.domain, []).append(row.right[best])
    return 100 * float(np.mean([np.mean(h) for h in hits.values()]))

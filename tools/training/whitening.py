# SPDX-License-Identifier: Apache-2.0
"""PCA-whitening as a linear layer, and the layers of a student that are made in closed form.

The principal axes of what a network sees of training pictures keep nearly all that it tells of
places of any kind; a layer shaped by gradient descent alone keeps only what the training places
needed. So the layers above the body start in closed form, are trained along with it, lest it
should learn for layers that are out of date, and are fitted again in the end.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import islice

import cv2
import faiss
import numpy as np
import torch
from torch import nn

from ashtkd_ros.errors import VprError
from ashtkd_ros.network.embedder import resize
from tools.training.data.views import Views
from tools.training.networks.layers import unit
from tools.training.networks.local import CENTRES
from tools.training.networks.student import DSFormer

POWER = 0.5


@torch.no_grad()
def whitening_layer(vectors: torch.Tensor, dimensions: int, power: float = POWER) -> nn.Linear:
    """PCA-whitening learned on vectors (N, C), N > dimensions, as a layer C → dimensions.

    x → W (x - mean), W = U_d^T / sqrt(eigenvalue)^power (Jégou & Chum, ECCV 2012); the caller
    brings the result to length 1.
    """
    vectors = vectors.float()
    if len(vectors) <= dimensions:
        raise VprError(
            f'{len(vectors)} pictures cannot give {dimensions} whitened dimensions; take more '
            'pictures or fewer dimensions'
        )
    mean = vectors.mean(0)
    values, axes = torch.linalg.eigh(torch.cov((vectors - mean).T))
    order = values.argsort(descending=True)[:dimensions]
    layer = nn.Linear(vectors.shape[1], dimensions)
    layer.weight.copy_((axes[:, order] / values[order].clamp(min=1e-9).sqrt() ** power).T)
    layer.bias.copy_(-layer.weight @ mean)
    return layer


def describe_pictures(
    network: DSFormer, jpegs: list[np.ndarray], names: Sequence[str] = ('descriptor',)
) -> list[torch.Tensor]:
    """The same as `describe_images` for encoded pictures."""
    pictures = (cv2.imdecode(j, cv2.IMREAD_COLOR)[..., ::-1] for j in jpegs)
    return describe_images(network, pictures, names)


@torch.no_grad()
def describe_images(
    network: DSFormer, images: Iterable[np.ndarray], names: Sequence[str] = ('descriptor',)
) -> list[torch.Tensor]:
    """Some outputs, by their names in `NetworkOutput`, for images uint8 (H, W, 3) RGB of any size.

    float32, those of positions float16; `sums` are those of all levels side by side.
    """
    found, size, images = defaultdict(list), (network.config.image_size,) * 2, iter(images)
    while some := [resize(image, size) for image in islice(images, 32)]:
        x = torch.from_numpy(np.stack(some)).permute(0, 3, 1, 2)
        outputs = network.describe(x.float() / 255)
        for name in names:
            value = getattr(outputs, name)
            value = torch.cat(value, dim=1) if name == 'sums' else value
            found[name].append(value.half() if value.dim() == 3 else value)
    return [torch.cat(found[name]) for name in names]


def some_of_whole(views: Views, pictures: int | None = None) -> list[int]:
    """The rows of about `pictures` whole pictures, by default all."""
    rows = views.whole()
    return rows[:: max(1, len(rows) // (pictures or len(rows)))]


@torch.no_grad()
def start_layers(network: DSFormer, views: Views, pictures: int, new_local: bool = True) -> None:
    """Start the layers above the body in closed form, from about `pictures` whole pictures.

    The last layer as a whitening, the local one, if it is new, as the principal axes of what it
    sees, and the layout-free half on top of it. So no layer has to be found by chance, and all of
    them can be trained along.
    """
    jpegs = [views.jpegs[row] for row in some_of_whole(views, pictures)]
    if network.local is None:
        _fit(network, *describe_pictures(network.eval(), jpegs, ('sums',)))
        return
    sums, stacked = describe_pictures(network.eval(), jpegs, ('sums', 'stacked'))
    if new_local:
        rows = stacked[:: max(1, len(stacked) // 800)].flatten(0, 1)
        network.local.project = whitening_layer(rows, network.config.local)
    local = torch.cat([network.local(part.float()).half() for part in stacked.split(256)])
    _fit(network, sums, local)


def finish(
    network: DSFormer, views: Views, pictures: int | None = None, power: float = POWER
) -> None:
    """Fit the layers of the descriptor to what the trained network sees; every student's end.

    They are the whitening of the levels' sums, and the layout-free half: centres, whitening and
    axes. Local features stay as they were trained. `pictures`: about how many, by default all.
    """
    jpegs = [views.jpegs[row] for row in some_of_whole(views, pictures)]
    names = ('sums', 'local') if network.local else ('sums',)
    _fit(network, *describe_pictures(network.eval(), jpegs, names), power=power)


@torch.no_grad()
def _fit(
    network: DSFormer,
    sums: torch.Tensor,
    local: torch.Tensor | None = None,
    power: float = POWER,
) -> None:
    """The layers of the descriptor, from sums (N, C) and local features float16 (N, P, L)."""
    network.project = whitening_layer(sums, network.config.dimensions, power)
    if local is None:
        return
    combine, parts = network.combine, local.split(256)
    some = local[
        ::2, torch.randperm(local.shape[1], generator=torch.Generator().manual_seed(0))[:40]
    ]
    combine.centres.copy_(_centres(some.flatten(0, 1)))
    residuals = torch.cat([combine.residuals(part.float()) for part in parts])
    combine.whiten = whitening_layer(residuals, network.config.free_dimensions, power)
    halves = combine.halves(unit(network.project(sums)), residuals)
    # Axes of the second moment, not of the covariance: a rotation keeps every inner product.
    _, axes = torch.linalg.eigh(halves.T @ halves)
    combine.turn.weight.copy_(axes.flip(1)[:, : network.config.combined].T)


def _centres(features: torch.Tensor) -> torch.Tensor:
    """Unit vectors (CENTRES, L) in the middle of clusters of local features (N, L)."""
    clusters = faiss.Kmeans(
        features.shape[1], CENTRES, niter=20, spherical=True, seed=0, min_points_per_centroid=1
    )
    clusters.train(np.ascontiguousarray(features.float().numpy()))
    return torch.from_numpy(clusters.centroids)

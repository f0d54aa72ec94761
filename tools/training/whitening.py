# SPDX-License-Identifier: Apache-2.0
"""PCA-whitening as a linear layer: of frozen trunks' vectors, and the last layer of our networks.

The last layer of a student or an APFormer is computed, not trained. The principal axes of the
levels' sums on training pictures keep nearly all that the sums tell of places of any kind. A layer
shaped by gradient descent keeps only what the training places needed.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import nn

from ashtkd_ros.errors import VprError
from ashtkd_ros.network.embedder import resize
from tools.training.data.views import Views
from tools.training.networks.layers import NetworkOutput
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


@torch.no_grad()
def describe_pictures(network: DSFormer, jpegs: list[np.ndarray]) -> NetworkOutput:
    """The outputs for encoded pictures of any size, float32, without the salient maps."""
    descriptors, sums, local, size = [], [], [], (network.config.image_size,) * 2
    for start in range(0, len(jpegs), 32):
        pictures = [cv2.imdecode(j, cv2.IMREAD_COLOR) for j in jpegs[start : start + 32]]
        pictures = [resize(p, size) for p in pictures]
        x = torch.from_numpy(np.stack(pictures)[..., ::-1].copy()).permute(0, 3, 1, 2)
        outputs = network.describe(x.float() / 255)
        descriptors.append(outputs.descriptor)
        sums.append(outputs.sums)
        if outputs.local is not None:
            local.append(outputs.local)
    return NetworkOutput(
        torch.cat(descriptors),
        [torch.cat(s) for s in zip(*sums, strict=True)],
        [],
        torch.cat(local) if local else None,
    )


def sums_of_whole(
    network: DSFormer, views: Views, pictures: int | None = None
) -> tuple[list[int], torch.Tensor]:
    """About `pictures` whole pictures, by default all: their rows, and the levels' sums (N, C)."""
    rows = views.whole()
    some = rows[:: max(1, len(rows) // (pictures or len(rows)))]
    outputs = describe_pictures(network.eval(), [views.jpegs[row] for row in some])
    return some, torch.cat(outputs.sums, dim=1)


def fit_projection(
    network: DSFormer, views: Views, pictures: int | None = None, power: float = POWER
) -> None:
    """Make a student's last layer the whitening of what its levels sum up of whole pictures.

    `pictures`: about how many of them, by default all.
    """
    _, sums = sums_of_whole(network, views, pictures)
    network.project = whitening_layer(sums, network.config.dimensions, power)

# SPDX-License-Identifier: Apache-2.0
"""A finished teacher: a frozen network that is known by its outputs for every fixed view.

It is an APFormer above a frozen trunk, or the trunk's own pooled vector, whitened.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from tools.training.networks.layers import NetworkOutput
from tools.training.networks.trunk import FrozenTrunk


class SharedTrunk:
    """A frozen trunk that several teachers use: it looks at a batch of images once.

    The file is read when the first images come.
    """

    def __init__(self, path: Path):
        self._path, self._trunk = path, None
        self._images, self._features = None, None

    def features(self, images: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor]:
        """As `FrozenTrunk.features`; the last batch is remembered."""
        if images is not self._images:
            self._trunk = self._trunk or FrozenTrunk(self._path)
            self._images, self._features = images, self._trunk.features(images)
        return self._features


class Teacher:
    """A trained and frozen teacher.

    `outputs`: float16, a row a fixed view, descriptors of length 1. Called with images float32
    (B, 3, S, S) RGB in [0, 1], the teacher gives the same for them, float32, computed on the fly.
    `axes`: file of the axes that the maps of `trunk` are reduced to.
    """

    def __init__(
        self, name: str, outputs: NetworkOutput, network: nn.Module, trunk: SharedTrunk, axes: Path
    ):
        self.name, self.outputs = name, outputs
        self._network, self._trunk, self._axes = network.eval(), trunk, axes

    @torch.no_grad()
    def __call__(self, images: torch.Tensor) -> NetworkOutput:
        feature_map, vectors = self._trunk.features(images)
        self._network.to(vectors.device)
        maps = None if feature_map is None else reduced(feature_map, self._axes)
        return self.of_features(maps, vectors)

    @torch.no_grad()
    def of_features(self, maps: torch.Tensor | None, vectors: torch.Tensor) -> NetworkOutput:
        """Outputs for what its trunk computed: reduced maps (B, c, h, w), vectors (B, V)."""
        if isinstance(self._network, nn.Linear):
            return NetworkOutput(F.normalize(self._network(vectors), dim=1), [], [])
        outputs = self._network.describe(maps)
        return outputs._replace(descriptor=F.normalize(outputs.descriptor, dim=1))


def reduced(feature_map: torch.Tensor, axes: Path) -> torch.Tensor:
    """A trunk's map (B, C, h, w) in the principal axes of a file, (c, C): (B, c, h, w)."""
    onto = torch.from_numpy(np.load(axes)).to(feature_map.device)
    return torch.einsum('dc,bchw->bdhw', onto, feature_map)

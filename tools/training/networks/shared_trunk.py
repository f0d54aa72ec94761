# SPDX-License-Identifier: Apache-2.0
"""A frozen trunk as teachers take it: pooled vectors, and whitened maps of 14 x 14 positions."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from tools.training.networks.trunk import FrozenTrunk

SIDE = 14  # rows and columns of the maps that teach; trunks of another grid have none


class TrunkOutput(NamedTuple):
    """What a frozen trunk makes of B images, float32.

    `maps`: (B, c, 14, 14), whitened, each position of length 1, None where the trunk has another
    grid or no map; `whole`: (B, C), GeM of the whole map, or the network's
    own descriptor; `quarters`: (B, 4C), GeM of the 2 x 2 quarters, None without a map. Both of
    length 1.
    """

    maps: torch.Tensor | None
    whole: torch.Tensor
    quarters: torch.Tensor | None

    def pooled(self) -> torch.Tensor:
        """The pooled vectors side by side, (B, C) or (B, 5C): `trunk.regional_gem`."""
        parts = [self.whole] if self.quarters is None else [self.whole, self.quarters]
        return torch.cat(parts, dim=1)


class SharedTrunk:
    """A frozen trunk that several teachers use: it looks at a batch of images once.

    `whitening`: file of what its maps are whitened by, see `whitened`. Both files are read when
    they are needed.
    """

    def __init__(self, path: Path, whitening: Path):
        self._path, self._whitening, self._trunk = path, whitening, None
        self._images, self._features = None, None

    def raw(self, images: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor]:
        """As `FrozenTrunk.features`."""
        self._trunk = self._trunk or FrozenTrunk(self._path)
        return self._trunk.features(images)

    def features(self, images: torch.Tensor) -> TrunkOutput:
        """float32 (B, 3, H, W) RGB in [0, 1] → what the trunk makes of them.

        The last batch is remembered.
        """
        if images is not self._images:
            feature_map, vectors = self.raw(images)
            channels = vectors.shape[1] if feature_map is None else feature_map.shape[1]
            quarters = None if feature_map is None else vectors[:, channels:]
            maps = None
            if has_grid(feature_map):
                maps = whitened(feature_map, self._whitening)
            self._images = images
            self._features = TrunkOutput(maps, vectors[:, :channels], quarters)
        return self._features


def has_grid(feature_map: torch.Tensor | None) -> bool:
    """Whether a map (B, C, h, w) has the 14 x 14 positions that teachers speak of."""
    return feature_map is not None and feature_map.shape[2:] == (SIDE, SIDE)


def whitened(feature_map: torch.Tensor, whitening: Path) -> torch.Tensor:
    """A trunk's map (B, C, h, w) → (B, c, h, w), each position of length 1.

    `whitening`: file of float32 (c, C + 1), the weights and the biases of a linear layer.
    """
    table = torch.from_numpy(np.load(whitening)).to(feature_map.device)
    return F.normalize(F.conv2d(feature_map, table[:, :-1, None, None], table[:, -1]), dim=1)

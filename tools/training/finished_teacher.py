# SPDX-License-Identifier: Apache-2.0
"""A finished teacher: a frozen network that is known by its outputs for every fixed view.

It is an APFormer above a frozen trunk, or the trunk's own pooled vector, whitened.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from tools.training.data.batch import Targets
from tools.training.data.rows import Rows
from tools.training.networks.shared_trunk import SharedTrunk, TrunkOutput


class KnownOutputs(NamedTuple):
    """A teacher's outputs for every fixed view, float16, a row a view, as `Targets` has them."""

    descriptors: Rows
    maps: Rows | None = None
    sums: Sequence[Rows] = ()
    salient: Sequence[Rows] = ()


class Teacher:
    """A trained and frozen teacher.

    `kind`: 'whole' or 'quarters', how its trunk is pooled, or 'apformer'; `descriptors`: float16
    (N, D), of every fixed view, length 1; `scale`: mean and deviation of its similarities between
    different places. Called with images float32 (B, 3, S, S) RGB in [0, 1], it gives its targets
    for them, computed on the fly.
    """

    def __init__(
        self,
        name: str,
        kind: str,
        known: KnownOutputs,
        scale: tuple[float, float],
        network: nn.Module,
        trunk: SharedTrunk,
    ):
        self.name, self.kind, self.scale = name, kind, scale
        self.descriptors, self._known = known.descriptors, known
        self._network, self._trunk = network.eval(), trunk

    def outputs(self, rows: Sequence[int]) -> Targets:
        """What it says of these fixed views.

        Several teachers of one training have one trunk: its maps come with the first of them.
        """
        known = self._known
        maps = None if known.maps is None else _positions(_read(known.maps, rows))
        sums, salient = ([_read(x, rows) for x in xs] for xs in (known.sums, known.salient))
        return Targets(_read(known.descriptors, rows), maps, sums, salient)

    def vectors(self, rows: Sequence[int]) -> Targets:
        """The same without maps and salient maps, which are large."""
        sums = [_read(x, rows) for x in self._known.sums]
        return Targets(_read(self._known.descriptors, rows), None, sums)

    def standardised(self, similarity: torch.Tensor) -> torch.Tensor:
        """Its similarities as deviations above the mean between different places, any shape.

        Teachers differ in scale; mixed as they are, the one that spreads most would rule.
        """
        mean, deviation = self.scale
        return (similarity - mean) / deviation

    @torch.no_grad()
    def __call__(self, images: torch.Tensor) -> Targets:
        return described(self._network, self._trunk.features(images))


@torch.no_grad()
def described(network: nn.Module, features: TrunkOutput) -> Targets:
    """What a teacher's network, an APFormer or a whitening, says of what its trunk has seen."""
    maps = None if features.maps is None else _positions(features.maps)
    if isinstance(network, nn.Linear):
        # One that was fitted to the whole alone takes nothing of the quarters.
        vectors = features.pooled()[:, : network.in_features]
        descriptor = network.to(vectors.device)(vectors)
        return Targets(F.normalize(descriptor, dim=1), maps)
    outputs = network.to(features.maps.device).describe(features.maps)
    descriptor = F.normalize(outputs.descriptor, dim=1)
    return Targets(descriptor, maps, outputs.sums, outputs.maps)


def _positions(maps: torch.Tensor) -> torch.Tensor:
    """(B, c, h, w) → (B, P, c), row by row."""
    return maps.flatten(2).transpose(1, 2)


def _read(rows_of: Rows, rows: Sequence[int]) -> torch.Tensor:
    return torch.from_numpy(rows_of[rows]).float()

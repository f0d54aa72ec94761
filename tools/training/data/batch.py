# SPDX-License-Identifier: Apache-2.0
"""One step of training: what the network is shown, what is known of it, what teachers say of it.

Every view is drawn afresh; teachers have seen other, fixed views of the same pictures, clean.
Positions are those of grids, row by row; -1 is a position without partner.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch


class Targets(NamedTuple):
    """What one teacher says of B fixed views: `descriptor` float32 (B, D), length 1.

    `maps`: float32 (B, P, C), a row of length 1 for each position of the teacher's grid, or None.
    Of an APFormer also `sums`: each level's salient sums (B, K*C), and `salient`: each level's
    salient maps (B, K, h, w).
    """

    descriptor: torch.Tensor
    maps: torch.Tensor | None = None
    sums: Sequence[torch.Tensor] = ()
    salient: Sequence[torch.Tensor] = ()

    def to(self, device: torch.device) -> Targets:
        """The same as float32 on a device."""

        def moved(x: torch.Tensor | None) -> torch.Tensor | None:
            return None if x is None else x.to(device, torch.float32)

        levels = ([*map(moved, values)] for values in (self.sums, self.salient))
        return Targets(moved(self.descriptor), moved(self.maps), *levels)


class Matches(NamedTuple):
    """M pairs of views in a batch that show the same points of the world.

    `first`, `second`: int64 (M,), numbers of views; `partners`: int64 (M, P), the position of the
    second view that shows what a position of the first shows; `of_targets`: the same for the
    teachers' views of the two, int64 (M, P'), all -1 where they are not known.
    """

    first: torch.Tensor
    second: torch.Tensor
    partners: torch.Tensor
    of_targets: torch.Tensor


class Batch(NamedTuple):
    """B views; half of a place's views are queries, the others of the database branch.

    `inputs`: float32 (B, 3, S, S) RGB in [0, 1], what the network takes; `places`: int64 (B,), -1
    where the place is unknown; `query`: bool (B,); `pictures`: int64 (B,), numbers of the
    pictures; `targets`: each teacher's, of a fixed view of the same picture; `target_partners`:
    int64 (B, P), the position of that view that shows what a position of the input shows;
    `groups`: int64 (B,), places of one group may be the same in truth, though not within a batch;
    None: all of them may. `as_seen`: each teacher's, without maps, of the very part of the picture
    that the input shows, clean; `has_as_seen`: bool (B,), the views for which that is known.
    """

    inputs: torch.Tensor
    places: torch.Tensor
    query: torch.Tensor
    pictures: torch.Tensor
    targets: list[Targets]
    target_partners: torch.Tensor
    matches: Matches
    groups: torch.Tensor | None
    as_seen: list[Targets]
    has_as_seen: torch.Tensor

    def to(self, device: torch.device) -> Batch:
        """The same on a device, but for the inputs, which are this process's own."""
        matches = Matches(*(x.to(device) for x in self.matches))
        names = ('places', 'query', 'pictures', 'target_partners', 'groups', 'has_as_seen')
        moved = {n: x.to(device) for n in names if (x := getattr(self, n)) is not None}
        targets = [t.to(device) for t in self.targets]
        as_seen = [t.to(device) for t in self.as_seen]
        return self._replace(targets=targets, matches=matches, as_seen=as_seen, **moved)

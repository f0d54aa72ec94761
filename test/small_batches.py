# SPDX-License-Identifier: Apache-2.0
"""Batches and teachers made up for tests of the objective and of the loop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from small_student import torch

from tools.training.data.batch import Batch, Matches, Targets

F = torch.nn.functional
SIDE = 14  # of the teachers' grid


@dataclass
class MadeUpTeacher:
    """Says of row r what it says of its number `seen[r]`, at random, but always the same."""

    kind: str = 'whole'
    sizes: tuple[int, int] = (10, 6)
    scale: tuple[float, float] = (0.0, 0.3)
    seed: int = 0
    levels: int = 0
    with_map: bool = True

    def outputs(self, rows: Sequence[int]) -> Targets:
        """Descriptors (B, 10), maps (B, 196, 6), sums (B, 5) and two salient maps a level."""
        each = [self._row(int(row)) for row in rows]
        descriptor, maps, sums, salient = (torch.stack(x) for x in zip(*each, strict=True))
        levels = range(self.levels)
        return Targets(
            descriptor,
            maps if self.with_map else None,
            [sums[:, i] for i in levels],
            [salient[:, i] for i in levels],
        )

    def _row(self, row: int) -> tuple[torch.Tensor, ...]:
        chance = torch.Generator().manual_seed(1000 * self.seed + row)
        descriptor, maps, sums, salient = (
            torch.randn(*size, generator=chance)
            for size in (
                self.sizes[:1],
                (SIDE**2, self.sizes[1]),
                (max(1, self.levels), 5),
                (max(1, self.levels), 3, SIDE**2),
            )
        )
        salient = salient.softmax(dim=2).unflatten(2, (SIDE, SIDE))
        return F.normalize(descriptor, dim=0), F.normalize(maps, dim=1), sums, salient


def made_up_batch(
    teachers: Sequence[MadeUpTeacher] = (),
    places: Sequence[int] = (0, 0, 1, 1, 2, 2, -1, -1),
    pixels: int = 64,
    seed: int = 0,
) -> Batch:
    """Two views of each picture, a query and one of the database, nothing moved between them.

    Pictures are coarse noise, the second view is the first with a little of it.
    """
    chance = torch.Generator().manual_seed(seed)
    count, side = len(places), pixels // 16
    coarse = torch.rand(count // 2, 3, 8, 8, generator=chance).repeat_interleave(2, 0)
    images = F.interpolate(coarse, pixels, mode='bilinear')
    images = (images + 0.1 * torch.rand(images.shape, generator=chance)).clamp(0, 1)
    pictures = torch.arange(count) // 2 + 100 * seed
    rows = torch.arange(side) * SIDE // side
    partners = (rows[:, None] * SIDE + rows).flatten().expand(count, side**2)
    first, second = torch.arange(0, count, 2), torch.arange(1, count, 2)
    same, theirs = (torch.arange(n).expand(count // 2, n) for n in (side**2, SIDE**2))
    matches = Matches(first, second, same, theirs)
    targets = [t.outputs(pictures.tolist()) for t in teachers]
    query = torch.arange(count) % 2 == 0
    place = torch.tensor(places)
    as_seen, known = list(targets), torch.ones(count, dtype=torch.bool)
    found = targets, partners, matches, place, as_seen, known
    return Batch(images, place, query, pictures, *found)

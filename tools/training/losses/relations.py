# SPDX-License-Identifier: Apache-2.0
"""Views, what is known of them, and which of them show the same, may, or do not.

See doc/method.md, "Teaching"; the symbols are those of this package's docstring.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from tools.training.losses.ranking import same_place


class KnownViews(NamedTuple):
    """N views: the student's descriptors (N, C) and each teacher's (N, D), and their numbers.

    `places`, `pictures`, `groups`: int64 (N,). Places of one group may be the same in truth; -1 is
    a group in which anything may be.
    """

    descriptor: torch.Tensor
    targets: list[torch.Tensor]
    places: torch.Tensor
    pictures: torch.Tensor
    groups: torch.Tensor

    def rows(self, chosen: torch.Tensor) -> KnownViews:
        """Some of the views: bool (N,) or int64 (M,)."""
        targets = [t[chosen] for t in self.targets]
        numbers = (x[chosen] for x in (self.places, self.pictures, self.groups))
        return KnownViews(self.descriptor[chosen], targets, *numbers)

    def joined(self, more: KnownViews) -> KnownViews:
        """These views, then others."""
        targets = [torch.cat(pair) for pair in zip(self.targets, more.targets, strict=True)]
        pairs = zip(self[2:], more[2:], strict=True)
        descriptor = torch.cat([self.descriptor, more.descriptor])
        return KnownViews(descriptor, targets, *(torch.cat(pair) for pair in pairs))


class Relations(NamedTuple):
    """What is known of B views of a batch and V views, those of the batch and a memory's.

    All bool (B, V). `positive`: the same place or picture; `negative`: certainly another place;
    `candidates`: views of the other branch and of the memory that a view may be ranked with.
    """

    positive: torch.Tensor
    negative: torch.Tensor
    candidates: torch.Tensor

    def certain(self, places: torch.Tensor) -> torch.Tensor:
        """bool (B, V): the candidates of which it is known whether they are right.

        Those of a view of unknown place, `places` (B,) -1, are all of them.
        """
        return self.candidates & (self.positive | self.negative | (places < 0)[:, None])


def relations(views: KnownViews, memory: KnownViews, query: torch.Tensor) -> Relations:
    """What is known of a batch and a memory; `query`: bool (B,), else of the database branch.

    Places of a batch are drawn so that no two are the same in truth; places of the memory were
    not, and may be the same within a group. What the memory knows of the same picture says
    nothing new: it is neither positive nor negative.
    """
    count = len(views.places)
    every = views.joined(memory)
    same_picture = views.pictures[:, None] == every.pictures
    place = same_place(views.places, every.places)
    both_known = (views.places >= 0)[:, None] & (every.places >= 0)
    certain = (views.groups[:, None] != every.groups) & (views.groups >= 0)[:, None]
    certain &= every.groups >= 0
    certain[:, :count] = True
    fresh = ~same_picture
    fresh[:, :count] = True
    candidates = fresh.clone()
    candidates[:, :count] = query[:, None] != query
    positive = (place | same_picture) & fresh
    negative = both_known & certain & ~place & ~same_picture
    return Relations(positive, negative, candidates)

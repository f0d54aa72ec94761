# SPDX-License-Identifier: Apache-2.0
"""What a network is shown at each step, and the targets that its teachers set for it.

Fixed views: the teachers' outputs are looked up by row. Fresh views: every view is drawn anew and
the teachers compute their outputs on the fly. Either way a step's images are a function of (seed,
step, number).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset

from ashtkd_ros.errors import VprError
from ashtkd_ros.images.image_file import read_image
from ashtkd_ros.network.embedder import resize
from tools.training.config import Schedule
from tools.training.data.augment import change_viewpoint, degrade
from tools.training.data.place_batches import PlaceBatches
from tools.training.data.places import TrainingPlaces
from tools.training.data.views import Views
from tools.training.networks.layers import NetworkOutput
from tools.training.processes import gathered

Entry = tuple[int, int, int, int, bool]  # step, number in the batch, row, place, is a query
_WHOLE = 0.3  # share of fresh views that are the whole picture


class Batch(NamedTuple):
    """One step of training: B images and what is known of them.

    `inputs`: float32 (B, ...), what the network takes; `targets`: each teacher's outputs for the
    same images; `places`: int64 (B,); `query`: bool (B,), else a view of the database branch.
    """

    inputs: torch.Tensor
    targets: list[NetworkOutput]
    places: torch.Tensor
    query: torch.Tensor


@dataclass(frozen=True)
class TrainingData:
    """Places and the fixed views of their pictures, drawn in batches."""

    places: TrainingPlaces
    views: Views
    views_of_picture: int

    def batches(self, schedule: Schedule) -> list[list[Entry]]:
        """The entries of every step; half of a place's views, the first, is for the database."""
        draw = PlaceBatches(
            self.places,
            schedule.places,
            schedule.views,
            schedule.seed,
            domains=set(schedule.domains) or None,
            views_of_picture=self.views_of_picture,
        )
        return [self._entries(step, draw, schedule.views) for step in range(schedule.steps)]

    def _entries(self, step: int, draw: PlaceBatches, views: int) -> list[Entry]:
        entries = []
        for k, (picture, view, place) in enumerate(draw.batch(step)):
            row = self.views.rows[str(self.places.pictures[picture].path), view]
            entries.append((step, k, row, place, k % views >= views // 2))
        return entries


def _labels(entries: list[Entry]) -> tuple[list[int], torch.Tensor, torch.Tensor]:
    _, _, rows, places, query = zip(*entries, strict=True)
    return list(rows), torch.tensor(places), torch.tensor(query)


class FixedViews(Dataset):
    """Entry → float32 (3, size, size) RGB in [0, 1]: the fixed view, degraded afresh.

    `size`: of the network's images, in pixels; `teachers`: finished ones, see `Teacher`.
    """

    def __init__(self, views: Views, schedule: Schedule, size: int, teachers: Sequence):
        self.views, self.schedule, self.size, self.teachers = views, schedule, size, teachers

    def __getitem__(self, entry: Entry) -> torch.Tensor:
        cv2.setNumThreads(0)
        rng = np.random.default_rng((self.schedule.seed, *entry[:2]))
        return _as_tensor(self._degraded(self.views.image(entry[2]), entry, rng))

    def batch(self, images: torch.Tensor, entries: list[Entry]) -> Batch:
        """The batch of a step.

        Each of several processes has its own share of the images, and the targets of all.
        """
        rows, places, query = _labels(entries)
        return Batch(images, [t.outputs(rows) for t in self.teachers], places, query)

    def _degraded(self, image: np.ndarray, entry: Entry, rng: np.random.Generator) -> np.ndarray:
        if image.shape[0] != self.size:
            image = resize(np.ascontiguousarray(image), (self.size, self.size))
        clean = self.schedule.clean_query if entry[4] else self.schedule.clean_database
        return degrade(image, rng) if rng.random() >= clean else image


class FreshViews(FixedViews):
    """Entry → the student's image as in `FixedViews`, and the clean view that the teachers see.

    Both are of a view that is drawn anew, the clean one of the size of the fixed views. Third
    comes whether the picture is gone, so that its fixed view is shown. `teachers`: functions of
    such images (B, 3, S, S), as a `Teacher` is one; `lost`: how many images so far were of
    pictures that are gone.
    """

    teachers: Sequence[Callable[[torch.Tensor], NetworkOutput]]
    lost = 0

    def __getitem__(self, entry: Entry) -> tuple[torch.Tensor, torch.Tensor, bool]:
        cv2.setNumThreads(0)
        rng = np.random.default_rng((self.schedule.seed, *entry[:2]))
        view = self._fresh(entry[2], rng)
        lost = view is None
        if lost:
            view = self.views.image(entry[2])
        return _as_tensor(self._degraded(view, entry, rng)), _as_tensor(view), lost

    def _fresh(self, row: int, rng: np.random.Generator) -> np.ndarray | None:
        size = self.views.size
        try:
            picture = read_image(Path(self.views.path(row)))
        except VprError:
            return None
        if rng.random() < _WHOLE:
            return resize(picture, (size, size))
        return change_viewpoint(picture, rng, size)

    def batch(self, images: list[torch.Tensor], entries: list[Entry]) -> Batch:
        """The batch of a step; each process asks the teachers about its own images."""
        degraded, clean, lost = images
        self.lost += int(lost.sum())
        _, places, query = _labels(entries)
        targets = [gathered(teacher(clean)) for teacher in self.teachers]
        return Batch(degraded, targets, places, query)


class TrunkMaps(Dataset):
    """Entry → a trunk's map of the clean view, float32 (c, h, w): what an APFormer learns from.

    `maps`: float16 (N, c, h, w), a row a fixed view; `teachers`: those that guide it.
    """

    def __init__(self, maps: np.ndarray, teachers: Sequence):
        self.maps, self.teachers = maps, teachers

    def __getitem__(self, entry: Entry) -> torch.Tensor:
        return torch.from_numpy(self.maps[entry[2]]).float()

    batch = FixedViews.batch


def _as_tensor(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1).float() / 255

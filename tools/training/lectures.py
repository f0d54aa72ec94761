# SPDX-License-Identifier: Apache-2.0
"""What a network is shown at each step, and what its teachers say of it.

Fixed views: teachers' words are looked up by row. Fresh views: every view is drawn anew and the
teachers speak on the fly. Either way a step's images are a function of (seed, step, number).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

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
from tools.training.networks.layers import Described
from tools.training.processes import gathered

Entry = tuple[int, int, int, int, bool]  # step, number in the batch, row, place, is a query
# Images, what each teacher says of them, places int64 (B,), query bool (B,).
Lesson = tuple[torch.Tensor, list[Described], torch.Tensor, torch.Tensor]
_WHOLE = 0.3  # share of fresh views that are the whole picture


@dataclass(frozen=True)
class Lectures:
    """Places and the fixed views of their pictures, drawn in batches."""

    places: TrainingPlaces
    views: Views
    views_of_picture: int

    def batches(self, schedule: Schedule) -> list[list[Entry]]:
        """Every step's entries; the first half of a place's views is the database branch's."""
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
        for k, (picture, view, anchor) in enumerate(draw.batch(step)):
            row = self.views.rows[str(self.places.pictures[picture].path), view]
            entries.append((step, k, row, anchor, k % views >= views // 2))
        return entries


def _labels(batch: list[Entry]) -> tuple[list[int], torch.Tensor, torch.Tensor]:
    _, _, rows, places, query = zip(*batch, strict=True)
    return list(rows), torch.tensor(places), torch.tensor(query)


class FixedViews(Dataset):
    """Entry → float32 (3, size, size) RGB in [0, 1]: the fixed view, degraded afresh.

    `teachers`: what each says of every row.
    """

    def __init__(self, views: Views, schedule: Schedule, size: int, teachers: list[Described]):
        self.views, self.schedule, self.size, self.teachers = views, schedule, size, teachers

    def __getitem__(self, entry: Entry) -> torch.Tensor:
        cv2.setNumThreads(0)
        rng = np.random.default_rng((self.schedule.seed, *entry[:2]))
        return _as_tensor(self._degraded(self.views.image(entry[2]), entry, rng))

    def lesson(self, images: torch.Tensor, batch: list[Entry]) -> Lesson:
        """A whole batch. Each of several processes has its own images, and what is said of all."""
        rows, places, query = _labels(batch)
        return images, [t.rows(rows) for t in self.teachers], places, query

    def _degraded(self, image: np.ndarray, entry: Entry, rng: np.random.Generator) -> np.ndarray:
        if image.shape[0] != self.size:
            image = resize(np.ascontiguousarray(image), (self.size, self.size))
        clean = self.schedule.clean_query if entry[4] else self.schedule.clean_database
        return degrade(image, rng) if rng.random() >= clean else image


class FreshViews(FixedViews):
    """Entry → the student's image as in `FixedViews`, and the clean view that the teachers see.

    Both of a view that is drawn anew, the clean one of the size of the fixed views; then whether
    the picture is gone and this is its fixed view. `teachers`: functions of such images
    (B, 3, S, S); `lost`: images so far whose pictures were gone.
    """

    teachers: list[Callable[[torch.Tensor], Described]]
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

    def lesson(self, images: list[torch.Tensor], batch: list[Entry]) -> Lesson:
        """A whole batch; each process asks the teachers of its own images."""
        ours, clean, lost = images
        self.lost += int(lost.sum())
        _, places, query = _labels(batch)
        return ours, [gathered(teach(clean)) for teach in self.teachers], places, query


class TrunkMaps(Dataset):
    """Entry → a trunk's map of the clean view, float32 (c, h, w): what an APFormer learns from."""

    def __init__(self, maps: np.ndarray, teachers: list[Described]):
        self.maps, self.teachers = maps, teachers

    def __getitem__(self, entry: Entry) -> torch.Tensor:
        return torch.from_numpy(self.maps[entry[2]]).float()

    lesson = FixedViews.lesson


def _as_tensor(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1).float() / 255

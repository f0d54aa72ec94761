# SPDX-License-Identifier: Apache-2.0
"""What a network is shown at each step, and the targets that its teachers set for it.

The student sees every picture in a view that is drawn anew; its teachers have seen other, fixed
views of it, and what they said is looked up. A step's images are a function of (seed, step,
number).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Protocol

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset

from ashtkd_ros.images.synthetic_change import degrade, draw_corners, warped
from tools.training.config import Schedule
from tools.training.data.batch import Batch, Matches, Targets
from tools.training.data.correspondence import Correspondence, SeenView
from tools.training.data.place_batches import PlaceBatches
from tools.training.data.places import TrainingPlaces
from tools.training.data.rows import Rows
from tools.training.data.views import Views

_AS_FIXED = 0.6  # share of the student's views that show the part that a fixed view shows
_WHOLE = 0.4  # share of these that are the whole picture, the fixed view 0
_CELL = 16  # pixels of a position of a grid
_LEAST_SHARED = 0.02  # share of the positions that a pair of views has in common at least


class Entry(NamedTuple):
    """An image of a batch: `number` in it, its picture, one of the fixed views of the picture.

    `place`: -1 where it is not known; `query`: else a view of the database branch.
    """

    step: int
    number: int
    picture: int
    view: int
    place: int
    query: bool


class KnownViews(Protocol):
    """A finished teacher, see `finished_teacher.Teacher`."""

    descriptors: Rows
    scale: tuple[float, float]

    def outputs(self, rows: Sequence[int]) -> Targets:
        """What it says of fixed views, by their rows."""

    def vectors(self, rows: Sequence[int]) -> Targets:
        """The same without anything that has positions."""


@dataclass(frozen=True)
class TrainingData:
    """Places, the fixed views of their pictures, and what is known of matching points in them."""

    places: TrainingPlaces
    views: Views
    views_of_picture: int
    scenes: Correspondence = Correspondence()

    def batches(
        self, schedule: Schedule, descriptors: np.ndarray | None = None
    ) -> list[list[Entry]]:
        """The entries of every step; half of a place's views, the first, is for the database.

        `descriptors`: see `PlaceBatches`.
        """
        draw = PlaceBatches(
            self.places,
            schedule.places,
            schedule.views,
            schedule.seed,
            domains=set(schedule.domains) or None,
            views_of_picture=self.views_of_picture,
            unlabelled=schedule.unlabelled,
            group=schedule.group,
            descriptors=descriptors,
        )
        half = schedule.views // 2
        return [
            [
                Entry(step, k, *drawn, k % schedule.views >= half)
                for k, drawn in enumerate(draw.batch(step))
            ]
            for step in range(schedule.steps)
        ]

    def row(self, picture: int, view: int = 0) -> int:
        """The row of a fixed view."""
        return self.views.rows[str(self.places.pictures[picture].path), view]

    def group(self, place: int) -> int:
        """The number of a place's group, -1 for an unknown place."""
        return -1 if place < 0 else self._groups[self.places.places[place].group]

    @cached_property
    def _groups(self) -> dict[str, int]:
        names = dict.fromkeys(place.group for place in self.places.places)
        return {name: number for number, name in enumerate(names)}

    def descriptors(self, teachers: Sequence[KnownViews]) -> np.ndarray | None:
        """float16 (N, D): whole pictures, whose products are the teachers' mean similarities.

        Those of each teacher are measured in its own deviations (`teacher.scale`). A picture that
        cannot be read is 0; None without teachers.
        """
        pictures = [
            i
            for i, picture in enumerate(self.places.pictures)
            if (str(picture.path), 0) in self.views.rows
        ]
        rows, parts = [self.row(i) for i in pictures], []
        for teacher in teachers:
            said = teacher.descriptors[rows].astype(np.float32)
            part = np.zeros((len(self.places.pictures), said.shape[1]), np.float16)
            part[pictures] = said / np.sqrt(teacher.scale[1] * len(teachers))
            parts.append(part)
        return np.concatenate(parts, axis=1) if parts else None


class StudentViews(Dataset):
    """Entry → float32 (3, S, S) RGB in [0, 1]: its picture, seen from elsewhere and degraded.

    `size`: of the network's images, in pixels, unless the schedule's `sizes` say less;
    `teachers`: finished ones, see `KnownViews`.
    """

    def __init__(
        self,
        data: TrainingData,
        schedule: Schedule,
        size: int,
        teachers: Sequence[KnownViews] = (),
    ):
        self.data, self.schedule, self.size, self.teachers = data, schedule, size, teachers

    def __getitem__(self, entry: Entry) -> torch.Tensor:
        cv2.setNumThreads(0)
        seen, _, rng = self._drawn(entry)
        size = self.schedule.size_at(entry.step, self.size)
        image = warped(self.data.views.picture(seen.picture), seen.corners, size)
        clean = self.schedule.clean_query if entry.query else self.schedule.clean_database
        if rng.random() >= clean:
            image = degrade(image, rng)
        return torch.from_numpy(image).permute(2, 0, 1).float() / 255

    def batch(self, images: torch.Tensor, entries: list[Entry]) -> Batch:
        """The batch of a step.

        Each of several processes has its own share of the images, and what is known of all.
        """
        side = self.schedule.size_at(entries[0].step, self.size) // _CELL
        seen, fixed, _ = zip(*(self._drawn(entry) for entry in entries), strict=True)
        pairs = self.schedule.pairs
        return _batch(self.data, self.teachers, images, entries, seen, side, pairs, fixed)

    def _drawn(self, entry: Entry) -> tuple[SeenView, int | None, np.random.Generator]:
        """The part of the picture that is shown, and the generator of what follows.

        Also the fixed view that shows this very part, None where it is another part.
        """
        rng = np.random.default_rng((self.schedule.seed, entry.step, entry.number))
        if rng.random() >= _AS_FIXED:
            path = str(self.data.places.pictures[entry.picture].path)
            return SeenView(path, draw_corners(rng)), None, rng
        is_whole = rng.random() < _WHOLE or self.data.views_of_picture == 1
        fixed = 0 if is_whole else int(rng.integers(1, self.data.views_of_picture))
        return self.data.views.seen(self.data.row(entry.picture, fixed)), fixed, rng


class TrunkMaps(Dataset):
    """Entry → a trunk's map of its fixed view, float32 (c, h, w): what an APFormer learns from.

    `maps`: float16 (N, c, h, w), a row a fixed view; `teachers`: those that guide it.
    """

    def __init__(self, data: TrainingData, maps: Rows, teachers: Sequence[KnownViews]):
        self.data, self.maps, self.teachers = data, maps, teachers

    def __getitem__(self, entry: Entry) -> torch.Tensor:
        return torch.from_numpy(self.maps[self.data.row(entry.picture, entry.view)]).float()

    def batch(self, inputs: torch.Tensor, entries: list[Entry]) -> Batch:
        """The batch of a step, see `StudentViews.batch`."""
        seen = [self.data.views.seen(self.data.row(e.picture, e.view)) for e in entries]
        fixed = [e.view for e in entries]
        # What its guides say is of the next view of the picture.
        count = self.data.views_of_picture
        entries = [e._replace(view=(e.view + 1) % count) for e in entries]
        side = self.maps.shape[-1]
        return _batch(self.data, self.teachers, inputs, entries, seen, side, 0, fixed)


def _batch(
    data: TrainingData,
    teachers: Sequence[KnownViews],
    inputs: torch.Tensor,
    entries: list[Entry],
    seen: Sequence[SeenView],
    side: int,
    pairs: int,
    fixed: Sequence[int | None],
) -> Batch:
    """A batch of views `seen`, of which teachers saw the fixed views in `entries`.

    `side`: positions along a side of the network's grid; `pairs`: at most so many matches;
    `fixed`: the fixed views that show what is seen, None where there is none.
    """
    as_seen = [data.row(e.picture, f or 0) for e, f in zip(entries, fixed, strict=True)]
    rows = [data.row(e.picture, e.view) for e in entries]
    shown, side_t = [data.views.seen(row) for row in rows], data.views.size // _CELL
    between = data.scenes.partners_between
    partners = [between(a, b, side, side_t) for a, b in zip(seen, shown, strict=True)]
    return Batch(
        inputs,
        torch.tensor([e.place for e in entries]),
        torch.tensor([e.query for e in entries]),
        torch.tensor([e.picture for e in entries]),
        [teacher.outputs(rows) for teacher in teachers],
        torch.from_numpy(np.stack(partners)),
        _matches(data.scenes, entries, seen, shown, (side, side_t), pairs),
        torch.tensor([data.group(e.place) for e in entries]),
        [teacher.vectors(as_seen) for teacher in teachers],
        torch.tensor([f is not None for f in fixed]),
    )


def _matches(
    scenes: Correspondence,
    entries: list[Entry],
    seen: Sequence[SeenView],
    shown: list[SeenView],
    sides: tuple[int, int],
    pairs: int,
) -> Matches:
    """Matches of queries with views of the database: of one picture, or of pictures of one place.

    Pairs without a common part do not count.
    """
    found = []
    for i, j in _drawn_pairs(scenes, entries, seen, pairs):
        if len(found) == pairs:
            break
        partners = scenes.partners_between(seen[i], seen[j], sides[0], sides[0])
        if np.mean(partners >= 0) >= _LEAST_SHARED:
            of_targets = scenes.partners_between(shown[i], shown[j], sides[1], sides[1])
            found.append((i, j, partners, of_targets))
    first, second, *partners = zip(*found, strict=True) if found else ((), (), (), ())
    return Matches(
        *(torch.tensor(numbers, dtype=torch.int64) for numbers in (first, second)),
        *(
            torch.from_numpy(np.array(p, np.int64).reshape(len(found), side**2))
            for p, side in zip(partners, sides, strict=True)
        ),
    )


def _drawn_pairs(
    scenes: Correspondence, entries: list[Entry], seen: Sequence[SeenView], pairs: int
) -> list[tuple[int, int]]:
    """Numbers of views that may match, in an order that is drawn anew each step.

    Of the first `pairs` half are of two pictures, where there are so many.
    """
    possible = [
        (q.number, d.number)
        for q in entries
        if q.query
        for d in entries
        if not d.query
        and (q.picture == d.picture or q.place == d.place >= 0)
        and scenes.knows(seen[q.number].picture, seen[d.number].picture)
    ]
    drawn = np.random.default_rng(entries[0].step).permutation(possible).tolist()
    real = [(i, j) for i, j in drawn if entries[i].picture != entries[j].picture]
    first = set(real[: pairs // 2])
    return sorted(map(tuple, drawn), key=lambda pair: pair not in first)

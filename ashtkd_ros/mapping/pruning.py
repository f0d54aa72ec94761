# SPDX-License-Identifier: Apache-2.0
"""Pictures that a map can do without: they never win, or repeat their neighbours.

Each picture of the map is changed synthetically some times, and the map is asked where that was
taken, by the descriptor alone. Right is the same place, or a picture that can stand in for it. A
picture may go if one that can stand in for it stays, or if it is of no use: nowhere near is it the
answer to anything, nor is anything near the answer to it. So it goes on as long as enough answers
are right.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from ashtkd_ros.errors import VprError
from ashtkd_ros.mapping.calibration import changed_picture
from ashtkd_ros.mapping.stand_ins import StandIns
from ashtkd_ros.maps.place_map import PlaceMap
from ashtkd_ros.maps.places import Places
from ashtkd_ros.network.embedder import Embedder
from ashtkd_ros.network.parallel_embedding import in_parallel
from ashtkd_ros.recognition.matcher import MatcherConfig, Neighbourhood

VIEWS = 3  # changed pictures of each picture
_DEPTH = 64  # answers to each that are looked at


@dataclass(frozen=True)
class Pruned:
    """Which pictures may go, bool (N,); how often the map was asked, and which shares of the
    answers are right before and after."""

    dropped: np.ndarray
    asked: int
    before: float
    after: float


def prune(
    place_map: PlaceMap,
    embedder: Embedder,
    stand_ins: StandIns,
    keep_recall: float,
    workers: int = 0,
) -> Pruned:
    """What a map can do without; `keep_recall`: share of its recall that must stay, 0 to 1.

    VprError where the map has no pictures to ask it with.
    """
    asked, ranks = [], []
    jobs = _questions(place_map)
    total = VIEWS * int(place_map.places.pictures.any(axis=1).sum())
    with tqdm(total=total, desc='asked', unit='picture', delay=2, disable=None) as bar:
        for row, descriptor in in_parallel(embedder.embed, jobs, workers):
            asked.append(row)
            ranks.append(place_map.search(descriptor, _DEPTH)[0])
            bar.update()
    if not asked:
        raise VprError(
            f'{place_map.folder}: has no sound pictures to ask it with; build it with --thumbnails'
        )
    near = Neighbourhood(place_map.places, MatcherConfig())
    hits = np.array([near(row, found[0]) for row, found in zip(asked, ranks, strict=True)])
    return Pruning(place_map.places, np.array(asked), np.stack(ranks), hits, stand_ins).run(
        keep_recall
    )


def _questions(place_map: PlaceMap) -> Iterator[tuple[int, tuple[np.ndarray, str]]]:
    """Row and changed picture, VIEWS times for each row."""
    for seed in range(VIEWS):
        for row in range(len(place_map.places)):
            for image in changed_picture(place_map.picture, place_map, row, seed):
                yield row, (image, 'RGB')


class Pruning:
    """Takes pictures from a map as long as the others answer.

    `asked` int64 (Q,): the row whose picture was changed; `ranks` int64 (Q, K): the rows that are
    most similar, best first; `hits` bool (Q,): whether the best is near, as the matcher has it.
    """

    def __init__(
        self,
        places: Places,
        asked: np.ndarray,
        ranks: np.ndarray,
        hits: np.ndarray,
        stand_ins: StandIns,
    ):
        self._places, self._ranks, self._stand_ins = places, ranks, stand_ins
        self._right = np.array(
            [
                np.isin(found, np.append(stand_ins.of(row), row))
                for row, found in zip(asked.tolist(), ranks, strict=True)
            ]
        )
        self._count = 0  # right answers
        self._first = np.zeros(len(asked), np.int64)  # the rank of the answer to each question
        self._kept, self._left = np.ones(len(places), bool), len(places)
        self._answers: list[list[int]] = [[] for _ in range(len(places))]
        for question, row in enumerate(ranks[:, 0].tolist()):
            self._answers[row].append(question)
        self._wins = np.bincount(ranks[self._right[:, 0], 0], minlength=len(places))
        count = len(places)
        self._useless = np.bincount(asked, minlength=count) > 0
        self._useless &= np.bincount(asked[hits], minlength=count) == 0
        self._useless &= np.bincount(ranks[hits, 0], minlength=count) == 0
        self._useless &= places.labels.lengths == 0
        # How many pictures that stay show what each one shows.
        self._cover = np.array([1 + len(self._covers(row)) for row in range(len(places))])

    def _covers(self, row: int) -> np.ndarray:
        """The other pictures that show what this one shows, its label too."""
        others, names = self._stand_ins.of(row), self._places.names
        if not self._places.labels.lengths[row]:
            return others
        return others[names[others] == names[row]]

    def run(self, keep_recall: float) -> Pruned:
        """Take what can go: first what costs nothing, then what costs least."""
        self._count = start = int(self._right[:, 0].sum())
        rows = np.arange(len(self._wins))
        # Numbers that are known for long stay, and of one place the latest looks.
        self._take_from(np.lexsort((rows, -self._places.ids)), None)
        self._take_from(np.lexsort((-rows, self._wins)), keep_recall * start)
        count = len(self._first)
        return Pruned(~self._kept, count, start / count, self._count / count)

    def _take_from(self, rows: np.ndarray, least: float | None) -> None:
        """Take those of these rows that can go; `least`: right answers that must stay, None: those
        that there are."""
        for row in rows.tolist():
            if not self._kept[row] or self._left == 1 or not self._may_go(row):
                continue
            moved = self._next_answers(row)
            after = self._count + sum(self._gain(question, rank) for question, rank in moved)
            if after >= (self._count if least is None else least):
                self._count = after
                self._take(row, moved)

    def _may_go(self, row: int) -> bool:
        """Whether what it shows, and what pictures that went show, is shown by others."""
        mine = self._stand_ins.of(row)
        needs = [row, *(other for other in mine.tolist() if row in self._covers(other))]
        return all(self._cover[other] > 1 or self._useless[other] for other in needs)

    def _next_answers(self, row: int) -> list[tuple[int, int]]:
        """The questions that a row answers, each with the rank of the next answer to it."""
        found = []
        for question in self._answers[row]:
            rank = int(self._first[question]) + 1
            while rank < self._ranks.shape[1] and not self._kept[self._ranks[question, rank]]:
                rank += 1
            found.append((question, rank))
        return found

    def _gain(self, question: int, rank: int) -> int:
        """How many answers more are right if a question has the answer of this rank."""
        there = rank < self._ranks.shape[1]
        now = bool(self._right[question, rank]) if there else False
        before = self._first[question]
        return int(now) - int(self._right[question, before])

    def _take(self, row: int, moved: list[tuple[int, int]]) -> None:
        self._kept[row], self._left = False, self._left - 1
        for other in (row, *self._stand_ins.of(row).tolist()):
            if other == row or row in self._covers(other):
                self._cover[other] -= 1
        for question, rank in moved:
            self._first[question] = min(rank, self._ranks.shape[1] - 1)
            if rank < self._ranks.shape[1]:
                self._answers[self._ranks[question, rank]].append(question)
        self._answers[row] = []
